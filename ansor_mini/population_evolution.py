"""Evolutionary fine-tuning over arrays: `evolution.evolve` for thousands of programs at once.

Paper: Ansor §5.1

1. Score every program of the generation; keep the best ones ever met, each once.
2. Draw parents in proportion to their score, over all sketches together.
3. A child is a mutation of its parent, a crossover with a second one, or a copy; those that cannot be replayed are
   dropped, counted by reason, and replaced by more children.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from ansor_mini.cost_model import CostModel
from ansor_mini.evolution import EvolutionOptions, selection_weights
from ansor_mini.feasibility import Feasibility
from ansor_mini.population import Population
from ansor_mini.population_mutations import POPULATION_MUTATIONS, PopulationMutation, cross_rows, mutate_rows
from ansor_mini.population_space import Space
from ansor_mini.sketch import Program

SURPLUS = 1.15  # children made for each one needed: some are infeasible
TRIES = 4  # children tried for each one needed, at most


@dataclass
class _Best:
    """The best programs of one sketch met so far, each once, those in `seen` (sorted keys) excepted."""

    keep: int
    seen: np.ndarray
    choices: np.ndarray
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, population: Population, scores: np.ndarray) -> None:
        """Take in a generation."""
        keys = np.concatenate([population.keys(), self.keys])
        scores = np.concatenate([scores, self.scores])
        keys, first = np.unique(keys, return_index=True)
        new = ~np.isin(keys, self.seen)
        first, keys = first[new], keys[new]
        order = np.argsort(-scores[first], kind="stable")[: self.keep]
        self.keys, self.scores = keys[order], scores[first[order]]
        self.choices = np.concatenate([population.choices, self.choices])[first[order]]


@dataclass
class _Scored:
    """The scores of all programs of one sketch met so far: one in six of a generation was met before."""

    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __call__(self, model: CostModel, population: Population) -> np.ndarray:
        """The scores of a generation; the model is asked for each new program once."""
        keys, first, which = np.unique(population.keys(), return_index=True, return_inverse=True)
        new = ~np.isin(keys, self.keys, assume_unique=True)
        met = np.concatenate([self.keys, keys[new]])
        order = np.argsort(met)
        self.scores = np.concatenate([self.scores, scores_of(model, population.take(first[new]))])[order]
        self.keys = met[order]
        return self.scores[np.searchsorted(self.keys, keys)][which.ravel()]


def scores_of(model: CostModel, population: Population) -> np.ndarray:
    """The model's scores of a population; a model that scores programs one by one will do."""
    if not len(population):
        return np.zeros(0)
    batched = getattr(model, "predict_population", None)
    return np.asarray(batched(population) if batched else model.predict(population.programs()), dtype=np.float64)


def evolve_populations(
    populations: Sequence[Population],
    *,
    model: CostModel,
    rng: np.random.Generator,
    keep: int,
    options: EvolutionOptions | None = None,
    threads: int = 1,
    seen: Collection[Program] = (),
    mutations: Sequence[tuple[str, float, PopulationMutation]] = POPULATION_MUTATIONS,
    feasible: Feasibility | None = None,
) -> list[Program]:
    """Evolve from `populations` (one for each sketch); return the `keep` best programs met, best first.

    What is in `seen` does not come out again. Cost: up to (generations + 1) x population predictions; a program that
    comes up again is not scored again.
    """
    options = options or EvolutionOptions()
    feasible = Feasibility() if feasible is None else feasible
    breeding = Breeding(rng, options, threads, mutations, feasible)
    spaces = [Space(population.sketch) for population in populations]
    generation = [population.take(feasible.of_population(population)) for population in populations]
    best = [_Best(keep, _keys_of(seen, p), p.choices[:0]) for p in populations]
    scored = [_Scored() for _ in populations]
    for number in range(options.generations + 1):
        if not any(map(len, generation)):
            break
        scores = [score(model, population) for score, population in zip(scored, generation)]
        for kept, population, score in zip(best, generation, scores):
            kept.add(population, score)
        if number < options.generations:
            generation = next_generation(spaces, generation, scores, breeding)
    return _merged(populations, best, keep)


def _keys_of(programs: Collection[Program], population: Population) -> np.ndarray:
    """The keys of those programs that are of a population's sketch and have a row, sorted."""
    return np.sort(Population.of(population.sketch, programs, skip=True).keys())


def _merged(populations: Sequence[Population], best: Sequence[_Best], keep: int) -> list[Program]:
    """The best of all sketches, best first."""
    if not best:
        return []
    scores = np.concatenate([kept.scores for kept in best])
    sketch = np.repeat(np.arange(len(best)), [len(kept.keys) for kept in best])
    row = np.concatenate([np.arange(len(kept.keys)) for kept in best])
    rows = [Population(population.sketch, kept.choices) for population, kept in zip(populations, best)]
    return [rows[sketch[i]].program(row[i]) for i in np.argsort(-scores, kind="stable")[:keep]]


@dataclass(frozen=True)
class Breeding:
    """What children are made with: rates, mutations, the threads to schedule for, and the check of each child."""

    rng: np.random.Generator
    options: EvolutionOptions = field(default_factory=EvolutionOptions)
    threads: int = 1
    mutations: Sequence[tuple[str, float, PopulationMutation]] = POPULATION_MUTATIONS
    feasible: Feasibility = field(default_factory=Feasibility)

    def children(self, space: Space, choices: np.ndarray, first: np.ndarray, mate: np.ndarray) -> np.ndarray:
        """A child of each first parent (a row of `choices`), without those that cannot be replayed.

        mate: the second parent of each, should it be a crossover; -1 for none of this sketch.
        """
        options, rejections = self.options, self.feasible.rejections
        kind = self.rng.random(len(first))
        children = choices[first]
        mutated = np.flatnonzero(kind < options.mutation_rate)
        crossing = (kind >= options.mutation_rate) & (kind < options.mutation_rate + options.crossover_rate)
        crossed = np.flatnonzero(crossing)
        mated = crossed[mate[crossed] >= 0]
        if len(mated) < len(crossed):
            rejections["crossover: parents of different sketches"] += len(crossed) - len(mated)
        children[mated] = cross_rows(space, children[mated], choices[mate[mated]], self.rng, self.feasible)
        keep = np.ones(len(first), dtype=bool)
        children[mutated], keep[mutated] = mutate_rows(
            space, children[mutated], self.rng, self.threads, self.mutations, rejections
        )
        children = children[keep]
        return children[self.feasible.of_population(space.population(children))]


def next_generation(
    spaces: Sequence[Space], parents: Sequence[Population], scores: Sequence[np.ndarray], breeding: Breeding
) -> list[Population]:
    """Draw children until the population is full, or `TRIES` times its size has been tried."""
    rng, size = breeding.rng, breeding.options.population
    chances = np.cumsum(selection_weights(np.concatenate(scores), breeding.options.pressure))
    sketch_of = np.repeat(np.arange(len(parents)), [len(population) for population in parents])
    row_of = np.concatenate([np.arange(len(population)) for population in parents])
    children: list[list[np.ndarray]] = [[population.choices[:0]] for population in parents]
    missing, tries = size, TRIES * size
    while missing > 0 and tries > 0:
        count = min(tries, int(np.ceil(SURPLUS * missing)))
        tries -= count
        drawn = np.searchsorted(chances, rng.random((2, count)) * chances[-1], side="right").clip(max=len(chances) - 1)
        made: list[np.ndarray] = []
        for number, (space, population) in enumerate(zip(spaces, parents)):
            first, second = drawn[:, sketch_of[drawn[0]] == number]
            # A second parent of another sketch has nothing to give.
            mate = np.where(sketch_of[second] == number, row_of[second], -1)
            made.append(breeding.children(space, population.choices, row_of[first], mate))
        for kept, rows in zip(children, _share(made, missing, rng)):
            kept.append(rows)
            missing -= len(rows)
    return [space.population(np.concatenate(rows)) for space, rows in zip(spaces, children)]


def _share(made: Sequence[np.ndarray], wanted: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random `wanted` of the children of all sketches, or all when there are not more."""
    total = sum(map(len, made))
    if total <= wanted:
        return list(made)
    chosen = np.zeros(total, dtype=bool)
    chosen[rng.permutation(total)[:wanted]] = True
    return [rows[mask] for rows, mask in zip(made, np.split(chosen, np.cumsum([len(rows) for rows in made])[:-1]))]
