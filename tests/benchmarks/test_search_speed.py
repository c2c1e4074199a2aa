"""The benchmark of the search's speed runs, small, and its parts add up."""

from __future__ import annotations

import json
import os

import pytest

from tests.benchmarks import search_speed


def test_a_small_run_has_all_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("POPULATION", 64), ("KEEP", 8), ("TRAINING_PROGRAMS", 40), ("BUDGET_SECONDS", 0.01)):
        monkeypatch.setattr(search_speed, name, value)
    cores = os.sched_getaffinity(0)
    figures = search_speed.benchmark(quick=True)
    assert os.sched_getaffinity(0) == cores
    assert figures["round_seconds"] > 0 and figures["programs_per_second"] > 0
    assert figures["bigger_round_seconds"] is None
    json.dumps(figures)
    text = capsys.readouterr().out
    assert "one round, 64 programs x 4 generations" in text and "emit" in text


def test_the_clock_adds_up_what_it_times() -> None:
    clock = search_speed.Clock()
    double = clock.timed("doubling", lambda x: 2 * x)
    assert [double(1), double(2)] == [2, 4]
    assert list(clock.seconds) == ["doubling"] and clock.seconds["doubling"] > 0
