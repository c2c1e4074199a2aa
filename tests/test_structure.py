"""The house's walls: which package may import which, what stands at the top level, and how papers are cited."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from tests.source import PACKAGES, ROOT, TAG, imported_packages, modules, parsed

TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", *PACKAGES, "tests", "tutorials"}
FORBIDDEN_IMPORTS = {
    "runtime": {"ansor_mini", "taso_mini", "tests"},
    "ansor_mini": {"taso_mini", "tests"},
    "taso_mini": {"tests"},
}
# taso_mini meets ansor_mini in its backend; beside it stand the rooms of the command that joins all three packages.
ROOMS_THAT_IMPORT_ANSOR = {
    "taso_mini/ansor_backend.py",
    "taso_mini/compile_job.py",
    "taso_mini/compile_model.py",
    "taso_mini/final_kernels.py",
    "taso_mini/graph_check.py",
    "taso_mini/kernel_tuning.py",
}
JOINT = "taso_mini/joint/"  # the search of graphs and loops together


def name(path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=name)
def test_imports_point_down(path):
    against = imported_packages(path) & FORBIDDEN_IMPORTS[path.relative_to(ROOT).parts[0]]
    assert not against, f"{name(path)} imports {', '.join(sorted(against))}: taso_mini -> ansor_mini -> runtime"


def test_taso_imports_ansor_where_the_two_are_joined_only():
    users = {name(path) for path in modules() if name(path).startswith("taso_mini/")}
    users = {file for file in users if "ansor_mini" in imported_packages(ROOT / file)}
    assert {file for file in users if not file.startswith(JOINT)} == ROOMS_THAT_IMPORT_ANSOR


@pytest.mark.parametrize("path", modules(), ids=name)
def test_every_module_says_what_it_is(path):
    docstring = ast.get_docstring(parsed(path)) or ""
    assert docstring.strip(), f"{name(path)} has no module docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_where_to_read(package):
    named = re.findall(r"`(\w+)`", ast.get_docstring(parsed(ROOT / package / "__init__.py")) or "")
    there = {path.stem for path in (ROOT / package).iterdir()}
    assert named and not set(named) - there


@pytest.mark.parametrize("path", modules(), ids=name)
def test_paper_tags_have_one_spelling(path):
    text = path.read_text(encoding="utf-8")
    wrong = [line.strip() for line in text.split("\n") if line.count("Paper:") != len(TAG.findall(line))]
    assert not wrong, f"{name(path)}: write `Paper: Ansor §4.1, Table 1, rule 4`, not {wrong}"


def test_the_top_level_is_fixed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout: what is ours cannot be told from what is generated")
    entries = {file.split("/")[0] for file in tracked.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL
