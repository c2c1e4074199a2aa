"""Every tutorial runs from its first cell to its last, keeps what it asserts, and warns of nothing."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from tests.source import ROOT

TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))


@pytest.mark.slow
@pytest.mark.cc
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path):
    environment = {**os.environ, "MINI_TUTORIAL_SECONDS": "3", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", str(path)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert result.stdout


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_what_to_expect(path):
    text = path.read_text(encoding="utf-8")
    header = ast.get_docstring(ast.parse(text)) or ""
    title, underline = header.split("\n")[:2]
    assert re.fullmatch("=+", underline) and len(underline) == len(title), "a title, underlined, opens a tutorial"
    assert re.search(r"\bminutes?\b", header), "how long it takes on a laptop"
    assert re.search(r"\b(Ansor|TASO) §\d", header), "which sections of the papers it is about"
    assert "Read before" in header
    assert text.count("\n") <= 250


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_made_of_cells_and_checks_what_it_says(path):
    cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    prose = [cell for cell in cells if cell.startswith(" [markdown]")]
    code = [cell for cell in cells if not cell.startswith(" [markdown]")]
    assert prose and code
    for cell in prose:
        assert all(line.startswith("#") or not line.strip() for line in cell.split("\n")[1:]), cell
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse("\n".join(code)))) >= len(code) // 2
