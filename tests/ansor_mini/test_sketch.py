"""Sketch counts of the published system, and programs that compute what they were declared to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, note

from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.evolution import Feasibility
from ansor_mini.holes import TILE
from ansor_mini.local_measurer import LocalMeasurer, case_of
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.sketch_rules import CPU_RULES_WITH_RFACTOR, MULTI_LEVEL_TILING, SKIP_STAGE
from ansor_mini.steps import holes
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.workloads import WORKLOADS
from runtime.interpreter import interpret
from runtime.machine import detect
from runtime.verify_nest import verify
from tests.strategies.programs import SMALL_MACHINE, SMALL_WORKLOADS, max_pool, programs, row_minimum

FOUR_CORES = detect(cores=4)


def _two_matmuls() -> ComputeDAG:
    a, b, d = (placeholder((512, 512), name) for name in "ABD")
    k1, k2 = reduce_axis(512, "k"), reduce_axis(512, "k")
    c = compute((512, 512), lambda i, j: reduce_sum(a[i, k1] * b[k1, j], k1), "C")
    return ComputeDAG([compute((512, 512), lambda i, j: reduce_sum(c[i, k2] * d[k2, j], k2), "E")])


# The published system's counts with four cores.
COUNTS: dict[str, tuple[Callable[[], ComputeDAG], int]] = {
    "matmul": (lambda: WORKLOADS["matmul"].dag(512, 512, 512), 3),
    "matmul with a long reduction": (lambda: WORKLOADS["matmul"].dag(8, 8, 512), 5),
    "two matmuls": (_two_matmuls, 9),
    "convolution layer": (lambda: WORKLOADS["ConvLayer"].dag(56, 56, 512, 512, 3, 1, 1), 3),
    "max pool": (lambda: max_pool(56, 64, kernel=2), 1),
    "row minimum": (lambda: row_minimum(10, 1024), 3),
    "softmax": (lambda: WORKLOADS["softmax"].dag(1, 1024), 9),
}


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_sketches(name: str) -> None:
    declare, expected = COUNTS[name]
    assert len(derive(declare(), CPU_RULES_WITH_RFACTOR, FOUR_CORES)) == expected


def test_sketches_of_a_convolution_layer_keep_the_epilogue_in_the_tile() -> None:
    sketches = derive(WORKLOADS["ConvLayer"].dag(56, 56, 64, 64, 3, 1, 1))
    rules = {sketch.rules for sketch in sketches}
    assert ("inline", "inline", "tile-and-fuse-1") in {tuple(r for r in rule if r) for rule in rules}
    assert len({sketch.key for sketch in sketches}) == len(sketches)


def test_every_hole_is_in_a_step_and_every_step_hole_has_a_spec() -> None:
    for sketch in derive(WORKLOADS["C2D"].dag(14, 14, 256, 256, 3, 1, 1), CPU_RULES_WITH_RFACTOR):
        assert [hole.name for hole in sketch.holes] == list(dict.fromkeys(n for s in sketch.steps for n in holes(s)))
        assert all(hole.values for hole in sketch.holes)


def test_rules_and_structure_are_arguments() -> None:
    dag = WORKLOADS["matmul"].dag(64, 64, 64)
    only_tiling = derive(dag, (MULTI_LEVEL_TILING, SKIP_STAGE), structure="SRS")
    assert [sketch.rules for sketch in only_tiling] == [("tile",)]
    assert [hole.parts for hole in only_tiling[0].holes if hole.kind == TILE] == [2, 2]
    with pytest.raises(ValueError, match="structure must be"):
        derive(dag, structure="SSX")


def test_annotation_must_fill_exactly_the_holes() -> None:
    sketch = derive(WORKLOADS["matmul"].dag(8, 8, 8))[0]
    with pytest.raises(ValueError, match="missing or unknown"):
        sketch.program({})


@given(programs())
def test_random_programs_compute_what_was_declared(program: Program) -> None:
    note(str(program.sketch))
    note(str(program))
    try:
        nest = program.lower()
    except ScheduleError as error:
        note(error.reason)
        assume(False)
    note(str(nest))
    verify(nest)
    case = case_of(program.sketch.dag, np.random.default_rng(0))
    for actual, expected in zip(interpret(nest, *case.inputs), case.expected):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_WORKLOADS)
@pytest.mark.parametrize("threads", [1, 2])
def test_random_programs_are_right_as_compiled_code(name: str, threads: int) -> None:
    dag = SMALL_WORKLOADS[name]()
    rng = np.random.default_rng(0)
    sketches = derive(dag, CPU_RULES_WITH_RFACTOR, SMALL_MACHINE)
    nests = []
    for _ in range(12):
        program = sample(sketches[int(rng.integers(len(sketches)))], rng, SMALL_MACHINE, threads=threads)
        if Feasibility()(program):
            nests.append(program.lower())
    with LocalMeasurer(dag, threads=threads, min_repeat_seconds=0.0, repeats=1) as measurer:
        results = measurer(nests, lambda number, result: None)
    assert [(str(nest), result.reason) for nest, result in zip(nests, results) if result.kind != "ok"] == []
