"""Foretelling tuned latencies: silent without data, between the tasks it has seen, the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ansor_mini.ablations import Search
from ansor_mini.cost_model import TrivialModel
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.sketch import derive
from ansor_mini.workloads import WORKLOADS
from runtime.machine import detect
from taso_mini.joint.latency_model import PROGRAMS, TASKS, LatencyModel, bound

SIZES = (16, 24, 32, 48, 64, 96, 128)


def measured(size: int, slowdown: float = 3.0):
    """Random programs of a square product, as if the best took `slowdown` times the bound, the others up to twice."""
    dag = WORKLOADS["matmul"].dag(size, size, size)
    sketches = derive(dag, extended_rules(()), detect(), structure="SSRSRS")
    search = Search(sketches, TrivialModel(detect()), np.random.default_rng(size), detect())
    programs = search.random_programs(16)
    seconds = slowdown * bound(dag) * np.linspace(1.0, 2.0, len(programs))
    return dag, dict(zip(programs, seconds.tolist(), strict=True))


@pytest.fixture(scope="module")
def tasks():
    return [measured(size) for size in SIZES]


def test_it_says_nothing_before_it_has_seen_enough(tasks):
    model = LatencyModel(detect())
    dag, programs = tasks[0]
    assert model.seconds(dag) is None
    model.learn({dag: ((), programs)})
    assert not model.ready and len(programs) < PROGRAMS and len(tasks) > TASKS


def test_a_kernel_like_those_it_knows_is_foretold(tasks):
    model = LatencyModel(detect(), seed=3)
    model.learn({dag: ((), programs) for dag, programs in tasks})
    assert model.ready
    for size in (40, 80):
        dag = WORKLOADS["matmul"].dag(size, size, size)
        assert model.seconds(dag) == pytest.approx(3.0 * bound(dag), rel=0.3)
    assert model.check() < 0.3 and model.error == model.check()
    again = LatencyModel(detect(), seed=3)
    again.learn({dag: ((), programs) for dag, programs in tasks})
    # Features of a few programs and of many are rounded differently.
    assert again.seconds(dag) == pytest.approx(model.seconds(dag), rel=0.01)


def test_a_machine_that_is_slower_throughout_is_noticed(tasks):
    model = LatencyModel(detect())
    model.learn({dag: ((), {p: 10 * s for p, s in programs.items()}) for dag, programs in tasks})
    dag = WORKLOADS["matmul"].dag(40, 40, 40)
    assert model.seconds(dag) == pytest.approx(30.0 * bound(dag), rel=0.3)


def test_failures_are_learned_from_and_tasks_without_a_program_are_not(tasks):
    model = LatencyModel(detect())
    dead = {p: math.inf for p in tasks[0][1]}
    model.learn({tasks[0][0]: ((), dead)})
    assert not model.known
    broken = dict(tasks[0][1])
    broken[next(iter(broken))] = math.inf
    model.learn({tasks[0][0]: ((), broken), **{dag: ((), programs) for dag, programs in tasks[1:]}})
    assert model.ready and len(model.known) == len(tasks)
