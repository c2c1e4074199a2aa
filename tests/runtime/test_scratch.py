"""Folders of killed processes are removed, those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.scratch import PREFIX, ScratchFolder, remove_abandoned, scratch_folder

KILLED = """
import os, signal
from runtime.scratch import ScratchFolder
(ScratchFolder("test").path / "case.npy").write_text("large")
os.kill(os.getpid(), signal.SIGKILL)
"""


def folders(place: Path) -> list[Path]:
    return sorted(place.glob(f"{PREFIX}*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_next_process_removes_what_a_killed_one_left(place: Path) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED], cwd=Path(__file__).parents[2], check=False)
    assert process.returncode == -signal.SIGKILL
    (left,) = folders(place)
    with scratch_folder("test") as living:
        assert folders(place) == sorted([left, living]), "a young folder may only just be made"
        for path in (left, living):
            os.utime(path, (0, 0))
        remove_abandoned()
        assert folders(place) == [living]
    assert folders(place) == []


def test_other_files_stay(place: Path) -> None:
    other = place / "mini-compilers-model-x"
    other.mkdir()
    os.utime(other, (0, 0))
    folder = ScratchFolder("test")
    folder.remove()
    folder.remove()
    assert list(place.iterdir()) == [other]
