"""Evolutionary fine-tuning: mutate and cross programs, keep what the cost model likes.

Paper: Ansor §5.1

A generation is drawn from the one before: parents in proportion to their score, each child a mutation of one parent or
a crossover of two. Children that cannot be replayed are dropped; the reason is counted. The best programs ever seen
come out, those already measured excepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.annotation import complete, draw
from ansor_mini.cost_model import CostModel
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, PARALLEL, TILE, UNROLL, VECTORIZE
from ansor_mini.sketch import Program

Mutation = Callable[[Program, np.random.Generator, int], "Program | None"]


@dataclass(frozen=True)
class EvolutionOptions:
    """Sizes and rates of the search; the paper's code uses a population of 2048 and 4 generations.

    mutation_rate: share of children that are mutated, crossover_rate: share that have two parents; the rest are copies.
    pressure: a program is a parent with probability proportional to its score to this power. 1 is the published code's;
    4 comes closer to the best in as many generations where the best is known (tests/ansor_mini/test_brute_force.py).
    """

    population: int = 2048
    generations: int = 4
    mutation_rate: float = 0.85
    crossover_rate: float = 0.1
    epsilon: float = 0.05
    pressure: float = 4.0


def mutate_tile_size(program: Program, rng: np.random.Generator, threads: int) -> Program | None:
    """Move one divisor of a random axis from one tile level to another; None when no axis can change."""
    holes = [hole for hole in program.sketch.holes if hole.kind == TILE and hole.extent > 1]
    if not holes:
        return None
    annotation = program.annotation
    hole = holes[int(rng.integers(len(holes)))]
    lengths = annotation[hole.name]
    assert isinstance(lengths, tuple)
    neighbours = hole.neighbours(lengths)
    if not neighbours:
        return None
    annotation[hole.name] = draw(neighbours, rng)
    return program.sketch.program(annotation)


def _mutate_choice(kind: str, program: Program, rng: np.random.Generator) -> Program | None:
    holes = [hole for hole in program.sketch.holes if hole.kind == kind and len(hole.choices) > 1]
    if not holes:
        return None
    annotation = program.annotation
    hole = holes[int(rng.integers(len(holes)))]
    annotation[hole.name] = draw([choice for choice in hole.choices if choice != annotation[hole.name]], rng)
    return program.sketch.program(annotation)


def mutate_unroll(program: Program, rng: np.random.Generator, threads: int) -> Program | None:
    """Change how much one stage unrolls; None when no stage has the choice."""
    return _mutate_choice(UNROLL, program, rng)


def mutate_parallel(program: Program, rng: np.random.Generator, threads: int) -> Program | None:
    """Fuse more or fewer outer loops into a parallel one; None when there is one thread or no choice."""
    return _mutate_choice(PARALLEL, program, rng) if threads > 1 else None


def mutate_location(program: Program, rng: np.random.Generator, threads: int) -> Program | None:
    """Compute a stage somewhere else, and draw its own loops' annotations again; None when no stage has the choice."""
    moved = _mutate_choice(LOCATION, program, rng)
    if moved is None:
        return None
    before, after = program.annotation, moved.annotation
    changed = {
        hole.node for hole in moved.sketch.holes if hole.kind == LOCATION and before[hole.name] != after[hole.name]
    }
    return redraw_loops(moved, changed, rng, threads)


def redraw_loops(program: Program, nodes: Collection[str], rng: np.random.Generator, threads: int) -> Program:
    """The program with the parallel and vector loops of some stages drawn again, to go with their locations."""
    redrawn = (PARALLEL, VECTORIZE)
    dropped = {hole.name for hole in program.sketch.holes if hole.node in nodes and hole.kind in redrawn}
    kept = {name: value for name, value in program.annotation.items() if name not in dropped}
    return program.sketch.program(complete(program.sketch, kept, rng, threads=threads))


# Name, weight and function; an extension is one more row.
MUTATIONS: tuple[tuple[str, float, Mutation], ...] = (
    ("tile-size", 0.90, mutate_tile_size),
    ("unroll", 0.04, mutate_unroll),
    ("location", 0.05, mutate_location),
    ("parallel", 0.01, mutate_parallel),
)


def mutate(
    program: Program,
    rng: np.random.Generator,
    threads: int = 1,
    mutations: Sequence[tuple[str, float, Mutation]] = MUTATIONS,
    rejections: Counter[str] | None = None,
) -> Program | None:
    """Apply one mutation drawn by weight, another when it does not apply; None, counted, when none of them does."""
    weights = np.cumsum([weight for _, weight, _ in mutations])
    first = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
    for _, _, function in (mutations[first], *mutations[:first], *mutations[first + 1 :]):
        child = function(program, rng, threads)
        if child is not None:
            return child
    if rejections is not None:
        rejections["no mutation applies"] += 1
    return None


def crossover(
    first: Program, second: Program, rng: np.random.Generator, feasible: Feasibility | None = None
) -> Program:
    """Take each node's holes from one of two parents, drawn per node.

    Falls back to the first parent, counted, when the parents' sketches differ or the child cannot be replayed.
    Paper: Ansor §5.1
    """
    feasible = feasible or Feasibility()
    if first.identity != second.identity:
        feasible.rejections["crossover: parents of different sketches"] += 1
        return first
    mine, other = first.annotation, second.annotation
    nodes = dict.fromkeys(hole.node for hole in first.sketch.holes)
    from_second = {node for node in nodes if rng.random() < 0.5}
    child = first.sketch.program(
        {hole.name: (other if hole.node in from_second else mine)[hole.name] for hole in first.sketch.holes}
    )
    if not feasible(child):
        feasible.rejections["crossover: child is infeasible"] += 1
        return first
    return child


def evolve(
    seeds: Sequence[Program],
    *,
    model: CostModel,
    rng: np.random.Generator,
    keep: int,
    options: EvolutionOptions | None = None,
    threads: int = 1,
    seen: frozenset[Program] | set[Program] = frozenset(),
    mutations: Sequence[tuple[str, float, Mutation]] = MUTATIONS,
    feasible: Feasibility | None = None,
) -> list[Program]:
    """Evolve from `seeds` and return the `keep` best programs met that are not in `seen`, best first.

    Cost: (generations + 1) x population predictions.
    """
    options = options or EvolutionOptions()
    feasible = feasible or Feasibility()
    best: dict[Program, float] = {}
    generation = [program for program in seeds if feasible(program)]
    for round_ in range(options.generations + 1):
        if not generation:
            break
        scores = model.predict(generation)
        best.update((program, float(score)) for program, score in zip(generation, scores) if program not in seen)
        if round_ < options.generations:
            generation = _next_generation(generation, scores, rng, options, threads, mutations, feasible)
    return sorted(best, key=lambda program: -best[program])[:keep]


def _next_generation(
    parents: Sequence[Program],
    scores: np.ndarray,
    rng: np.random.Generator,
    options: EvolutionOptions,
    threads: int,
    mutations: Sequence[tuple[str, float, Mutation]],
    feasible: Feasibility,
) -> list[Program]:
    """Draw children until the population is full, or four times its size has been tried."""
    chances = np.cumsum(selection_weights(scores, options.pressure))
    children: list[Program] = []
    tries = 4 * options.population
    # All parents and kinds of child are drawn at once: two NumPy calls instead of thousands.
    drawn = np.searchsorted(chances, rng.random((tries, 2)) * chances[-1], side="right").clip(max=len(parents) - 1)
    kinds = rng.random(tries)
    for (first, second), kind in zip(drawn, kinds):
        child: Program | None = parents[first]
        if kind < options.mutation_rate:
            child = mutate(parents[first], rng, threads, mutations, feasible.rejections)
        elif kind < options.mutation_rate + options.crossover_rate:
            child = crossover(parents[first], parents[second], rng, feasible)
        if child is not None and feasible(child):
            children.append(child)
            if len(children) == options.population:
                break
    return children


def selection_weights(scores: np.ndarray, pressure: float = 1.0) -> np.ndarray:
    """How likely each program is to be a parent: its score to a power if that is positive; all alike when none is.

    >>> selection_weights(np.array([1.0, 2.0, -1.0, np.nan, np.inf]), 2.0).tolist()
    [0.25, 1.0, 0.0, 0.0, 0.0]
    >>> selection_weights(np.zeros(2)).tolist()
    [1.0, 1.0]
    """
    scores = np.where(np.isfinite(scores) & (scores > 0), scores, 0.0)
    # Relative to the best, so that a high power of a large score is still a number.
    return (scores / scores.max()) ** pressure if scores.any() else np.ones(len(scores))


def spread(ranked: Sequence[Program], each: int) -> list[Program]:
    """Reorder a ranking so that programs with one register tile come `each` at a time, the best of every tile first.

    A model that sees little of a program ties many that differ in their outer loops only; measuring one tile sixteen
    times tells less than measuring eight tiles twice.
    """
    met: Counter[tuple[object, ...]] = Counter()
    turns = []
    for program in ranked:
        tiles = program.sketch.tiled.values()
        values = dict(program.frozen)
        tile = (program.identity, *(values[hole.name][-1:] for spatial, _ in tiles for hole in spatial))  # type: ignore[index]
        turns.append(met[tile] // each)
        met[tile] += 1
    return [ranked[i] for i in sorted(range(len(ranked)), key=turns.__getitem__)]


def pick(ranked: Sequence[Program], others: Sequence[Program], count: int, epsilon: float) -> list[Program]:
    """Choose what to measure: the first of `ranked`, and a share `epsilon` of `others`; each backs up the other.

    Paper: Ansor §5.1 (ε-greedy)

    >>> pick("abcdef", "xyz", 4, 0.25)
    ['a', 'b', 'c', 'x']
    >>> pick("a", "xyz", 3, 0.0)
    ['a', 'x', 'y']
    """
    random = round(count * epsilon)
    ordered = [*ranked[: count - random], *others[:random], *ranked[count - random :], *others[random:]]
    return list(dict.fromkeys(ordered))[:count]
