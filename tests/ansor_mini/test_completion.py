"""Incomplete programs are harder to rank than complete ones."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.completion import completion_study, cut_back
from ansor_mini.holes import TILE
from ansor_mini.population import Population, hole_table
from ansor_mini.sketch import derive
from ansor_mini.workloads import WORKLOADS

SKETCHES = derive(WORKLOADS["matmul"].dag(16, 16, 16))


class Oracle:
    """Knows the time of every program exactly: it depends on all tiles."""

    def predict_population(self, population):
        return np.array([1.0 / seconds(program) for program in population.programs()])


def seconds(program):
    return 1.0 + sum(np.log2(length) for value in program.annotation.values() if isinstance(value, tuple)
                     for length in value)  # fmt: skip


def random_programs(sketch, count, seed=0):
    rng = np.random.default_rng(seed)
    choices = np.stack([rng.integers(len(hole.values), size=count) for hole in sketch.holes], axis=1)
    return Population(sketch, choices)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_first_holes_stay_and_the_others_do_nothing(share):
    population = random_programs(SKETCHES[0], 9)
    filled = round(share * len(SKETCHES[0].holes))
    cut = cut_back(population, share)
    assert np.array_equal(cut.choices[:, :filled], population.choices[:, :filled])
    for column, hole in list(enumerate(SKETCHES[0].holes))[filled:]:
        left = {hole_table(hole).values[choice] for choice in cut.choices[:, column]}
        assert len(left) == 1
        if hole.kind == TILE:
            assert left == {(1,) * (hole.parts - 1)}


def test_an_oracle_of_complete_programs_knows_nothing_of_empty_ones():
    tasks = [{program: seconds(program) for sketch in SKETCHES for program in random_programs(sketch, 30).programs()}]
    study = completion_study(Oracle(), tasks, shares=(0.0, 0.5, 1.0), top=5)
    assert [entry.share for entry in study] == [0.0, 0.5, 1.0]
    assert study[0].pairwise_accuracy < 0.8 and study[-1].pairwise_accuracy == 1.0 and study[-1].recall == 1.0
    assert study[0].pairwise_accuracy <= study[1].pairwise_accuracy <= study[2].pairwise_accuracy
