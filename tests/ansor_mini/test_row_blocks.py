"""Blocks of rows that pass through all stages behind a tiled one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini import sketch_hints as hints
from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.accumulators import ACCUMULATORS
from ansor_mini.cpu_rules.row_blocks import ROW_BLOCKS, Chain, chain_behind
from ansor_mini.evolution import MUTATIONS, crossover
from ansor_mini.feasibility import Feasibility
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_population
from ansor_mini.population_mutations import POPULATION_MUTATIONS, cross_rows
from ansor_mini.population_space import Space
from ansor_mini.schedule import State
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.steps import ComputeAt
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_max, reduce_sum
from ansor_mini.workloads import parse_workload
from runtime.compile_c import run_nest
from runtime.emit_c import prepare
from runtime.loop_nest import Allocate, walk_stmts
from runtime.measure_case import MeasureCase
from tests.ansor_mini.test_feature_arrays import check_equal
from tests.strategies.dags import small_inputs
from tests.strategies.programs import SMALL_MACHINE, check_nest
from tests.strategies.row_stages import row_stages, scores_of

RULES = (ACCUMULATORS, ROW_BLOCKS, *CPU_RULES)
SMALL = row_stages(2, 7, 18, 5)


def blocked(dag: ComputeDAG, *, structure: str = "", rules=RULES) -> list[Sketch]:
    """The sketches that the rule has made."""
    found = derive(dag, rules, SMALL_MACHINE, structure=structure)
    return [sketch for sketch in found if any(rule.startswith("row-blocks") for rule in sketch.rules)]


# With accumulators, with rule 6 once or twice, and in a structure with one level to compute at.
SKETCHES = [
    *blocked(SMALL),
    *blocked(SMALL, rules=(ROW_BLOCKS, *CPU_RULES)),
    *blocked(SMALL, structure="SRS"),
]


def test_the_other_sketches_stay() -> None:
    every, before = derive(SMALL, RULES, SMALL_MACHINE), derive(SMALL, (ACCUMULATORS, *CPU_RULES), SMALL_MACHINE)
    assert [sketch.rules[-1] for sketch in blocked(SMALL)] == ["row-blocks-1", "row-blocks-2"]
    assert [sketch.key for sketch in every if sketch not in blocked(SMALL)] == [sketch.key for sketch in before]


def test_one_level_in_a_structure_with_two_and_none_where_a_reduction_is_outermost() -> None:
    assert [sketch.rules[-1] for sketch in blocked(SMALL, structure="SRS")] == ["row-blocks-1"]
    assert blocked(SMALL, structure="RSS") == []


@pytest.mark.parametrize("level, rows", [(1, 8), (2, 4)])
def test_all_stages_have_buffers_of_one_block(level: int, rows: int) -> None:
    sketch = next(s for s in blocked(row_stages(2, 16, 16, 4)) if s.rules[-1] == f"row-blocks-{level}")
    annotation = {hole.name: hole.values[0] for hole in sketch.holes}
    annotation |= {"scores.i": (2, 2, 2), "scores.j": (1, 1, 16)}
    nest = sketch.program(annotation).lower()
    shapes = {s.buffer.name: s.buffer.shape for s in walk_stmts(nest.body) if isinstance(s, Allocate)}
    for name, shape in {"scores": (1, rows, 16), "largest": (1, rows), "ramp": (1, rows, 16)}.items():
        assert shapes[name] == shape
    assert str(nest).splitlines()[1:3] == ["    for h0 in range(2):", "        for i0 in range(2):"]


def test_stages_that_rule_6_has_split_are_in_the_block_too() -> None:
    sketches = blocked(SMALL, rules=(ROW_BLOCKS, *CPU_RULES))
    factored = [sketch for sketch in sketches if sketch.rules[:2] == ("rfactor-0", "rfactor-1")]
    assert factored
    for sketch in factored:
        moved = {step.stage for step in sketch.steps if isinstance(step, ComputeAt) and step.target == "out"}
        assert moved == {"scores", "largest.rf", "largest", "ramp", "total.rf", "total"}


def rows_of(tensor: Tensor) -> Tensor:
    """The largest of each row."""
    r = reduce_axis(tensor.shape[-1], "r")
    return compute(tensor.shape[:-1], lambda *at: reduce_max(tensor[at + (r,)], r), "largest")


def columns_first() -> Tensor:
    scores, r = scores_of(2, 4, 6, 3), reduce_axis(4, "r")
    return compute((2, 6), lambda h, j: reduce_max(scores[h, r, j], r), "largest")


def next_rows() -> Tensor:
    scores, r = scores_of(1, 4, 6, 3), reduce_axis(6, "r")
    return compute((1, 3), lambda h, i: reduce_max(scores[h, i + 1, r], r), "largest")


def another_product() -> Tensor:
    scores, weight, r = scores_of(1, 4, 6, 3), placeholder((6, 5), "W"), reduce_axis(6, "r")
    return compute((1, 4, 5), lambda h, i, j: reduce_sum(scores[h, i, r] * weight[r, j], r), "E")


def a_product_behind() -> Tensor:
    weight, r = placeholder((18, 5), "W"), reduce_axis(18, "r")
    out = SMALL["out"]
    return compute((2, 7, 5), lambda h, i, j: reduce_sum(out[h, i, r] * weight[r, j], r), "E")


@pytest.mark.parametrize(
    "output, expected",
    [
        (lambda: rows_of(scores_of(2, 4, 6, 3)), Chain("largest", (), 2)),
        (columns_first, Chain("largest", (), 1)),
        (a_product_behind, Chain("out", ("scaled", "largest", "ramp", "total"), 2)),
        (lambda: scores_of(2, 4, 6, 3), None),
        (next_rows, Chain("largest", (), 1)),
        (another_product, None),
    ],
)
def test_what_a_chain_is(output: Callable[[], Tensor], expected: Chain | None) -> None:
    assert chain_behind(State.initial(ComputeDAG([output()])), "scores") == expected


def test_a_chain_ends_before_what_does_not_join() -> None:
    scores = scores_of(2, 4, 6, 3)
    both = ComputeDAG([rows_of(scores), compute(scores.shape, lambda *at: scores[at] + 1.0, "more")])
    assert chain_behind(State.initial(both), "scores") is None


def test_only_stages_with_rows_that_fit_the_cache_qualify() -> None:
    assert blocked(SMALL)
    assert blocked(ComputeDAG([next_rows()])) == []  # one row
    tiny = replace(SMALL_MACHINE, l1_bytes=2 * 18 * 4 + 2 * 4)  # scores and ramp, largest and total
    assert any("row-blocks-1" in s.rules for s in derive(SMALL, RULES, tiny))
    tiny = replace(tiny, l1_bytes=tiny.l1_bytes - 1)
    assert not any("row-blocks-1" in s.rules for s in derive(SMALL, RULES, tiny))
    plain = parse_workload("matmul:16,16,16")
    assert blocked(plain) == []


@pytest.mark.parametrize("hint", [hints.NO_SPLIT_AT_INNER, hints.NO_SPLIT_AT_OUTER])
def test_a_row_axis_that_hints_keep_whole_has_no_blocks(hint: str) -> None:
    for axes, count in ((("i",), 0), (("j",), 2)):
        hinted = replace(SMALL["scores"], attributes={hint: axes})
        assert len(blocked(SMALL.replace("scores", hinted))) == count


def relatives(sketch: Sketch, seed: int) -> list[Program]:
    """Programs of a sketch: drawn, mutated and crossed, one at a time and as arrays, and any values at all."""
    rng, space = np.random.default_rng(seed), Space(sketch)
    drawn = sample_population(sketch, 4, rng, SMALL_MACHINE, threads=2)
    drawn = drawn.take(Feasibility().of_population(drawn))
    if not len(drawn):
        return []
    _, _, mutation = POPULATION_MUTATIONS[seed % len(POPULATION_MUTATIONS)]
    crossed = cross_rows(space, drawn.choices, drawn.choices[::-1], rng, Feasibility())
    parents = drawn.programs()
    alone = [sample(sketch, rng, SMALL_MACHINE), crossover(parents[0], parents[-1], rng)]
    child = MUTATIONS[seed % len(MUTATIONS)][2](parents[0], rng, 2)
    wild = space.population(rng.integers(space.sizes, size=(2, len(space.sizes))))
    rows = np.concatenate([mutation(space, drawn.choices, rng, 2)[0], crossed])
    every = [*alone, *([child] if child else []), *wild.programs(), *Population(sketch, rows).programs()[::2]]
    return [program for program in dict.fromkeys(every) if Feasibility()(program)]


def case_of(seed: int) -> MeasureCase:
    """Small integers, and what NumPy makes of them."""
    inputs = small_inputs(SMALL, seed % 1000)
    return MeasureCase(inputs, SMALL.evaluate(*inputs), exact=True)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SKETCHES))
def test_programs_in_blocks_compute_the_same(seed: int, sketch: Sketch) -> None:
    case = case_of(seed)
    for program in relatives(sketch, seed):
        note(str(program))
        nest = program.lower()
        for form in (nest, prepare(nest, vector_bytes=16)):
            check_nest(form, case)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SKETCHES))
def test_features_over_arrays_are_those_of_each_program(seed: int, sketch: Sketch) -> None:
    check_equal(sample_population(sketch, 4, np.random.default_rng(seed), SMALL_MACHINE))


@pytest.mark.cc
@pytest.mark.parametrize("number", range(4))
def test_compiled_programs_in_blocks_compute_the_same(number: int) -> None:
    case = case_of(number)
    sketch = blocked(SMALL)[number % 2]
    program = sample(sketch, np.random.default_rng(number), SMALL_MACHINE, threads=2)
    for threads in (1, 2):
        for got, expected in zip(run_nest(program.lower(), *case.inputs, threads=threads), case.expected):
            np.testing.assert_array_equal(got, expected)
