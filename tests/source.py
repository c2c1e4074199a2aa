"""Facts about the project's own source, asked by the tests of its structure, its paper index and its README."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "ansor_mini", "taso_mini")

# `Paper: Ansor §4.1, Table 1, rule 4`: the paper, a section, and places in it. Other tags follow after a semicolon.
PLACE = r"(?:§\d+(?:\.\d+)*|Table \d+|Algorithm \d+|Fig\. \d+|App\. [A-Z])"
TAG = re.compile(rf"Paper: (Ansor|TASO) ({PLACE}(?:, (?:{PLACE}|rules? \d+(?:[-–]\d+)?))*)")


def modules() -> list[Path]:
    """Every Python file of the three packages."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    """One file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported_packages(path: Path) -> set[str]:
    """First parts of all modules that a file imports anywhere, in functions too."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0] if node.level == 0 else path.relative_to(ROOT).parts[0])
    return names


def paper_places(text: str) -> set[tuple[str, str]]:
    """The (paper, place) pairs a text's tags name; rules within a table are left out.

    >>> sorted(paper_places("Paper: Ansor §4.1, Table 1, rule 4."))
    [('Ansor', 'Table 1'), ('Ansor', '§4.1')]
    """
    return {(paper, place) for paper, places in TAG.findall(text) for place in re.findall(PLACE, places)}


def table_under(heading: str, text: str) -> list[list[str]]:
    """The rows, as lists of cells, of the first Markdown table below a heading; the header row is left out.

    Raises: ValueError: no such heading, or no table below it.
    """
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("#") and line.strip("# ") == heading]
    if not starts:
        raise ValueError(f"no heading {heading!r}")
    below = lines[starts[0] + 1 :]
    first = next((number for number, line in enumerate(below) if line.startswith("|")), None)
    if first is None:
        raise ValueError(f"no table under {heading!r}")
    rows = []
    for line in below[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip()[1:-1].split("|")])
    return rows


def readme() -> str:
    """The README's text."""
    return (ROOT / "README.md").read_text(encoding="utf-8")
