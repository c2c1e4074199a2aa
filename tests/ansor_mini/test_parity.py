"""Strided transposed convolution by residue classes."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.local_measurer import case_of
from ansor_mini.lowering import lower
from ansor_mini.residue_steps import ResidueClasses, congruences
from ansor_mini.schedule import ScheduleError, State, replay
from ansor_mini.sketch import derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.steps import parse_step
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_max
from ansor_mini.workloads import WORKLOADS
from runtime.emit_c import prepare
from runtime.expr import equal, select
from tests.strategies.programs import SMALL_MACHINE, check_nest, random_nests

SHAPES = [
    (3, 3, 2, 4, 4, 2, 1),
    (2, 3, 2, 4, 3, 2, 1),
    (2, 2, 2, 4, 5, 3, 1),
    (2, 2, 1, 4, 3, 3, 0),
    (2, 1, 2, 3, 2, 2, 0),
]


def largest_every_other(taps: int) -> ComputeDAG:
    x, k = placeholder((6, 4), "X"), reduce_axis(taps, "k")
    lowest = np.finfo(np.float32).min
    body = lambda i, c: reduce_max(select(equal((i + k + 1) % 2, 0), x[(i + k + 1) // 2, c], float(lowest)), k)  # noqa: E731
    return ComputeDAG([compute((8, 4), body, "M")])


@pytest.mark.parametrize("shape", SHAPES)
def test_classes_compute_the_same_with_no_skipped_tap(shape: tuple[int, ...]) -> None:
    dag = WORKLOADS["T2D"].dag(*shape)
    state = replay(dag, [ResidueClasses("conv")])
    assert congruences(dag["conv"]) and not congruences(state["conv.classes"].tensor)
    case = case_of(dag, np.random.default_rng(0))
    np.testing.assert_array_equal(state.dag.evaluate(*case.inputs)[0], case.expected[0])


@pytest.mark.parametrize("dag", [*(WORKLOADS["T2D"].dag(*shape) for shape in SHAPES), largest_every_other(3)])
def test_programs_with_classes_compute_what_was_declared(dag: ComputeDAG) -> None:
    case, sketches = case_of(dag, np.random.default_rng(0)), derive(dag, (RESIDUE_CLASSES, *CPU_RULES), SMALL_MACHINE)
    assert all(sketch.rules[0] == "residue-classes" for sketch in sketches)
    nests = list(random_nests(sketches, 4, threads=2))
    assert nests
    for nest in nests:
        packed, packed_case = pack_case(nest, case, ("W",))
        check_nest(prepare(packed, vector_bytes=16), packed_case)


def test_weights_read_backwards_are_packed() -> None:
    dag = WORKLOADS["T2D"].dag(4, 4, 8, 16, 4, 2, 1)
    nest = replay(dag, [ResidueClasses("conv")])
    packed, _ = pack_case(lower(nest), case_of(dag, np.random.default_rng(0)), ("W",))
    assert next(buffer.shape for buffer in packed.inputs if buffer.name == "W") == (2, 2, 16, 2, 2, 8)


def test_only_congruences_make_classes() -> None:
    dag = WORKLOADS["C2D"].dag(4, 4, 2, 2, 3, 2, 1)
    assert congruences(dag["conv"]) == ()
    with pytest.raises(ScheduleError, match="no congruence"):
        ResidueClasses("conv").apply(State.initial(dag))


def test_the_step_is_written_and_read() -> None:
    step = ResidueClasses("conv")
    assert parse_step(repr(step)) == step
