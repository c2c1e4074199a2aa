"""Objectives: their values, and derivatives that agree with finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.objectives import (
    EarlyStopping,
    GeometricMeanSpeedup,
    LatencyRequirements,
    TotalLatency,
    UserFunction,
    network_latencies,
)

WEIGHTS = np.array([[2, 1, 0, 3], [0, 1, 4, 0]])
OBJECTIVES = {
    "f1": TotalLatency(WEIGHTS),
    "f2": LatencyRequirements(WEIGHTS, required=(12.5, 7.25)),
    "f3": GeometricMeanSpeedup(WEIGHTS, references=(20.0, 3.0)),
    "f4": EarlyStopping(WEIGHTS, rounds=2),
}
LATENCIES = st.lists(st.integers(1, 9), min_size=4, max_size=4).map(lambda g: np.array(g, float))


@pytest.mark.parametrize("name", OBJECTIVES)
@given(latencies=LATENCIES)
def test_slopes_are_the_finite_differences(name, latencies):
    objective = OBJECTIVES[name]
    histories = [[9.5, g] for g in latencies]
    differences = UserFunction(lambda g: objective.value(g, histories), step=1e-5).slopes(latencies)
    np.testing.assert_allclose(objective.slopes(latencies, histories), differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", OBJECTIVES)
@given(latencies=LATENCIES)
def test_a_faster_task_never_makes_an_objective_worse(name, latencies):
    objective = OBJECTIVES[name]
    assert (objective.slopes(latencies) >= 0).all()
    for i in range(4):
        faster = latencies.copy()
        faster[i] /= 2
        assert objective.value(faster) <= objective.value(latencies)


def test_three_times_faster_on_one_of_two_networks_is_the_square_root_of_three():
    f3 = GeometricMeanSpeedup(np.eye(2), references=(6.0, 5.0))
    assert f3.value(np.array([2.0, 5.0])) == pytest.approx(-(3**0.5))


def test_a_stalled_task_loses_its_slope_and_keeps_its_latency():
    f4 = EarlyStopping(np.ones((1, 3)), rounds=2, gain=0.1)
    latencies, histories = np.array([5.0, 5.0, 5.0]), ([5.0, 5.0], [5.3, 5.2, 5.0], [9.0, 8.0, 5.0])
    assert f4.value(latencies, histories) == 15.0
    assert f4.slopes(latencies, histories).tolist() == [1.0, 0.0, 1.0]


def test_a_network_counts_only_its_own_tasks():
    assert network_latencies(np.array([[1, 0], [0, 2]]), np.array([3.0, np.inf])).tolist() == [3.0, np.inf]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LatencyRequirements(WEIGHTS, required=(1.0,)), "required: expected 2 positive seconds"),
        (lambda: GeometricMeanSpeedup(WEIGHTS, references=(1.0, 0.0)), "references: expected 2 positive seconds"),
        (lambda: EarlyStopping(WEIGHTS, rounds=0), "expected rounds >= 1"),
        (lambda: TotalLatency(WEIGHTS).value(np.ones(3)), "expected one for each of 4 tasks, got 3"),
    ],
)
def test_mistakes_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()
