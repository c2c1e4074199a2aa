"""Steps are refused with a reason where they make no sense, and candidate locations are where a stage may go."""

from __future__ import annotations

import pytest
from hypothesis import given

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule import At, ScheduleError, initial_state, replay
from ansor_mini.schedule_examples import matmul
from ansor_mini.steps import (
    STEPS,
    CacheWrite,
    ComputeAt,
    ComputeInline,
    FollowSplit,
    Fuse,
    FuseParallel,
    FuseVectorize,
    Hole,
    Locate,
    Parallel,
    Reorder,
    Rfactor,
    Split,
    Unroll,
    Vectorize,
    candidate_locations,
    fill,
    holes,
    parse_step,
)
from ansor_mini.tensor_expression import compute, placeholder
from tests.strategies.schedules import cases


@given(cases())
def test_steps_read_back_from_their_text(case):
    assert tuple(parse_step(repr(step)) for step in case.steps) == case.steps


@given(cases())
def test_candidate_locations_are_legal(case):
    for stage in case.state.stages:
        for place in candidate_locations(case.state, stage.name):
            ComputeAt(stage.name, place.stage, place.iterator).apply(case.state)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([Split("X", "i", (2,))], "no stage 'X'"),
        ([Split("C", "x", (2,))], "C has no iterator 'x'"),
        ([Split("C", "i", ())], "expected one or more lengths"),
        ([Split("C", "i", (0,))], "expected one or more lengths"),
        ([Split("C", "i", Hole("h"))], "hole"),
        ([Parallel("C", "i"), Split("C", "i", (2,))], "already parallel"),
        ([FollowSplit("C", "i", ("D", "i"), 2)], "D has no split of 'i'"),
        ([Split("D", "i", (2,)), FollowSplit("C", "i", ("D", "i"), 3)], "parts must be 1 to 2"),
        ([Fuse("C", ("i", "k"))], "not adjacent"),
        ([Fuse("C", ("j", "k"))], "one kind"),
        ([Fuse("C", ("i",))], "two iterators"),
        ([ComputeAt("C", "D", "i"), Fuse("D", ("i", "j"))], "C is attached at i"),
        ([Reorder("C", ("i", "j"))], "order must name all"),
        ([Vectorize("C", "k")], "depend on each other"),
        ([Parallel("C", "i"), Parallel("C", "j")], "already has a parallel loop"),
        ([ComputeAt("C", "D", "i"), Parallel("C", "j")], "not at the root"),
        ([Parallel("C", "i"), ComputeAt("C", "D", "i")], "must stay at the root"),
        ([Vectorize("D", "j"), ComputeAt("C", "D", "j")], "vectorised"),
        ([ComputeAt("C", "D", "j"), Vectorize("D", "j")], "attached"),
        ([ComputeAt("D", "C", "i")], "output"),
        ([ComputeInline("D")], "output"),
        ([ComputeInline("C")], "reduction"),
        ([Locate("C", 0)], "reduction"),
        ([Locate("C", 4)], "2 candidate locations"),
        ([Split("C", "i", (2,)), CacheWrite("C")], "must not be scheduled before"),
        ([Rfactor("C", "i", 0)], "not part of a reduction"),
        ([Rfactor("C", "k", 3)], "position must be 0 to 2"),
        ([Split("C", "i", (2,)), Rfactor("C", "k", 0)], "spatial loops"),
        ([FuseParallel("C", 4)], "width must be 0 to 3"),
        ([FuseParallel("C", 3)], "one kind"),
        ([FuseVectorize("C", 1)], "depend on each other"),
    ],
)
def test_illegal_step_is_refused_with_a_reason(steps, reason):
    with pytest.raises(ScheduleError, match=reason):
        replay(matmul(8, 8, 8, relu=True), steps)


def test_error_shows_the_state():
    with pytest.raises(ScheduleError) as caught:
        replay(matmul(8, 8, 8), [Split("C", "x", (2,))])
    assert "its iterators are i, j, k" in caught.value.reason
    assert "for k in range(8)" in str(caught.value)


def test_stage_read_twice_cannot_go_into_one_reader():
    x = placeholder((4,), "X")
    a = compute((4,), lambda i: x[i] + 1.0, "A")
    b = compute((4,), lambda i: a[i] * 2.0, "B")
    dag = ComputeDAG([compute((4,), lambda i: a[i] + b[i], "C")])
    assert candidate_locations(initial_state(dag), "A") == ()
    with pytest.raises(ScheduleError, match="is read"):
        ComputeAt("A", "C", "i").apply(initial_state(dag))
    inside = ComputeAt("B", "C", "i").apply(initial_state(dag))
    assert candidate_locations(inside, "A") == (At("C", "i"),)


def test_candidates_stop_at_an_untiled_reduction_and_at_unrolled_loops():
    dag = matmul(8, 8, 8, transposed=True)
    assert candidate_locations(initial_state(dag), "T") == (At("C", "i"), At("C", "j"))
    assert candidate_locations(replay(dag, [Unroll("C", "j")]), "T") == (At("C", "i"),)
    tiled = replay(dag, [Split("C", "k", (2,)), Reorder("C", ("i", "k.0", "j", "k.1"))])
    assert candidate_locations(tiled, "T") == (At("C", "i"), At("C", "k.0"))


def test_attached_stage_follows_the_loop_that_is_split_or_fused():
    dag = matmul(8, 8, 8, relu=True)
    state = replay(dag, [ComputeAt("C", "D", "j"), Split("D", "j", (4,))])
    assert state["C"].location == At("D", "j.1")
    state = replay(dag, [ComputeAt("C", "D", "j"), Fuse("D", ("i", "j"))])
    assert state["C"].location == At("D", "i@j")


def test_holes_are_listed_and_filled():
    step = Split("C", "i", (Hole("a"), 2))
    assert holes(step) == ("a",)
    assert fill(step, {"a": 4}) == Split("C", "i", (4, 2))
    with pytest.raises(ValueError, match="no value for hole 'a'"):
        fill(step, {})


def test_every_step_is_in_the_table():
    assert all(name == kind.__name__ for name, kind in STEPS.items())
    with pytest.raises(ValueError, match="not a step"):
        parse_step("open('x')")
