"""The four mutations and node-based crossover for thousands of programs at once.

Paper: Ansor §5.1

Each mutation gets rows and returns rows, with a mask of those that it changed. A child made here is a child that the
plain function of `evolution` may make, and conversely; tests on small sketches compare the two sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, PARALLEL, UNROLL, VECTORIZE
from ansor_mini.population_annotation import complete_rows
from ansor_mini.population_space import Space

# (space, choices int32 [programs, holes], rng, threads) -> the children's choices, and which of them changed.
PopulationMutation = Callable[[Space, np.ndarray, np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def mutate_tile_sizes(
    space: Space, choices: np.ndarray, rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move one divisor of a random axis from one tile level to another."""
    children, changed = choices.copy(), np.zeros(len(choices), dtype=bool)
    if not len(space.tiles):
        return children, changed
    begin, first, targets = space.moves
    rows = np.arange(len(choices))
    column = space.tiles[rng.integers(len(space.tiles), size=len(choices))]
    value = begin[column] + choices[rows, column]
    count = first[value + 1] - first[value]
    move = first[value] + (rng.random(len(choices)) * count).astype(np.int64)
    changed = count > 0
    children[rows[changed], column[changed]] = targets[move[changed]]
    return children, changed


def _mutate_choices(
    space: Space, choices: np.ndarray, rng: np.random.Generator, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give a random one of some columns another value: the children, which changed, and the column of each."""
    children = choices.copy()
    if not len(columns):
        return children, np.zeros(len(choices), dtype=bool), np.zeros(len(choices), dtype=np.int64)
    rows = np.arange(len(choices))
    column = columns[rng.integers(len(columns), size=len(choices))]
    size = space.sizes[column]
    other = 1 + (rng.random(len(choices)) * (size - 1)).astype(np.int64)
    children[rows, column] = (choices[rows, column] + other) % size
    return children, np.ones(len(choices), dtype=bool), column


def mutate_unrolls(
    space: Space, choices: np.ndarray, rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Change how much one stage unrolls."""
    return _mutate_choices(space, choices, rng, space.columns(UNROLL))[:2]


def mutate_parallels(
    space: Space, choices: np.ndarray, rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fuse more or fewer outer loops into a parallel one; nothing with one thread."""
    columns = space.columns(PARALLEL) if threads > 1 else np.zeros(0, dtype=np.int64)
    return _mutate_choices(space, choices, rng, columns)[:2]


def mutate_locations(
    space: Space, choices: np.ndarray, rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute a stage somewhere else, and draw its own loops' annotations again."""
    children, changed, column = _mutate_choices(space, choices, rng, space.columns(LOCATION))
    if changed.any():
        redrawn = np.array([hole.kind in (PARALLEL, VECTORIZE) for hole in space.sketch.holes])
        same_node = space.node_of[column][:, None] == space.node_of[None, :]
        complete_rows(space, children, same_node & redrawn, rng, threads=threads)
    return children, changed


# Name, weight and function; an extension is one more row. The weights are the published code's.
POPULATION_MUTATIONS: tuple[tuple[str, float, PopulationMutation], ...] = (
    ("tile-size", 0.90, mutate_tile_sizes),
    ("unroll", 0.04, mutate_unrolls),
    ("location", 0.05, mutate_locations),
    ("parallel", 0.01, mutate_parallels),
)

# Where locations and unrolling matter as much as tiles, these find the best sooner.
EVEN_MUTATIONS = tuple(
    (name, weight, function) for (name, _, function), weight in zip(POPULATION_MUTATIONS, (0.60, 0.15, 0.15, 0.10))
)


def mutate_rows(
    space: Space,
    choices: np.ndarray,
    rng: np.random.Generator,
    threads: int = 1,
    mutations: Sequence[tuple[str, float, PopulationMutation]] = POPULATION_MUTATIONS,
    rejections: Counter[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Apply to each row one mutation drawn by weight, another when it does not apply.

    Returns: the children, and which of them changed; the others, to which no mutation applies, are counted.
    """
    children, changed = choices.copy(), np.zeros(len(choices), dtype=bool)
    weights = np.cumsum([weight for _, weight, _ in mutations])
    drawn = np.searchsorted(weights, rng.random(len(choices)) * weights[-1], side="right")
    for second_choice in (False, True):
        for number, (_, _, function) in enumerate(mutations):
            rows = np.flatnonzero(~changed & ((drawn == number) != second_choice))
            if len(rows):
                children[rows], changed[rows] = function(space, choices[rows], rng, threads)
    if rejections is not None and not changed.all():
        rejections["no mutation applies"] += int((~changed).sum())
    return children, changed


def cross_rows(
    space: Space, first: np.ndarray, second: np.ndarray, rng: np.random.Generator, feasible: Feasibility
) -> np.ndarray:
    """Take each node's holes from one of two parents, drawn per node and row; the first parent if that does not replay.

    Paper: Ansor §5.1
    """
    from_second = rng.random((len(first), len(space.nodes))) < 0.5
    children = np.where(from_second[:, space.node_of], second, first)
    fits = feasible.of_population(space.population(children))
    if not fits.all():
        feasible.rejections["crossover: child is infeasible"] += int((~fits).sum())
    return np.where(fits[:, None], children, first)
