"""The linter and the type checker agree with the tree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.source import ROOT


@pytest.mark.parametrize("tool", [["ruff", "check", "--no-cache"], ["mypy"]], ids=["ruff", "mypy"])
def test_the_tree_is_clean(tool):
    result = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
