"""`python -m tests.sizes`: lines, longest function and docstring share of every file. A report, not a cap."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = ("runtime", "ansor_mini", "taso_mini", "tests", "tutorials")
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Size:
    """One file's numbers; `longest` is its longest function, with that function's lines."""

    path: str
    lines: int
    longest: str
    longest_lines: int
    docstring_lines: int


def measure(path: Path) -> Size:
    """Count one file."""
    text = path.read_text(encoding="utf-8")
    longest, longest_lines, docstring_lines = "", 0, 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > longest_lines:
                longest, longest_lines = node.name, length
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node, clean=False)) is not None:
            docstring_lines += docstring.count("\n") + 1
    return Size(str(path.relative_to(ROOT)), text.count("\n"), longest, longest_lines, docstring_lines)


def source_files() -> list[Path]:
    """All Python files of the project, in the order of the trees."""
    return [path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py"))]


def report(sizes: list[Size]) -> str:
    """A table with one row per file and one total per tree.

    >>> print(report([Size("runtime/a.py", 100, "emit", 30, 25), Size("runtime/b.py", 50, "", 0, 1)]))
    lines  docs  longest function                 file
      100   25%  30 emit                          runtime/a.py
       50    2%  -                                runtime/b.py
      150   17%                                   runtime: 2 files
    """
    rows = ["lines  docs  longest function                 file"]
    for size in sizes:
        longest = f"{size.longest_lines} {size.longest}" if size.longest else "-"
        rows.append(f"{size.lines:5}  {_share(size.docstring_lines, size.lines)}  {longest:<32} {size.path}")
    for tree in dict.fromkeys(size.path.split("/")[0] for size in sizes):
        members = [size for size in sizes if size.path.split("/")[0] == tree]
        lines = sum(size.lines for size in members)
        share = _share(sum(size.docstring_lines for size in members), lines)
        rows.append(f"{lines:5}  {share}  {'':<32} {tree}: {len(members)} files")
    return "\n".join(rows)


def _share(part: int, whole: int) -> str:
    return f"{round(100 * part / max(whole, 1)):3}%"


if __name__ == "__main__":
    print(report([measure(path) for path in source_files()]))
