"""Sketch counts of the published system, and programs that compute what they were declared to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.evolution import Feasibility
from ansor_mini.holes import TILE
from ansor_mini.local_measurer import LocalMeasurer, case_of
from ansor_mini.rule_types import Rule
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.sketch_rules import CPU_RULES, MULTI_LEVEL_TILING, PAPER_RULES, SKIP_STAGE
from ansor_mini.steps import holes
from ansor_mini.workloads import WORKLOADS
from tests.benchmarks.sketch_counts import CASES, sketches
from tests.strategies.dags import dags
from tests.strategies.programs import SMALL_MACHINE, SMALL_WORKLOADS, check_nest, programs


@pytest.mark.parametrize(("name", "workload", "expected"), [case[:3] for case in CASES], ids=[c[0] for c in CASES])
def test_number_of_sketches(name: str, workload: str, expected: int) -> None:
    found = sketches(workload, "published")
    assert len(found) == expected
    assert len({sketch.key for sketch in found}) == expected


@pytest.mark.parametrize(
    ("workload", "expected"), [("matmul:512,512,512", 6), ("matmul:8,8,512", 10), ("softmax:1,1024", 9)]
)
def test_the_papers_conditions_exclude_fewer_sketches(workload: str, expected: int) -> None:
    found = {sketch.key for sketch in sketches(workload, "paper")}
    assert len(found) == expected
    assert found >= {sketch.key for sketch in sketches(workload, "published")}


def test_sketches_of_a_convolution_layer_keep_the_epilogue_in_the_tile() -> None:
    found = derive(WORKLOADS["ConvLayer"].dag(56, 56, 64, 64, 3, 1, 1))
    assert ("inline", "inline", "tile-and-fuse-1") in {tuple(r for r in sketch.rules if r) for sketch in found}


def test_every_hole_is_in_a_step_and_every_step_hole_has_a_spec() -> None:
    for sketch in derive(WORKLOADS["C2D"].dag(14, 14, 256, 256, 3, 1, 1), CPU_RULES):
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


def _computes_what_was_declared(program: Program) -> None:
    note(str(program.sketch))
    note(str(program))
    try:
        nest = program.lower()
    except ScheduleError as error:
        note(error.reason)
        assume(False)
    note(str(nest))
    check_nest(nest, case_of(program.sketch.dag, np.random.default_rng(0)))


@given(programs())
def test_random_programs_compute_what_was_declared(program: Program) -> None:
    _computes_what_was_declared(program)


@given(dags(most=4), st.sampled_from((CPU_RULES, PAPER_RULES)), st.integers(0, 2**32 - 1))
def test_random_programs_of_random_dags_compute_what_was_declared(
    dag: ComputeDAG, rules: tuple[Rule, ...], seed: int
) -> None:
    rng, found = np.random.default_rng(seed), derive(dag, rules, SMALL_MACHINE)
    _computes_what_was_declared(sample(found[int(rng.integers(len(found)))], rng, SMALL_MACHINE, threads=2))


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_WORKLOADS)
@pytest.mark.parametrize("threads", [1, 2])
def test_random_programs_are_right_as_compiled_code(name: str, threads: int) -> None:
    dag = SMALL_WORKLOADS[name]()
    rng = np.random.default_rng(0)
    all_sketches = derive(dag, CPU_RULES, SMALL_MACHINE)
    nests = []
    for _ in range(12):
        program = sample(all_sketches[int(rng.integers(len(all_sketches)))], rng, SMALL_MACHINE, threads=threads)
        if Feasibility()(program):
            nests.append(program.lower())
    with LocalMeasurer(dag, threads=threads, min_repeat_seconds=0.0, repeats=1) as measurer:
        results = measurer(nests, lambda number, result: None)
    assert [(str(nest), result.reason) for nest, result in zip(nests, results) if result.kind != "ok"] == []
