"""The scheduler gives rounds to the tasks that promise most, and to none that promise nothing."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.objectives import EarlyStopping, GeometricMeanSpeedup, TotalLatency
from ansor_mini.similarity import structure, structure_and_size
from ansor_mini.task_scheduler import (
    STRATEGIES,
    Candidate,
    SchedulerOptions,
    TaskScheduler,
    latency_changes,
)
from ansor_mini.workloads import parse_workload

NO_CHANCE = SchedulerOptions(epsilon=0.0)


def scheduler(tasks, weights=None, options=NO_CHANCE, strategy="gradient", seed=0):
    objective = TotalLatency(np.atleast_2d(weights or [1] * len(tasks)))
    return TaskScheduler(tasks, objective, rng=np.random.default_rng(seed), options=options, strategy=strategy)


def play(scheduler, curves, rounds):
    """Give out rounds; task i's best after n rounds is curves[i][n], and past its end it finds nothing new."""
    chosen = []
    for _ in range(rounds):
        i = scheduler.choose()
        if i is None:
            break
        done = scheduler.tasks[i].rounds
        measured = 8 if done < len(curves[i]) else 0
        scheduler.observe(i, curves[i][min(done, len(curves[i]) - 1)], measured)
        chosen.append(i)
    return chosen


def falling(start, end, rounds=50):
    return [end + (start - end) * 0.7**n for n in range(rounds)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_warms_up_first(strategy):
    curves = [falling(n + 2, 1) for n in range(5)]
    assert play(scheduler([Candidate(str(i)) for i in range(5)], strategy=strategy), curves, 5) == [0, 1, 2, 3, 4]


def test_the_gradient_is_the_papers_formula():
    tasks = [
        Candidate("a", 6.0, "g", history=[8.0, 7.0, 6.0, 5.0, 4.0], trials=40),
        Candidate("b", 9.0, "g", history=[4.5, 4.5, 3.0], trials=24),
        Candidate("c", 9.0, "", history=[2.0], trials=8),
    ]
    made = scheduler(tasks, options=SchedulerOptions(alpha=0.25, beta=1.5, window=3))
    # a: fell by 3 in 3 rounds; halves to 0 in 5 rounds; b achieves 3 per second, so 6 operations take 1.5 * 6 / 3 = 3.
    assert latency_changes(made)[0] == 0.25 * -1.0 + 0.75 * min(-4.0 / 5, 3.0 - 4.0)
    # b: no round 3 rounds ago; a achieves 1.5 per second, which forecasts more seconds than b takes.
    assert latency_changes(made)[1] == 0.75 * -3.0 / 3
    assert latency_changes(made)[2] == 0.75 * -2.0
    assert made.choose() == 2


def test_weights_and_objectives_steer():
    history = [3.0, 2.0]
    tasks = [Candidate(name, history=list(history)) for name in "ab"]
    assert scheduler(tasks, [1, 5]).choose() == 1 and scheduler(tasks, [5, 1]).choose() == 0
    # Relative gains: the second network is a tenth as long, so the same seconds are worth ten times as much there.
    tasks = [Candidate("a", history=[10.0]), Candidate("b", history=[1.0]), Candidate("c", history=[0.9])]
    f3 = GeometricMeanSpeedup(np.array([[1, 0, 1], [0, 1, 0]]), references=(1.0, 1.0))
    made = TaskScheduler(tasks, f3, rng=np.random.default_rng(0), options=NO_CHANCE)
    assert made.choose() == 1


def test_a_relative_that_is_faster_draws_trials_until_it_proves_unlike():
    """Ten operations in 10 s, a relative at 10 operations/s: the forecast is 2 s after one more round."""
    slow, fast = Candidate("slow", 10.0, "g", [10.0] * 5), Candidate("fast", 10.0, "g", [1.0])
    other = Candidate("other", 10.0, "", [7.0])
    made = scheduler([slow, fast, other])
    assert made.fastest_relatives().tolist() == [10.0, 1.0, 0.0]
    assert latency_changes(made)[0] == 0.8 * (2.0 - 10.0) and made.choose() == 0
    slow.history = [10.0] * 7
    assert made.fastest_relatives().tolist() == [0.0, 1.0, 0.0]
    assert latency_changes(made)[0] == pytest.approx(0.8 * -10.0 / 7) and made.choose() == 2


def test_tasks_without_a_program_come_first_until_they_are_hopeless():
    curves = [[1.0] * 9, [math.inf] * 9, [2.0] * 9]
    made = scheduler([Candidate(name) for name in "abc"])
    chosen = play(made, curves, 8)
    assert chosen[:6] == [0, 1, 2, 1, 1, 1] and 1 not in chosen[6:]
    assert made.value == math.inf and made.tasks[1].dead(NO_CHANCE)


def test_a_hopeless_network_does_not_hide_what_the_others_gain():
    tasks = [
        Candidate("hopeless", history=[math.inf] * 4),
        Candidate("a", history=[4.0]),
        Candidate("b", history=[2.0]),
    ]
    f3 = GeometricMeanSpeedup(np.array([[1, 0, 0], [0, 1, 1]]), references=(1.0, 1.0))
    made = TaskScheduler(tasks, f3, rng=np.random.default_rng(0), options=NO_CHANCE)
    assert np.isfinite(made.slopes()).all() and made.choose() == 1 and made.value == math.inf


def test_exhausted_tasks_are_left_alone_and_the_end_is_the_end():
    made = scheduler([Candidate("long"), Candidate("short")], [1, 100])
    chosen = play(made, [falling(9, 1, 6), [5.0, 4.0]], 100)
    assert Counter(chosen) == {0: 6 + NO_CHANCE.dry, 1: 2 + NO_CHANCE.dry} and made.choose() is None


def test_patience_ends_a_task_or_everything():
    curves = [[5.0] * 40, falling(5, 1, 40)]
    patient = scheduler([Candidate("stuck"), Candidate("going")], options=SchedulerOptions(task_patience=16))
    assert Counter(play(patient, curves, 20)) == {0: 3, 1: 17}
    stopping = scheduler([Candidate("stuck")], options=SchedulerOptions(patience=32))
    assert len(play(stopping, curves[:1], 20)) == 5 and stopping.stagnant


def test_early_stopping_as_an_objective():
    curves = [[50.0] * 40, falling(5, 1, 40)]
    tasks = [Candidate("stuck"), Candidate("going")]
    f4 = EarlyStopping(np.ones((1, 2)), rounds=3)
    made = TaskScheduler(tasks, f4, rng=np.random.default_rng(0), options=NO_CHANCE)
    assert Counter(play(made, curves, 20)) == {0: 4, 1: 16}


def test_epsilon_reaches_every_task_and_a_seed_repeats():
    curves = [falling(100, 50, 400), *[[0.001] * 400] * 3]
    always = [
        play(
            scheduler([Candidate(c) for c in "abcd"], options=SchedulerOptions(epsilon=0.3, dry=999), seed=seed),
            curves,
            200,
        )
        for seed in (1, 1, 2)
    ]
    assert always[0] == always[1] != always[2]
    counts = Counter(always[0])
    assert min(counts.values()) >= 5 and counts[0] > 100


def test_round_robin_is_fair():
    curves = [falling(n + 2, 1) for n in range(3)]
    assert play(scheduler([Candidate(c) for c in "abc"], strategy="round-robin"), curves, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_a_strategy_is_a_function():
    made = scheduler([Candidate(c, history=[1.0]) for c in "abc"], strategy=lambda scheduler, living: living[-1])
    assert made.choose() == 2
    with pytest.raises(ValueError, match="strategy: expected one of gradient, .*got 'fair'"):
        scheduler([Candidate("a")], strategy="fair")
    with pytest.raises(ValueError, match="0 <= alpha <= 1.* got alpha=2"):
        SchedulerOptions(alpha=2)


def test_gradient_needs_fewer_rounds_than_round_robin_on_uneven_curves():
    """Two tasks hold most of the time; six are small and done at once."""
    curves = [falling(100, 10), falling(80, 8), *[[1.0] * 50] * 6]
    target, reached = sum(curve[9] for curve in curves), {}
    for strategy in ("gradient", "round-robin"):
        made = scheduler([Candidate(str(i)) for i in range(8)], strategy=strategy)
        while made.value > target:
            play(made, curves, 1)
        reached[strategy] = sum(task.rounds for task in made.tasks)
    # The last round, of the second task, comes after two of eight in the tenth turn.
    assert reached["round-robin"] == 74 and reached["gradient"] <= 40


def test_convolutions_are_alike_whatever_their_sizes():
    first, second = parse_workload("C2D:14,14,32,32,3,1,1"), parse_workload("C2D:56,56,8,16,1,2,0")
    depthwise, matmul = parse_workload("DEP:14,14,32,3,1,1"), parse_workload("matmul:8,8,8")
    texts = [structure(dag) for dag in (first, second, depthwise, matmul)]
    assert texts[0] == texts[1] and len(set(texts)) == 3 and all(texts)
    assert structure_and_size(first) != structure_and_size(second)
    assert structure_and_size(first).startswith(texts[0])


@given(
    curves=st.lists(st.lists(st.integers(1, 9) | st.just(math.inf), min_size=1, max_size=6), min_size=1, max_size=5),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    epsilon=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 3),
)
def test_every_schedule_ends_and_finds_all_there_is(curves, strategy, epsilon, seed):
    best = [np.minimum.accumulate(np.array(curve, float)).tolist() for curve in curves]
    tasks = [Candidate(str(i), 5.0, "g" if i % 2 else "") for i in range(len(curves))]
    options = SchedulerOptions(epsilon=epsilon, hopeless=9)
    made = scheduler(tasks, strategy=strategy, seed=seed, options=options)
    chosen = Counter(play(made, best, 100))
    assert made.choose() is None, "as soon as every task is exhausted"
    for i, task in enumerate(tasks):
        assert chosen[i] == len(best[i]) + options.dry and task.latency == best[i][-1]
