"""Users' hints change sketches as they say, and rules of theirs come before the built-in ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ansor_mini import sketch_hints as hints
from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.local_measurer import case_of
from ansor_mini.rule_types import APPLY, SKIP, Context, Next, Rule, stage_at
from ansor_mini.sketch import Derivation, Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.steps import ComputeAt, Reorder, Rfactor, Unroll
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from runtime.expr import maximum, select
from runtime.interpreter import interpret
from tests.strategies.programs import SMALL_MACHINE


def window_sum(attributes: dict[str, object] | None = None, relu: bool = False) -> ComputeDAG:
    """A convolution along one axis, with three taps and some hints."""
    x, w, t = placeholder((9, 4), "X"), placeholder((3, 4, 8), "W"), reduce_axis(3, "t")
    ci = reduce_axis(4, "ci")
    body = lambda i, j: reduce_sum(x[i + t, ci] * w[t, ci, j], (t, ci))  # noqa: E731
    y = compute((7, 8), body, "Y", attributes=attributes)
    return ComputeDAG([compute((7, 8), lambda i, j: maximum(y[i, j], 0.0), "relu") if relu else y])


def _order(sketch: Sketch, stage: str) -> tuple[str, ...]:
    return next(step.order for step in sketch.steps if isinstance(step, Reorder) and step.stage == stage)


def _check(dag: ComputeDAG, sketch: Sketch) -> None:
    """Some programs of a sketch compute what the DAG says."""
    case = case_of(dag, np.random.default_rng(0))
    for seed in range(5):
        nest = sample(sketch, np.random.default_rng(seed), SMALL_MACHINE).lower()
        np.testing.assert_array_equal(interpret(nest, *case.inputs)[0], case.expected[0])


def test_axes_that_are_not_split_lead_the_innermost_level() -> None:
    dag = window_sum({hints.NO_SPLIT_AT_INNER: ("t", "i")}, relu=True)
    by_rule = {sketch.rules: sketch for sketch in derive(dag)}
    sketch = by_rule["tile-and-fuse-1",]
    assert _order(sketch, "Y") == ("j.0", "j.1", "ci.0", "j.2", "t", "ci.1", "i", "j.3")
    assert _order(sketch, "relu") == ("j.0", "i", "j.1")
    _check(dag, sketch)


def test_axes_that_are_not_split_at_the_outer_level_stay_outside() -> None:
    dag = window_sum({hints.NO_SPLIT_AT_OUTER: ("i",)}, relu=True)
    sketch = next(sketch for sketch in derive(dag) if sketch.rules == ("tile-and-fuse-2",))
    assert _order(sketch, "Y")[:2] == ("i", "j.0")
    assert _order(sketch, "relu") == ("i", "j.0", "j.1", "j.2")
    _check(dag, sketch)


def test_an_innermost_tile_of_one_stays_one() -> None:
    sketch = derive(window_sum({hints.LAST_SPLIT_IS_ONE: ("j",)}))[0]
    assert {value[-1] for value in sketch.hole["Y.j"].values if isinstance(value, tuple)} == {1}


@pytest.mark.parametrize(
    ("hint", "unrolled"),
    [(hints.ALWAYS_UNROLL_INNER, {"t.1", "i.3"}), (hints.ALWAYS_UNROLL, {"t.0", "t.1", "i.0", "i.1", "i.2", "i.3"})],
)
def test_loops_that_are_always_unrolled(hint: str, unrolled: set[str]) -> None:
    dag = window_sum({hint: ("t", "i")})
    sketch = next(sketch for sketch in derive(dag) if sketch.rules == ("tile",))
    assert {step.iterator for step in sketch.steps if isinstance(step, Unroll)} == unrolled
    _check(dag, sketch)


def test_no_cache_write_leaves_one_sketch() -> None:
    assert len(derive(window_sum())) == 3
    assert len(derive(window_sum({hints.NO_CACHE_WRITE: True}))) == 1


def test_padding_is_inlined_when_the_user_says_so() -> None:
    x = placeholder((6, 4), "X")

    def dag(always: bool) -> ComputeDAG:
        pad = compute(
            (8, 4),
            lambda i, j: select((i >= 1) & (i < 7), x[i - 1, j], 0.0),
            "pad",
            attributes={hints.ALWAYS_INLINE: always},
        )
        return ComputeDAG([compute((8, 4), lambda i, j: pad[i, j] + 1.0, "Y")])

    assert [sketch.rules for sketch in derive(dag(False))] == [()]
    assert [sketch.rules for sketch in derive(dag(True))] == [("inline",)]


def test_a_consumer_with_loops_of_its_own_is_not_fused() -> None:
    dag = window_sum(relu=True)
    dag = dag.replace("relu", replace(dag["relu"], attributes={hints.SIMPLIFY_CONST_INDICES: ("i",)}))
    found = derive(dag, machine=SMALL_MACHINE)
    assert {"simplify-constants", "cache-write"} <= {rule for sketch in found for rule in sketch.rules}
    for sketch in found:
        _check(dag, sketch)


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({hints.NO_SPLIT_AT_INNER: ("q",)}, ValueError, r"no_split_at_inner of Y: expected axes out of .*got \['q'\]"),
        (
            {hints.NO_SPLIT_AT_INNER: ("i", "j"), hints.NO_SPLIT_AT_OUTER: ("j",)},
            ValueError,
            r"different axes, got \['j'\] in both",
        ),
        ({hints.ALWAYS_UNROLL: "t"}, TypeError, "expected a tuple of axis names, got 't'"),
        ({hints.NO_CACHE_WRITE: 1}, TypeError, "expected True or False, got 1"),
        ({hints.ALWAYS_INLINE: True}, ValueError, "a reduction cannot be inlined"),
        ({hints.SIMPLIFY_CONST_INDICES: ("i", "t")}, ValueError, "expected all reduction axes"),
    ],
)
def test_a_hint_that_makes_no_sense_is_refused(
    attributes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        derive(window_sum(attributes))


def _compute_at_first_loop(context: Context, derivation: Derivation, index: int) -> Next:
    name = stage_at(derivation, index).name
    return [(derivation.then("my-rule", [ComputeAt(name, "relu", "i")]), index - 1)]


def test_a_rule_of_the_user_comes_first() -> None:
    dag = window_sum(relu=True)
    condition = lambda context, derivation, index: APPLY if stage_at(derivation, index).name == "Y" else SKIP  # noqa: E731
    mine = Rule("my-rule", condition, _compute_at_first_loop)
    found = derive(dag, (mine, *CPU_RULES))
    assert [sketch.rules for sketch in found][0] == ("my-rule",)
    assert {sketch.rules for sketch in found[1:]} == {sketch.rules for sketch in derive(dag)}
    _check(dag, found[0])


def test_factored_reductions_have_loops_whose_lengths_follow_their_hole() -> None:
    x, k = placeholder((3, 4096), "X"), reduce_axis(4096, "k")
    dag = ComputeDAG([compute((3,), lambda i: reduce_sum(x[i, k], k), "Y")])
    outer, inner = (s for s in derive(dag, machine=SMALL_MACHINE) if any(isinstance(t, Rfactor) for t in s.steps))
    assert [loop.of({"Y.k": (1024,)}) for loop in outer.hole["Y.rf.parallel"].loops] == [3, 4]
    assert [loop.of({"Y.k": (16,)}) for loop in inner.hole["Y.rf.vectorize"].loops] == [16]
    assert max(value[0] for value in inner.hole["Y.k"].values if isinstance(value, tuple)) == 256
    assert (4096,) in outer.hole["Y.k"].values
