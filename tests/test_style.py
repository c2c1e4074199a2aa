"""The linter, the formatter and the type checker agree with the tree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.source import ROOT

TOOLS = {
    "ruff": ["ruff", "check", "--no-cache"],
    "format": ["ruff", "format", "--check", "--no-cache"],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_the_tree_is_clean(tool):
    result = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
