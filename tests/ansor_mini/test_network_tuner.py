"""Several networks tuned together: shared tasks, objectives, and a schedule that goes on from records."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from ansor_mini import network_tuner
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.network_task import constant_inputs, distinct_parts
from ansor_mini.network_tuner import NetworkTuner, Scheduling
from ansor_mini.objectives import GeometricMeanSpeedup
from ansor_mini.partition import Subgraph, partition
from ansor_mini.records import Record
from ansor_mini.task_scheduler import SchedulerOptions
from ansor_mini.task_tuner import OnResult, SearchOptions
from runtime.graph import GraphBuilder
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.measure_case import MeasureResult


class FakeMeasurer:
    """Microseconds out of a program's text."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, nests: Sequence[LoopNest], on_result: OnResult) -> None:
        for number, nest in enumerate(nests):
            micro = 1 + int(hashlib.sha256(str(nest).encode()).hexdigest()[:2], 16)
            on_result(number, MeasureResult("ok", (1e-6 * micro,), ""))


class Sink(list[Record]):
    """Records in memory."""


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_tuner, "LocalMeasurer", FakeMeasurer)


def matmuls(name: str, *sizes: int, constant: bool = True) -> tuple[list[Subgraph], frozenset[str]]:
    """One matrix product after the other, of these output widths."""
    build = GraphBuilder(name)
    x = build.input("x", (4, 8))
    for size in sizes:
        w = np.ones((build.types[x].shape[1], size), np.float32)
        x = build.add("matmul", x, build.weight(build.fresh("w"), w) if constant else build.input("w", w.shape))
    graph = build.finish(x)
    return partition(graph), frozenset(graph.weights)


FIRST, SECOND = matmuls("first", 8, 8, 8), matmuls("second", 8, 16)
SMALL = SearchOptions(evolution=EvolutionOptions(population=8, generations=1))


def tuner(**arguments: object) -> NetworkTuner:
    (parts, weights), machine = FIRST, detect()
    given = {"weights": weights, "others": [SECOND], "machine": machine, "threads": 1, "options": SMALL}
    return NetworkTuner(parts, **(given | arguments))


def test_networks_share_their_tasks() -> None:
    distinct, weights = distinct_parts([FIRST[0], SECOND[0]])
    assert weights.tolist() == [[3, 0], [1, 1]]
    assert [part.fragment.types[part.fragment.outputs[0]].shape for part in distinct] == [(4, 8), (4, 16)]
    with tuner() as made:
        assert [task.weight for task in made.tasks.values()] == [4, 1]


def test_an_input_is_constant_only_if_it_is_in_every_network() -> None:
    key = FIRST[0][0].key
    assert constant_inputs([FIRST, SECOND])[key] == {"x1"}
    assert constant_inputs([FIRST, matmuls("third", 8, constant=False)])[key] == set()


def test_the_first_round_measures_the_defaults_and_the_curve_is_kept() -> None:
    with tuner() as made:
        assert made.run(trials=2) == "trials"
        assert [len(task.tuner.measured) for task in made.tasks.values()] == [1, 1]
        assert made.run(trials=30) == "trials" and made.trials == 30
        trials, values = zip(*made.curve, strict=True)
        assert trials[0] == 1 and trials[-1] == 30 and list(trials) == sorted(trials)
        assert values[0] == math.inf and list(values) == sorted(values, reverse=True)
        assert made.latencies.sum() == values[-1]


def test_the_objective_is_an_argument() -> None:
    objective = partial(GeometricMeanSpeedup, references=(1e-3, 1e-3))
    with tuner(scheduling=Scheduling(objective=objective)) as made:
        made.run(trials=20)
        assert made.curve[-1][1] == pytest.approx(-math.sqrt(1e-6 / made.latencies.prod()))


def test_the_strategy_is_an_argument() -> None:
    scheduling = Scheduling(strategy="round-robin", options=SchedulerOptions(epsilon=0.0), round_size=4)
    with tuner(scheduling=scheduling) as made:
        made.run(trials=2 + 4 * 4)
        assert [len(task.tuner.measured) for task in made.tasks.values()] == [9, 9]


def test_the_search_may_begin_from_nothing() -> None:
    with tuner(scheduling=Scheduling(default_first=False, strategy="round-robin")) as made:
        made.run(trials=16)
        assert [task.history for task in made.scheduler.tasks] == [[task.latency] for task in made.scheduler.tasks]
        assert [len(task.tuner.measured) for task in made.tasks.values()] == [8, 8]
        assert all(len(program.frozen) for task in made.tasks.values() for program in task.tuner.measured)


@pytest.mark.parametrize(("share", "models"), [(True, 1), (False, 2)])
def test_tasks_share_a_model_or_not(share: bool, models: int) -> None:
    with tuner(scheduling=Scheduling(share_model=share)) as made:
        assert len({id(task.tuner.model) for task in made.tasks.values()}) == models


def test_patience_ends_the_tuning() -> None:
    with tuner(scheduling=Scheduling(options=SchedulerOptions(patience=10))) as made:
        assert made.run() == "patience"


@pytest.mark.parametrize("default_first", [True, False])
def test_the_history_comes_back_from_records(default_first: bool) -> None:
    sink, scheduling = Sink(), Scheduling(default_first=default_first)
    with tuner(records=sink, scheduling=scheduling) as made:
        made.run(trials=39)
        tasks = made.scheduler.tasks
    with tuner(resume=sink, scheduling=scheduling) as again:
        assert [task.trials for task in again.scheduler.tasks] == [task.trials for task in tasks]
        assert [task.history for task in again.scheduler.tasks] == [task.history for task in tasks]
        assert [task.improved_at for task in again.scheduler.tasks] == [task.improved_at for task in tasks]
