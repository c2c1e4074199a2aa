"""A child made in a batch is a child that the plain function may make, and conversely."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import parallel_width, register_tiles, sample, uniform_tiles
from ansor_mini.evolution import MUTATIONS, crossover, mutate
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import PARALLEL, TILE, Annotation
from ansor_mini.population import Population
from ansor_mini.population_annotation import extents_of, parallel_widths, sample_population, sample_populations
from ansor_mini.population_mutations import POPULATION_MUTATIONS, cross_rows, mutate_rows
from ansor_mini.population_space import Space, tile_moves
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.workloads import WORKLOADS
from tests.strategies.programs import SMALL_MACHINE, programs

CONV = derive(WORKLOADS["ConvLayer"].dag(2, 2, 1, 2, 3, 1, 1), structure="SRS")
TINY = derive(WORKLOADS["matmul"].dag(2, 2, 2), structure="SRS")
SEEDS = st.integers(0, 2**32 - 1)
DRAWS = 2000


def _repeated(program: Program, count: int) -> Population:
    return Population.of(program.sketch, [program] * count)


@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=[name for name, _, _ in MUTATIONS])
@pytest.mark.parametrize("sketch", [CONV[0], CONV[-1], TINY[0]], ids=["fused conv", "conv", "matmul"])
def test_a_batched_mutation_reaches_what_the_plain_one_reaches(sketch: Sketch, number: int) -> None:
    rng = np.random.default_rng(number)
    parent = sample(sketch, rng, SMALL_MACHINE, threads=2)
    plain = {MUTATIONS[number][2](parent, rng, 2) for _ in range(DRAWS)}
    assert [name for name, _, _ in MUTATIONS] == [name for name, _, _ in POPULATION_MUTATIONS]
    choices, changed = POPULATION_MUTATIONS[number][2](Space(sketch), _repeated(parent, DRAWS).choices, rng, 2)
    batched = Population(sketch, choices).programs()
    assert {child if moved else None for child, moved in zip(batched, changed)} == plain
    assert all((child == parent) == (not moved) for child, moved in zip(batched, changed))


def test_mutations_are_drawn_by_weight_and_another_takes_the_place_of_one_that_does_not_apply() -> None:
    sketch = next(sketch for sketch in CONV if "tile-and-fuse-1" in sketch.rules)
    rng = np.random.default_rng(0)
    parent = sample(sketch, rng, SMALL_MACHINE, threads=2)
    plain = {mutate(parent, rng, 1) for _ in range(3 * DRAWS)}
    children, changed = mutate_rows(Space(sketch), _repeated(parent, 3 * DRAWS).choices, rng)
    assert changed.all()
    assert set(Population(sketch, children).programs()) == plain


def test_rows_without_a_mutation_are_counted() -> None:
    fixed = Sketch(TINY[0].dag, ())
    rejections: Counter[str] = Counter()
    children, changed = mutate_rows(
        Space(fixed), np.zeros((3, 0), dtype=np.int32), np.random.default_rng(0), rejections=rejections
    )
    assert children.shape == (3, 0) and not changed.any()
    assert rejections == Counter({"no mutation applies": 3})


@given(programs(), SEEDS)
def test_batched_mutations_stay_legal_and_change_something(program: Program, seed: int) -> None:
    space = Space(program.sketch)
    population = _repeated(program, 20)
    children, changed = mutate_rows(space, population.choices, np.random.default_rng(seed), 2)
    assert ((children >= 0) & (children < space.sizes)).all()
    assert ((children != population.choices).any(axis=1) == changed).all()


@given(programs())
def test_moves_are_the_neighbours(program: Program) -> None:
    for hole in program.sketch.holes:
        if hole.kind == TILE:
            moves = tile_moves(hole)
            for number, value in enumerate(hole.values):
                targets = moves.targets[moves.first[number] : moves.first[number + 1]]
                assert tuple(hole.values[target] for target in targets) == hole.neighbours(value)


@pytest.mark.parametrize("sketch", [CONV[0], CONV[-1]], ids=["fused conv", "conv"])
def test_batched_crossover_reaches_what_the_plain_one_reaches(sketch: Sketch) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        first, second = (sample(sketch, rng, SMALL_MACHINE, threads=2) for _ in range(2))
        plain = {crossover(first, second, rng) for _ in range(300)}
        feasible = Feasibility()
        rows = cross_rows(Space(sketch), _repeated(first, 300).choices, _repeated(second, 300).choices, rng, feasible)
        assert set(Population(sketch, rows).programs()) == plain


def test_an_infeasible_crossover_falls_back_to_the_first_parent_and_is_counted() -> None:
    sketch = CONV[0]
    rng = np.random.default_rng(0)
    bad = next(p for p in (sample(sketch, rng, SMALL_MACHINE, threads=2) for _ in range(1000)) if not Feasibility()(p))
    feasible = Feasibility()
    rows = cross_rows(Space(sketch), _repeated(bad, 50).choices, _repeated(bad, 50).choices, rng, feasible)
    assert Population(sketch, rows).programs() == [bad] * 50
    assert feasible.rejections["crossover: child is infeasible"] == 50
    assert sum(feasible.rejections.values()) == 100 and len(feasible.rejections) == 2


@given(st.lists(programs(), min_size=1, max_size=4))
def test_feasibility_of_a_population_is_that_of_its_programs(drawn: list[Program]) -> None:
    one, many = Feasibility(), Feasibility()
    for program in drawn:
        rng = np.random.default_rng(0)
        near = [program, *(child for _ in range(5) if (child := mutate(program, rng, 2)))]
        population = Population.of(program.sketch, near)
        assert many.of_population(population).tolist() == [one(other) for other in near]
    assert one.rejections == many.rejections


@given(programs(), SEEDS)
def test_loop_extents_and_parallel_widths_are_the_plain_ones(program: Program, seed: int) -> None:
    population = sample_population(program.sketch, 6, np.random.default_rng(seed), SMALL_MACHINE, threads=2)
    annotations: list[Annotation] = [other.annotation for other in population.programs()]
    for hole in program.sketch.holes:
        for loop in hole.loops:
            assert extents_of(loop, population).tolist() == [loop.of(annotation) for annotation in annotations]
        if hole.kind == PARALLEL:
            for threads in (1, 2):
                widths = [parallel_width(hole, annotation, threads) for annotation in annotations]
                assert parallel_widths(hole, population, threads).tolist() == widths


@pytest.mark.parametrize("tiles", [uniform_tiles, register_tiles])
def test_batched_samples_are_those_of_the_plain_sampler(tiles) -> None:
    rng = np.random.default_rng(0)
    batched = set(sample_population(TINY[0], 20000, rng, SMALL_MACHINE, threads=2, tiles=tiles).programs())
    assert batched == {sample(TINY[0], rng, SMALL_MACHINE, threads=2, tiles=tiles) for _ in range(8000)}


@pytest.mark.parametrize("tiles", [uniform_tiles, register_tiles])
def test_batched_samples_have_the_plain_samplers_pairs_of_values(tiles) -> None:
    rng = np.random.default_rng(0)
    batched = sample_population(CONV[-1], 4000, rng, SMALL_MACHINE, threads=2, tiles=tiles).programs()
    plain = [sample(CONV[-1], rng, SMALL_MACHINE, threads=2, tiles=tiles) for _ in range(4000)]
    pairs = [Counter(p for program in drawn for p in combinations(program.frozen, 2)) for drawn in (batched, plain)]
    for one, other in (pairs, pairs[::-1]):
        assert all(pair in other for pair, count in one.items() if count >= 20)


def test_a_policy_without_a_batched_twin_is_called_for_each_program() -> None:
    def ones(sketch: Sketch, rng: np.random.Generator, machine: object) -> Annotation:
        return {hole.name: (1,) * (hole.parts - 1) for hole in sketch.holes if hole.kind == TILE}

    populations = sample_populations(CONV, 30, np.random.default_rng(0), SMALL_MACHINE, tiles=ones)
    assert [population.sketch for population in populations] == list(CONV)
    assert sum(map(len, populations)) == 30
    for population in populations:
        for program in population.programs():
            assert all(set(value) == {1} for value in program.annotation.values() if isinstance(value, tuple))
