"""Each ablation proposes programs that can be measured, and lacks what its name says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ansor_mini.ablations import STRATEGIES, Search, Strategy, by_beam, by_evolution, strategy
from ansor_mini.annotation import ROOT
from ansor_mini.beam_search import beam_search
from ansor_mini.cost_model import RandomModel
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, TILE
from ansor_mini.population import Population
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS
from tests.strategies.programs import SMALL_MACHINE

DAG = WORKLOADS["ConvLayer"].dag(8, 8, 4, 32, 3, 1, 1)
MATMUL = derive(WORKLOADS["matmul"].dag(16, 16, 16))[:1]


class Sums:
    """Likes long tiles and wide vectors."""

    def predict_population(self, population: Population) -> np.ndarray:
        return 1.0 + sum(np.sum(population.numbers(hole.name), axis=0) for hole in population.sketch.holes)

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        return np.array([self.predict_population(Population.of(p.sketch, [p]))[0] for p in programs])

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Nothing to learn."""


class Tiles(Sums):
    """Scores by a function of the inner lengths of the axis i of a matmul."""

    def __init__(self, score) -> None:
        self.score = score

    def predict_population(self, population: Population) -> np.ndarray:
        return self.score(*population.numbers("C.i")).astype(float)


def _search(entry: Strategy, seed: int = 0, **others: object) -> Search:
    rng = np.random.default_rng(seed)
    sketches = tuple(entry.space(sketch) for sketch in derive(DAG, structure=entry.structure or "SSRSRS"))
    model = entry.model(Sums(), rng)
    return Search(sketches, model, rng, SMALL_MACHINE, **others)  # type: ignore[arg-type]


def test_names_are_unique_and_found() -> None:
    assert len({entry.name for entry in STRATEGIES}) == len(STRATEGIES)
    assert all(strategy(entry.name) is entry for entry in STRATEGIES)
    with pytest.raises(ValueError, match="full, no-fine-tuning"):
        strategy("everything")


@pytest.mark.parametrize("entry", STRATEGIES, ids=lambda entry: entry.name)
def test_proposals_are_feasible_different_and_new(entry: Strategy) -> None:
    search = _search(entry, threads=2)
    first = entry.propose(search, 10)
    assert len(first) == len(set(first)) == 10
    for program in first:
        program.schedule()
    again = entry.propose(replace(search, seen=set(first), elite=first[:3]), 10)
    assert again and not set(again) & set(first)


def test_the_limited_space_is_limited() -> None:
    entry = strategy("limited-space")
    for program in entry.propose(_search(entry), 20):
        for hole in program.sketch.holes:
            value = program.annotation[hole.name]
            assert hole.kind != LOCATION or value == ROOT
            if hole.kind == TILE:
                assert isinstance(value, tuple) and len(value) <= 1 and value[-1] <= 16


def test_only_one_strategy_ignores_the_model() -> None:
    random = {entry.name for entry in STRATEGIES if isinstance(_search(entry).model, RandomModel)}
    assert random == {"random-model"}


def test_the_elite_takes_part_in_evolution() -> None:
    search = _search(STRATEGIES[0])
    best = by_evolution(replace(search, options=EvolutionOptions(population=512)), 1)
    found = by_evolution(replace(search, options=EvolutionOptions(population=2, generations=1), elite=best), 1)
    assert search.model.predict(found)[0] >= search.model.predict(best)[0]


def test_beam_search_finds_what_a_model_of_incomplete_programs_leads_to() -> None:
    model = Tiles(lambda outer, middle, inner: outer * middle * inner)
    rng = np.random.default_rng(0)
    best = beam_search(MATMUL, model=model, rng=rng, feasible=Feasibility(), branches=10**6)
    longest = max(np.prod(lengths) for lengths in MATMUL[0].hole["C.i"].values)
    assert len(best) == 64 and model.predict(best)[0] == longest


def test_beam_search_prunes_what_only_pays_later() -> None:
    """A long tile of one axis pays off with one of the next axis, which comes later, and costs something alone."""

    class Together(Tiles):
        def predict_population(self, population: Population) -> np.ndarray:
            i, j = (population.numbers(name)[2] for name in ("C.i", "C.j"))
            return np.where((i == 16) & (j == 16), 1000.0, 100.0 - i)

    model = Together(None)
    rng = np.random.default_rng(0)
    narrow = beam_search(MATMUL, model=model, rng=rng, feasible=Feasibility(), width=4, branches=10**6)
    options = EvolutionOptions(population=2048, generations=4)
    evolved = by_evolution(Search(MATMUL, model, rng, SMALL_MACHINE, options=options), 1)
    assert model.predict(narrow).max() < 1000 == model.predict(evolved)[0]


def test_beam_search_of_nothing() -> None:
    search = replace(_search(STRATEGIES[0]), sketches=())
    assert by_beam(search, 5) == [] == search.random_programs(5)
