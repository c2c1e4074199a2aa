"""The full search and what is left of it without one of its parts, as named strategies.

Paper: Ansor §7.1, Fig. 7

A strategy says which space is searched, how programs are proposed, and with which cost model; a tuner asks it for the
next programs to measure. The paper's text names the parts that are missing; the numbers of the limited space are those
of its prototype. "No task scheduler" is a matter of several tasks: the scheduler's round-robin strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ansor_mini.annotation import ROOT, TilePolicy, register_tiles
from ansor_mini.beam_search import beam_search
from ansor_mini.cost_model import CostModel, RandomModel
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, TILE, HoleSpec
from ansor_mini.learned_model import LearnedModel
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_populations
from ansor_mini.population_evolution import evolve_populations
from ansor_mini.population_mutations import POPULATION_MUTATIONS, PopulationMutation
from ansor_mini.sketch import Program, Sketch
from runtime.gpu import Gpu
from runtime.machine import Machine

LIMITED_INNERMOST = 16
LIMITED_STRUCTURE = "SRS"


@dataclass(frozen=True)
class Search:
    """What a strategy may look at when it proposes programs.

    elite: the best measured programs, to breed from. seen: programs that need not be proposed again.
    """

    sketches: Sequence[Sketch]
    model: CostModel
    rng: np.random.Generator
    machine: Machine | Gpu
    threads: int = 1
    options: EvolutionOptions = field(default_factory=EvolutionOptions)
    tiles: TilePolicy = register_tiles
    mutations: Sequence[tuple[str, float, PopulationMutation]] = POPULATION_MUTATIONS
    elite: Sequence[Program] = ()
    seen: Collection[Program] = ()
    feasible: Feasibility = field(default_factory=Feasibility)

    def sample(self, count: int) -> list[Population]:
        """Random programs, one population for each sketch; some may be infeasible."""
        return sample_populations(self.sketches, count, self.rng, self.machine, threads=self.threads, tiles=self.tiles)

    def random_programs(self, count: int) -> list[Program]:
        """Up to `count` random programs, feasible, different and not seen."""
        seen = set(self.seen)
        populations = [
            population.take(self.feasible.of_population(population)) for population in self.sample(2 * count)
        ]
        programs = [program for population in populations for program in population.programs()]
        fresh = list(dict.fromkeys(program for program in programs if program not in seen))
        return [fresh[i] for i in self.rng.permutation(len(fresh))[:count]]


Propose = Callable[[Search, int], list[Program]]


def by_evolution(search: Search, count: int) -> list[Program]:
    """Evolve random programs and the best measured ones under the cost model; random ones while that knows nothing.

    Evolution under random scores would only undo what the sampling policy knows about good tiles.
    """
    if isinstance(search.model, LearnedModel) and search.model.trees is None:
        return search.random_programs(count)
    populations = [
        Population(fresh.sketch, np.concatenate([fresh.choices, elite.choices]))
        for fresh in search.sample(search.options.population)
        for elite in [Population.of(fresh.sketch, search.elite, skip=True)]
    ]
    return evolve_populations(
        populations,
        model=search.model,
        rng=search.rng,
        keep=count,
        options=search.options,
        threads=search.threads,
        mutations=search.mutations,
        seen=search.seen,
        feasible=search.feasible,
    )


def by_sampling(search: Search, count: int) -> list[Program]:
    """Random programs, in random order: neither evolution nor model."""
    return search.random_programs(count)


def by_beam(search: Search, count: int) -> list[Program]:
    """The best complete programs that a beam search over incomplete ones arrives at."""
    best = beam_search(search.sketches, model=search.model, rng=search.rng, feasible=search.feasible)
    seen = set(search.seen)
    return [program for program in best if program not in seen][:count]


def whole_space(sketch: Sketch) -> Sketch:
    """The sketch as it is."""
    return sketch


def limited_space(sketch: Sketch) -> Sketch:
    """The sketch with short innermost tiles, and every stage computed on its own unless the sketch says otherwise."""
    return replace(sketch, holes=tuple(_limited(hole) for hole in sketch.holes))


def _limited(hole: HoleSpec) -> HoleSpec:
    if hole.kind == TILE:
        return replace(hole, innermost=min(hole.innermost, LIMITED_INNERMOST))
    return replace(hole, choices=(ROOT,)) if hole.kind == LOCATION else hole


def given_model(model: CostModel, rng: np.random.Generator) -> CostModel:
    """The tuner's model."""
    return model


def random_model(model: CostModel, rng: np.random.Generator) -> CostModel:
    """A model that knows nothing instead of the tuner's."""
    return RandomModel(rng)


def trees_alone(model: CostModel, rng: np.random.Generator) -> CostModel:
    """The paper's model instead of the tuner's: no estimate to begin with.  Paper: Ansor §5.2"""
    return LearnedModel(rng, labels="throughput")


@dataclass(frozen=True)
class Strategy:
    """A way to search: the space, how programs are proposed, and the model that ranks them.

    structure: of tiled loops; empty for the tuner's own. space: what is left of each sketch. model: the one to use,
    given the tuner's model and generator.
    """

    name: str
    summary: str
    propose: Propose = by_evolution
    structure: str = ""
    space: Callable[[Sketch], Sketch] = whole_space
    model: Callable[[CostModel, np.random.Generator], CostModel] = given_model


FULL = Strategy("full", "evolution over the whole space with the learned model")
STRATEGIES: tuple[Strategy, ...] = (
    FULL,
    Strategy("no-fine-tuning", "random sampling of the whole space only", propose=by_sampling),
    Strategy(
        "limited-space",
        f"{LIMITED_STRUCTURE} tiles of at most {LIMITED_INNERMOST}, no choice of locations",
        structure=LIMITED_STRUCTURE,
        space=limited_space,
    ),
    Strategy("beam-search", "incomplete programs pruned by the learned model", propose=by_beam),
    Strategy("random-model", "evolution with random scores", model=random_model),
    Strategy("trees-alone", "the learned model without an estimate to begin with", model=trees_alone),
)


def strategy(name: str) -> Strategy:
    """A strategy by name.

    >>> strategy("limited-space").structure
    'SRS'
    """
    for entry in STRATEGIES:
        if entry.name == name:
            return entry
    raise ValueError(f"strategy must be one of {', '.join(entry.name for entry in STRATEGIES)}; got {name!r}")
