"""The choice of a graph as objective: chances, slopes, and trials that go where the choice is decided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.objectives import TotalLatency
from ansor_mini.task_scheduler import Candidate, SchedulerOptions, TaskScheduler
from taso_mini.joint.graph_choice import GraphChoice


@st.composite
def choices(draw):
    """Some graphs over some tasks, latencies, and histories of those."""
    graphs, tasks = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    numbers = st.lists(st.integers(0, 3), min_size=graphs * tasks, max_size=graphs * tasks)
    weights = np.array(draw(numbers), dtype=np.int64).reshape(graphs, tasks)
    latencies = np.array(draw(st.lists(st.floats(0.5, 2.0), min_size=tasks, max_size=tasks)))
    rounds = draw(st.lists(st.integers(1, 6), min_size=tasks, max_size=tasks))
    return weights, latencies, [[latency] * n for latency, n in zip(latencies, rounds, strict=True)]


@given(choices())
def test_chances_add_up_and_what_all_graphs_run_counts_fully(case):
    weights, latencies, histories = case
    choice = GraphChoice(weights)
    assert choice.chances(latencies, histories).sum() == pytest.approx(1)
    slopes = choice.slopes(latencies, histories)
    same = (weights == weights[0]).all(axis=0)
    assert np.allclose(slopes[same], weights[0][same])
    assert (slopes >= weights.min(axis=0) - 1e-9).all() and (slopes <= weights.max(axis=0) + 1e-9).all()


@given(choices())
def test_the_value_is_the_best_graph_and_one_graph_is_the_total_latency(case):
    weights, latencies, histories = case
    choice = GraphChoice(weights)
    assert choice.value(latencies, histories) == pytest.approx((weights @ latencies).min())
    alone, total = GraphChoice(weights[:1]), TotalLatency(weights[:1])
    assert np.array_equal(alone.slopes(latencies, histories), total.slopes(latencies, histories))


def test_a_graph_that_no_gain_can_save_gets_nothing():
    choice = GraphChoice(np.array([[1, 0], [0, 1]]), reach=0.5)
    assert choice.slopes(np.array([1.0, 2.1]), [[1.0], [2.1]]).tolist() == [1.0, 0.0]
    with_copies = GraphChoice(np.array([[1, 0], [0, 1]]), fixed=(1.2, 0.0), reach=0.5)
    assert with_copies.slopes(np.array([1.0, 2.1]), [[1.0], [2.1]])[1] > 0.3  # copies cost the first one its lead


def test_a_gain_that_all_share_decides_nothing():
    """The first task may gain ten times the difference between the graphs, but does so in both."""
    choice = GraphChoice(np.array([[1, 1, 0], [1, 0, 1]]))
    chances = choice.chances(np.array([100.0, 1.0, 2.6]), [[100.0], [1.0], [2.6]])
    assert chances.tolist() == [1.0, 0.0]


def test_the_dearer_graph_is_tuned_until_it_wins():
    """Under default schedules the second graph is dearer by a fifth; tuned, it takes half as long."""
    finals = {0: 0.9, 1: 0.5}

    def after(task: int, rounds: int) -> float:
        first = (1.0, 1.2)[task]
        return finals[task] + (first - finals[task]) * 0.6 ** (rounds - 1)

    def run(make) -> list[int]:
        tasks = [Candidate("of the first"), Candidate("of the second")]
        objective, rng = make(np.eye(2, dtype=int)), np.random.default_rng(0)
        scheduler = TaskScheduler(tasks, objective, rng=rng, options=SchedulerOptions(epsilon=0.0))
        for _ in range(12):
            number = scheduler.choose()
            scheduler.observe(number, after(number, tasks[number].rounds + 1), 8)
        return [task.rounds for task in tasks]

    first, second = run(GraphChoice)
    assert second > first  # once it leads, it gets what is left
    best_only = run(lambda weights: GraphChoice(weights, reach=0.0))
    assert best_only == [11, 1]  # the slope of the best graph alone never finds out


@pytest.mark.parametrize("wrong", [{"fixed": (1.0,)}, {"reach": 1.0}, {"draws": 0}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        GraphChoice(np.eye(2, dtype=int), **wrong)
