"""Replayed tuning curves: what is written is read, and strategies differ as they should."""

from __future__ import annotations

import math
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from ansor_mini.objectives import TotalLatency
from ansor_mini.task_scheduler import SchedulerOptions
from tests.benchmarks import task_scheduler
from tests.benchmarks.task_scheduler import VARIANTS, compare, objectives
from tests.benchmarks.tuning_curves import (
    RecordedTask,
    Recording,
    read_recording,
    replay,
    trials_to_reach,
    write_recording,
)


def made_up(seed: int = 0, programs: int = 65) -> Recording:
    """Two networks of ten tasks: programs get faster and never below half; most of the time is in few tasks."""
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(10):
        size = 2.0 ** -rng.integers(0, 8)
        times = size * (0.5 + 0.5 * 0.95 ** np.arange(programs) + rng.gamma(1.0, 0.1, programs))
        seconds = tuple(None if rng.random() < 0.05 and i else float(value) for i, value in enumerate(times))
        names = ("squeezenet", "mobilenet_v2")[:: 1 if number % 2 else -1][: 1 + number % 3]
        group = {"structure": "conv" if number % 2 else "", "structure-and-size": "", "none": ""}
        weights = {name: int(rng.integers(1, 4)) for name in names}
        tasks.append(RecordedTask(f"task {number}", int(1e9 * size), group, weights, seconds))
    return Recording("made up", tuple(tasks))


def test_a_recording_is_read_back(tmp_path):
    write_recording(tmp_path / "curves.jsonl", made_up())
    assert read_recording(tmp_path / "curves.jsonl") == made_up()
    (tmp_path / "other.jsonl").write_text("[1, 2]\n")
    with pytest.raises(ValueError, match="other.jsonl holds no recorded tuning curves"):
        read_recording(tmp_path / "other.jsonl")


def test_a_task_that_is_used_up_does_not_count():
    short = replace(made_up().tasks[0], seconds=(1.0,) * 3)
    assert Recording("", (short, *made_up().tasks)).common == 3
    assert Recording("", (replace(short, used_up=True), *made_up().tasks)).common == 65


def test_a_replay_tells_which_recordings_are_too_short():
    recording, short = made_up(), set[int]()
    replay(recording, TotalLatency, ["squeezenet"], strategy="gradient", trials=80, unanswered=short)
    assert short == set()
    used_up = replace(recording.tasks[3], used_up=True)
    recording = replace(recording, tasks=(*recording.tasks[:3], used_up, *recording.tasks[4:]))
    replay(recording, TotalLatency, ["squeezenet"], strategy="gradient", trials=10**6, unanswered=short)
    assert short and 3 not in short


def test_too_short_a_recording_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(task_scheduler, "CURVES", tmp_path / "curves.jsonl")
    write_recording(task_scheduler.CURVES, made_up(programs=15))
    with pytest.raises(ValueError, match="15 programs of most tasks, too few to compare schedules"):
        task_scheduler.task_scheduler(True, Namespace())


def test_a_long_recording_gives_the_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(task_scheduler, "CURVES", tmp_path / "curves.jsonl")
    recording = made_up()
    short = [replace(task, seconds=task.seconds[:24]) for task in recording.tasks[4:]]
    write_recording(task_scheduler.CURVES, Recording("made up", (*recording.tasks[:4], *short)))
    figures = task_scheduler.task_scheduler(True, Namespace())
    parts = {name: value for name, value in figures.items() if name.startswith("trials_share_")}
    assert figures["recordings_cut"] == 0 and len(parts) == 4 and figures["trials_share"] == max(parts.values())
    assert figures["round_robin_trials_per_task"] == 24 and "both networks" in capsys.readouterr().out


def test_a_network_has_its_own_tasks():
    recording = made_up()
    alone = recording.of("squeezenet")
    assert 0 < len(alone.tasks) < len(recording.tasks)
    assert (alone.weights("squeezenet") > 0).all()
    assert recording.weights("squeezenet", "mobilenet_v2").shape == (2, 10)


def test_a_replay_ends_with_the_best_of_everything():
    recording = made_up()
    curve = replay(recording, TotalLatency, ["squeezenet"], strategy="gradient", trials=10**6)
    assert curve[-1][0] == 650 and curve[0] == (8, math.inf)
    best = np.array([task.best_after(65) for task in recording.tasks])
    assert curve[-1][1] == pytest.approx((recording.weights("squeezenet") @ best)[0])
    values = [value for _, value in curve]
    assert values == sorted(values, reverse=True)
    assert trials_to_reach(curve, curve[-1][1]) <= 650 and trials_to_reach(curve, 0.0) == math.inf


def test_round_robin_is_even_and_stops_at_its_trials():
    recording = made_up()
    options = SchedulerOptions(epsilon=0.0)
    curve = replay(recording, TotalLatency, ["squeezenet"], strategy="round-robin", trials=160, options=options)
    assert [trials for trials, _ in curve] == list(range(8, 161, 8))
    after = np.array([task.best_after(16) for task in recording.tasks])
    assert curve[-1][1] == pytest.approx((recording.weights("squeezenet") @ after)[0])


def test_the_gradient_saves_trials_where_few_tasks_take_the_time():
    found = {name: compare(*what, budget=24) for name, what in objectives(made_up()).items()}
    assert set(found) == {"squeezenet f1", "mobilenet_v2 f1", "both f1", "both f3"}
    for column in found.values():
        assert set(column.shares) == set(VARIANTS) and column.shares["round-robin"] <= 1
        assert column.shares["gradient"] < column.shares["round-robin"]
        assert "gradient" not in column.cut and "round-robin" not in column.cut
