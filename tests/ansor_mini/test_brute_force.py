"""Evolution against brute force: toys whose every program is known, and how close the search comes to the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.ablations import Search, by_evolution
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, PARALLEL, TILE, UNROLL, VECTORIZE
from ansor_mini.population import Population
from ansor_mini.population_mutations import EVEN_MUTATIONS, POPULATION_MUTATIONS, PopulationMutation
from ansor_mini.population_space import Space
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.workloads import parse_workload
from runtime.machine import Machine
from tests.benchmarks.brute_force import FILE, VARIANTS, Variant, search, trials_to_reach
from tests.benchmarks.brute_force import TOYS as MEASURED
from tests.benchmarks.landscape import read_landscapes, write_landscapes

MACHINE = Machine("toy", 2, 32, 32 << 10, 1 << 20, 32 << 20, 64)
SEEDS = range(10)
OPTIONS = EvolutionOptions(population=256, generations=4)
ROUNDS = 6
Mutations = Sequence[tuple[str, float, PopulationMutation]]

# Workload and structure; every program of every sketch is listed.
TOYS = {"matmul": ("matmul:8,8,8", "SSRSRS"), "convolution": ("C1D:8,4,16,3,1,1", "SRS")}


def made_up_seconds(population: Population) -> np.ndarray:
    """A rugged landscape with what real ones have: register tiles that fit, vectors, balance, and 1 % of whim.

    The factors depend on several holes at once, so the best value of one is not that of the others.
    """
    total = np.ones(len(population))
    for node in dict.fromkeys(hole.node for hole in population.sketch.holes):
        accumulators, depth = np.ones(len(population)), np.ones(len(population))
        for hole in population.sketch.holes:
            if hole.node != node:
                continue
            numbers = population.numbers(hole.name)
            if hole.kind == TILE and hole.reduce:
                depth = depth * numbers[-1]
            elif hole.kind == TILE:
                accumulators = accumulators * numbers[-1]
                total *= 1 + 0.05 * np.abs(np.log2(numbers[0]) - 1)
            elif hole.kind == UNROLL:
                total *= 1 + 0.1 * np.abs(np.log2(1 + numbers[0]) - np.log2(accumulators * depth + 1)) / 4
            elif hole.kind == VECTORIZE:
                total *= np.where(numbers[0] == 1, 1.0, 1.5)
            elif hole.kind == PARALLEL:
                total *= 1 + 0.2 * np.abs(numbers[0] - 2)
            elif hole.kind == LOCATION:
                total *= 1 + 0.1 * np.abs(numbers[0] - 4)
        total *= 1 + 0.3 * np.abs(np.log2(accumulators) - 4)
    whim = population.keys().astype(np.float64) / 2.0**64
    return 1e-6 * total * (1 + 0.01 * whim)


class Oracle:
    """Knows the seconds of every program; counts how many it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def predict_population(self, population: Population) -> np.ndarray:
        self.asked += len(population)
        return 1e-6 / made_up_seconds(population)

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        return np.array([self.predict_population(Population.of(p.sketch, [p]))[0] for p in programs])

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Nothing to learn."""


@cache
def brute_force(toy: str) -> tuple[tuple[Sketch, ...], float, int]:
    """The sketches of a toy, the seconds of the best of all feasible programs, and how many there are."""
    workload, structure = TOYS[toy]
    sketches = derive(parse_workload(workload), machine=MACHINE, structure=structure)
    feasible, best, count = Feasibility(), np.inf, 0
    for sketch in sketches:
        everything = Space(sketch).everything()
        seconds = made_up_seconds(everything)[feasible.of_population(everything)]
        best, count = min(best, seconds.min()), count + len(seconds)
    return sketches, best, count


def search_for(toy: str, seed: int, mutations: Mutations) -> tuple[Program, int]:
    """The best program of some rounds of evolution, each seeded with the best of the rounds before.

    Returns: the program, and how many were scored.
    """
    rng = np.random.default_rng(seed)
    sketches, _, _ = brute_force(toy)
    search = Search(sketches, Oracle(), rng, MACHINE, threads=2, options=OPTIONS, mutations=mutations)
    found: list[Program] = []
    for _ in range(ROUNDS):
        found += by_evolution(replace(search, elite=found, seen=found), 16)
        found.sort(key=lambda program: -search.model.predict([program])[0])
    return found[0], search.model.asked


@pytest.mark.parametrize("mutations", [POPULATION_MUTATIONS, EVEN_MUTATIONS], ids=["published", "even"])
@pytest.mark.parametrize("toy", TOYS)
def test_evolution_comes_within_two_percent_of_the_best_of_all_programs(toy: str, mutations: Mutations) -> None:
    _, best, count = brute_force(toy)
    ratios = []
    for seed in SEEDS:
        program, asked = search_for(toy, seed, mutations)
        ratios.append(float(made_up_seconds(Population.of(program.sketch, [program]))[0] / best))
        assert asked < count / 10
    assert min(ratios) >= 1
    assert sum(ratio <= 1.02 for ratio in ratios) >= 9, ratios


@pytest.mark.parametrize("toy", TOYS)
def test_as_many_random_programs_do_not(toy: str) -> None:
    """The landscape is not so easy that anything would do."""
    sketches, best, _ = brute_force(toy)
    ratios = []
    for seed in SEEDS:
        search = Search(sketches, Oracle(), np.random.default_rng(seed), MACHINE, threads=2)
        drawn = search.sample(ROUNDS * OPTIONS.population * (OPTIONS.generations + 1))
        ratios.append(min(float(made_up_seconds(population).min()) for population in drawn) / best)
    assert sum(ratio <= 1.02 for ratio in ratios) <= 5, ratios


def test_spaces_that_cannot_be_listed_are_refused() -> None:
    sketch = derive(parse_workload("matmul:512,512,512"), machine=MACHINE)[0]
    with pytest.raises(ValueError, match="at most 4,000,000 programs"):
        Space(sketch).everything()
    toy = derive(parse_workload("matmul:2,2,2"), machine=MACHINE, structure="SRS")[0]
    listed = Space(toy).everything().programs()
    assert len(set(listed)) == len(listed) == np.prod(Space(toy).sizes)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS[:2], ids=lambda variant: variant.name)
@pytest.mark.parametrize("workload", [workload for workload, _ in MEASURED])
def test_the_tuners_loop_finds_the_best_of_what_was_really_measured(workload: str, variant: Variant) -> None:
    """Every program was timed once; the search, with a model that learns, may time a quarter of the kernels."""
    landscape = read_landscapes(FILE)[workload]
    reached = [trials_to_reach(search(landscape, variant, seed), landscape.best) for seed in SEEDS]
    assert sum(trials is not None for trials in reached) >= 9, reached


def test_a_landscape_comes_back_from_its_file(tmp_path: Path) -> None:
    landscape = read_landscapes(FILE)[MEASURED[-1][0]]
    write_landscapes(tmp_path / "copy.gz", [landscape])
    again = read_landscapes(tmp_path / "copy.gz")[landscape.workload]
    assert again.kernel == landscape.kernel and again.seconds == landscape.seconds
    assert [sketch.holes for sketch in again.sketches] == [sketch.holes for sketch in landscape.sketches]
    assert again.best == min(again.cost(program) for program in again.kernel)
