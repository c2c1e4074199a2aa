"""Evolution over arrays finds what the model likes, forgets nothing it met, and counts what it drops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ansor_mini.cost_model import TrivialModel
from ansor_mini.evolution import EvolutionOptions, selection_weights
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import TILE
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_populations
from ansor_mini.population_evolution import Breeding, evolve_populations, next_generation
from ansor_mini.population_space import Space
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS
from tests.strategies.programs import SMALL_MACHINE

MATMUL = derive(WORKLOADS["matmul"].dag(16, 16, 16))
CONV = derive(WORKLOADS["ConvLayer"].dag(8, 8, 4, 8, 3, 1, 1))


class CountOnes:
    """Likes programs with many tiles of length 1; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict_population(self, population: Population) -> np.ndarray:
        self.asked.append(len(population))
        ones = np.zeros(len(population))
        for hole in population.sketch.holes:
            if hole.kind == TILE:
                ones += sum((lengths == 1).astype(float) for lengths in population.numbers(hole.name))
        return 3.0**ones

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        return np.array([self.predict_population(Population.of(p.sketch, [p]))[0] for p in programs])

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Nothing to learn."""


def _start(sketches, count: int = 64, seed: int = 0, threads: int = 1) -> list[Population]:
    return sample_populations(sketches, count, np.random.default_rng(seed), SMALL_MACHINE, threads=threads)


def test_evolution_finds_the_optimum_of_a_toy_model() -> None:
    ones = sum(hole.parts - 1 for hole in MATMUL[0].holes if hole.kind == TILE)
    options = EvolutionOptions(population=64, generations=12)
    found = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        best = evolve_populations(_start(MATMUL, 64, seed), model=CountOnes(), rng=rng, keep=1, options=options)
        found += CountOnes().predict(best)[0] == 3.0**ones
    assert found >= 6


def test_each_program_is_scored_once() -> None:
    class Remembers(CountOnes):
        """Knows whom it was asked for."""

        def __init__(self) -> None:
            super().__init__()
            self.programs: list[Program] = []

        def predict_population(self, population: Population) -> np.ndarray:
            self.programs += population.programs()
            return super().predict_population(population)

    model = Remembers()
    options = EvolutionOptions(population=100, generations=3)
    evolve_populations(_start(MATMUL, 100), model=model, rng=np.random.default_rng(0), keep=5, options=options)
    assert len(set(model.programs)) == len(model.programs) <= 4 * 100


def test_seen_programs_do_not_come_out_again_and_the_best_come_first() -> None:
    model = CountOnes()
    first = evolve_populations(_start(CONV), model=model, rng=np.random.default_rng(0), keep=10)
    again = evolve_populations(_start(CONV), model=model, rng=np.random.default_rng(0), keep=10, seen=set(first))
    assert len(first) == len(again) == 10 and not set(first) & set(again)
    assert len(set(first)) == 10
    scores = list(model.predict(first))
    assert scores == sorted(scores, reverse=True) and max(model.predict(again)) <= scores[0]


def test_the_best_of_the_first_generation_is_not_forgotten() -> None:
    start = _start(MATMUL, 200)
    options = EvolutionOptions(population=4, generations=2)
    best = evolve_populations(start, model=CountOnes(), rng=np.random.default_rng(0), keep=3, options=options)
    drawn = CountOnes().predict([program for population in start for program in population.programs()])
    assert CountOnes().predict(best)[0] >= drawn.max()


def test_the_same_seed_gives_the_same_programs() -> None:
    runs = [
        evolve_populations(_start(CONV), model=CountOnes(), rng=np.random.default_rng(7), keep=20) for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_what_comes_out_can_be_replayed_and_what_cannot_is_counted() -> None:
    feasible = Feasibility()
    best = evolve_populations(
        _start(CONV, 400, threads=2),
        model=CountOnes(),
        rng=np.random.default_rng(0),
        keep=50,
        options=EvolutionOptions(population=400),
        threads=2,
        feasible=feasible,
    )
    for program in best:
        program.schedule()
    assert any(reason.startswith("infeasible") for reason in feasible.rejections)
    assert feasible.rejections["crossover: parents of different sketches"] > 0


def test_a_model_that_scores_one_by_one_will_do() -> None:
    model = TrivialModel(SMALL_MACHINE)
    options = EvolutionOptions(population=64)
    best = evolve_populations(_start(MATMUL), model=model, rng=np.random.default_rng(0), keep=10, options=options)
    scores = list(model.predict(best))
    assert scores == sorted(scores, reverse=True)


def test_nothing_to_evolve_gives_nothing() -> None:
    rng = np.random.default_rng(0)
    assert evolve_populations([], model=CountOnes(), rng=rng, keep=3) == []
    assert evolve_populations(_start(MATMUL, 0), model=CountOnes(), rng=rng, keep=3) == []


@pytest.mark.parametrize("favoured", [0, 1])
def test_parents_are_drawn_by_score_over_all_sketches(favoured: int) -> None:
    parents = [population.take(range(10)) for population in _start(MATMUL[:2], 60)]
    scores = [np.full(10, float(number == favoured)) for number in range(2)]
    scores[favoured][1:] = 0.0
    options = EvolutionOptions(population=30, mutation_rate=0.0, crossover_rate=0.0)
    rng = np.random.default_rng(0)
    spaces = [Space(population.sketch) for population in parents]
    children = next_generation(spaces, parents, scores, Breeding(rng, options))
    assert [len(population) for population in children] == [30 * (number == favoured) for number in range(2)]
    assert set(children[favoured].programs()) == {parents[favoured].program(0)}


def test_scores_that_are_not_numbers_are_no_reason_to_be_chosen() -> None:
    assert selection_weights(np.array([np.nan, -np.inf, 2.0])).tolist() == [0.0, 0.0, 1.0]
    assert selection_weights(np.array([1e200, 5e199]), 4.0).tolist() == [1.0, 0.0625]
