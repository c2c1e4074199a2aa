"""A search shows its round, its best, and what it lost by reason, on whatever it writes to."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from ansor_mini.commands import progress
from ansor_mini.record import Record
from ansor_mini.task_tuner import Task, TaskTuner
from ansor_mini.workloads import parse_workload

RECORD = Record("t", (), {}, "ok", (1e-6,))


@pytest.fixture
def tuner() -> TaskTuner:
    """A search that has measured seventeen programs."""
    dag = parse_workload("matmul:16,16,16")
    found = TaskTuner(Task("t", dag), rng=np.random.default_rng(0), measurer=lambda nests, on_result: None)
    values = {hole.name: hole.values[0] for hole in found.sketches[0].holes}
    first = next(iter(values))
    found.measured = {found.sketches[0].program(values | {first: number}): 1e-6 for number in range(17)}
    found.best, found.best_seconds = next(iter(found.measured)), 8.192e-6
    found.failures["crash"] = 2
    found.rejections["too many [loops]"] = 3
    return found


def test_one_line_says_it_all(tuner: TaskTuner) -> None:
    assert progress.status(tuner, 64) == (
        "17/64 trials, round 2, best 8.192 us (1.0 GFLOP/s), failed 2 (2 crash), rejected 3 (3 too many [loops])"
    )
    tuner.best = None
    assert "none correct yet" in progress.status(tuner, 64)


def test_in_a_file_there_is_a_line_every_few_seconds(tuner: TaskTuner, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Shown(64, quiet=False) as observer:
        assert isinstance(observer, progress.Line)
        observer(tuner, RECORD)
        observer.last -= progress.FILE_SECONDS
        observer(tuner, RECORD)
        observer(tuner, RECORD)
    assert capsys.readouterr().err.count("17/64 trials") == 1


def test_on_a_terminal_a_line_is_rewritten(tuner: TaskTuner, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    line = progress.Line(64)
    for _ in range(3):
        line.last -= progress.TERMINAL_SECONDS
        line(tuner, RECORD)
    line.close()
    written = terminal.getvalue()
    assert written.count("\r") == 3 and written.endswith("\n")
    assert max(map(len, written.strip().split("\r"))) == 39


def test_a_bar_of_rich(tuner: TaskTuner) -> None:
    console = pytest.importorskip("rich.console")
    screen = io.StringIO()
    bar = progress.Bar(64, console.Console(file=screen, force_terminal=True, width=110))
    bar(tuner, RECORD)
    bar.close()
    for words in ("17/64", "round 2, best 8.192 us", "rejected 3 (3 too many [loops])"):
        assert words in screen.getvalue()


def test_quiet_is_silent(tuner: TaskTuner, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Shown(64, quiet=True) as observer:
        observer(tuner, RECORD)
    assert capsys.readouterr().err == ""
