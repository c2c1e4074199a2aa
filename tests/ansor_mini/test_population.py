"""A population is its programs: there and back, row by row, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.holes import TILE
from ansor_mini.population import Population, by_sketch
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS
from tests.strategies.programs import SMALL_MACHINE, programs

MATMUL = derive(WORKLOADS["matmul"].dag(16, 16, 16))


@given(programs())
def test_a_program_comes_back(program: Program) -> None:
    population = Population.of(program.sketch, [program, program])
    assert len(population) == 2 and population.programs() == [program, program]


@given(programs())
def test_numbers_are_the_values_of_the_holes(program: Program) -> None:
    population = Population.of(program.sketch, [program])
    for hole in program.sketch.holes:
        value = program.annotation[hole.name]
        numbers = tuple(int(array[0]) for array in population.numbers(hole.name))
        assert numbers == (value if hole.kind == TILE else (value,))


@given(st.integers(0, 2**32 - 1))
def test_take_keeps_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [sample(MATMUL[0], rng, SMALL_MACHINE) for _ in range(6)]
    population = Population.of(MATMUL[0], drawn)
    assert population.take([4, 1]).programs() == [drawn[4], drawn[1]]
    assert population.take(np.arange(6) % 2 == 0).programs() == drawn[::2]


def test_programs_of_several_sketches_are_grouped() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample(MATMUL[i % 2], rng, SMALL_MACHINE) for i in range(5)]
    groups = by_sketch(drawn)
    assert [list(positions) for positions, _ in groups] == [[0, 2, 4], [1, 3]]
    assert all(population.programs() == [drawn[i] for i in positions] for positions, population in groups)


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    program = sample(MATMUL[0], rng, SMALL_MACHINE)
    with pytest.raises(ValueError, match="of the given sketch"):
        Population.of(MATMUL[1], [program])
    with pytest.raises(ValueError, match="legal for its hole"):
        Population.of(MATMUL[0], [MATMUL[0].program({**program.annotation, "C.i": (3, 3, 3)})])
    with pytest.raises(ValueError, match="must have shape"):
        Population(MATMUL[0], np.zeros((2, 1)))
    with pytest.raises(ValueError, match="hole of the sketch"):
        Population.of(MATMUL[0], [program]).numbers("nothing")
