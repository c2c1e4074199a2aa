"""Random annotation of thousands of programs at once: what `annotation` does for one.

Paper: Ansor §4.2

The same draws as `sample`, `uniform_tiles`, `register_tiles` and `complete`, over arrays; a test holds the supports of
both equal. A tile policy without a batched twin here is called once for each program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ansor_mini import annotation as plain
from ansor_mini.annotation import CHUNKS_PER_THREAD, INLINE, PLANS, ROOT, TilePolicy, gathering_depths
from ansor_mini.gpu_rules.sampling import draw_feasible_tiles
from ansor_mini.holes import LOCATION, PARALLEL, TILE, UNROLL, VECTORIZE, HoleSpec, LoopExtent, Value, factorizations
from ansor_mini.population import Population, hole_table
from ansor_mini.population_space import Space
from ansor_mini.sketch import Sketch
from runtime.gpu import Gpu
from runtime.machine import Machine

PopulationTiles = Callable[[Space, np.ndarray, np.random.Generator, Machine], None]


def draw_uniform_tiles(space: Space, choices: np.ndarray, rng: np.random.Generator, machine: Machine) -> None:
    """Draw each axis's tiling uniformly, into `choices`."""
    for column, hole in enumerate(space.sketch.holes):
        if hole.kind == TILE:
            choices[:, column] = rng.integers(space.sizes[column], size=len(choices))


def draw_register_tiles(space: Space, choices: np.ndarray, rng: np.random.Generator, machine: Machine) -> None:
    """Draw innermost lengths that make a good register tile, then the outer ones; one program in eight uniformly."""
    draw_uniform_tiles(space, choices, rng, machine)
    rows = np.flatnonzero(rng.random(len(choices)) >= 0.125)
    for spatial, _ in space.sketch.tiled.values():
        extents = tuple((hole.extent, *hole.rounded) for hole in spatial)
        longest = tuple(hole.innermost for hole in spatial)
        inner = np.array(plain._inner_tiles(extents, longest, machine.lanes), dtype=np.int64)
        lengths = inner[rng.integers(len(inner), size=len(rows))]
        for axis, hole in enumerate(spatial):
            first, values = _tilings_by_length(hole)
            start = first[lengths[:, axis]]
            count = first[lengths[:, axis] + 1] - start
            chosen = start + (rng.random(len(rows)) * count).astype(np.int64)
            choices[rows, space.column[hole.name]] = values[chosen]


@lru_cache(maxsize=4096)
def _tilings_by_length(hole: HoleSpec) -> tuple[np.ndarray, np.ndarray]:
    """The values with each innermost length: those of length n are `values[first[n] : first[n + 1]]`."""
    extents, index = (hole.extent, *hole.rounded), hole_table(hole).index
    first, values = [0], []
    for length in range(max(extents) + 1):
        whole = next((extent for extent in extents if length and extent % length == 0), 0)
        outer = factorizations(whole // length, hole.parts - 1, whole) if whole else ()
        values += [index[(*rest, length)] for rest in outer if (*rest, length) in index]
        first.append(len(values))
    return np.array(first, dtype=np.int64), np.array(values, dtype=np.int32)


# The twin of each tile policy.
BATCHED: dict[TilePolicy, PopulationTiles] = {
    plain.uniform_tiles: draw_uniform_tiles,
    plain.register_tiles: draw_register_tiles,
}


def sample_population(
    sketch: Sketch,
    count: int,
    rng: np.random.Generator,
    machine: Machine | Gpu,
    *,
    threads: int = 1,
    tiles: TilePolicy = plain.register_tiles,
) -> Population:
    """Draw `count` programs of a sketch; some may turn out infeasible.

    tiles: how tile sizes are drawn; for a GPU it is `gpu_rules.sampling.draw_feasible_tiles`.
    """
    space = Space(sketch)
    choices = np.zeros((count, len(sketch.holes)), dtype=np.int32)
    if sketch.gpu is not None:
        draw_feasible_tiles(space, choices, rng, sketch.gpu)
    elif isinstance(machine, Gpu):
        raise TypeError(f"a sketch for CPUs needs a Machine to be sampled for, got the GPU {machine.name}")
    elif tiles in BATCHED:
        BATCHED[tiles](space, choices, rng, machine)
    else:
        for row in choices:
            for name, value in tiles(sketch, rng, machine).items():
                row[space.column[name]] = space.tables[space.column[name]].index[value]
    redraw = np.zeros(choices.shape, dtype=bool)
    redraw[:, [hole.kind != TILE for hole in sketch.holes]] = True
    complete_rows(space, choices, redraw, rng, threads=threads, lanes=machine.lanes)
    return Population(sketch, choices)


def sample_populations(
    sketches: Sequence[Sketch],
    count: int,
    rng: np.random.Generator,
    machine: Machine | Gpu,
    *,
    threads: int = 1,
    tiles: TilePolicy = plain.register_tiles,
) -> list[Population]:
    """Draw `count` programs, each of a random sketch: one population for each sketch."""
    if not sketches:
        return []
    shares = rng.multinomial(count, np.full(len(sketches), 1 / len(sketches))).tolist()
    return [
        sample_population(sketch, share, rng, machine, threads=threads, tiles=tiles)
        for sketch, share in zip(sketches, shares)
    ]


def complete_rows(
    space: Space,
    choices: np.ndarray,
    redraw: np.ndarray,
    rng: np.random.Generator,
    *,
    threads: int = 1,
    lanes: int = 16,
) -> None:
    """Draw the entries of `choices` that `redraw` (bool [programs, holes]) marks, as `annotation.complete` does."""
    rows_of = Population(space.sketch, choices)
    plans = rng.integers(len(PLANS), size=len(choices))
    depths = rng.integers(gathering_depths(space.sketch), size=len(choices))
    for kind in (LOCATION, PARALLEL, UNROLL, VECTORIZE):
        for column, hole in enumerate(space.sketch.holes):
            if hole.kind != kind or not redraw[:, column].any():
                continue
            rows = np.flatnonzero(redraw[:, column])
            part = rows_of.take(rows)
            if kind == LOCATION:
                choices[rows, column] = _planned_locations(hole, plans[rows], depths[rows], rng)
            elif kind == UNROLL:
                choices[rows, column] = rng.integers(space.sizes[column], size=len(rows))
            else:
                place = _location(space, part, hole.node)
                if kind == PARALLEL:
                    wanted = np.where(place == ROOT, parallel_widths(hole, part, threads), 0)
                    wanted = np.minimum(wanted, max(hole.choices))
                else:
                    wanted = np.where(place == INLINE, 0, vector_widths(hole, part, rng, lanes))
                choices[rows, column] = _positions(hole.choices)[wanted]
            rows_of = Population(space.sketch, choices)


def _planned_locations(hole: HoleSpec, plans: np.ndarray, depths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The positions of the locations that each program's plan draws; see `annotation.LocationPlan`."""
    gathered = np.minimum(ROOT + 1 + depths, max(hole.choices))
    inlined = np.full(len(plans), INLINE) if INLINE in hole.choices else gathered
    uniform = np.array(hole.choices)[rng.integers(len(hole.choices), size=len(plans))]
    independent = np.where(rng.random(len(plans)) < 0.5, ROOT, uniform)
    drawn = {"alone": np.full(len(plans), ROOT), "inlined": inlined, "gathered": gathered, "independent": independent}
    return _positions(hole.choices)[np.select([plans == i for i in range(len(PLANS))], [drawn[name] for name in PLANS])]


def _location(space: Space, population: Population, node: str) -> np.ndarray:
    """Each program's value of a node's location hole; root without one."""
    name = f"{node}.{LOCATION}"
    return population.numbers(name)[0] if name in space.column else np.full(len(population), ROOT)


@lru_cache(maxsize=1024)
def _positions(values: tuple[Value, ...]) -> np.ndarray:
    """Where each number stands among the values of a hole."""
    positions = np.zeros(max(int(value) for value in values) + 1, dtype=np.int32)  # type: ignore[arg-type]
    positions[list(values)] = range(len(values))
    return positions


def extents_of(loop: LoopExtent, population: Population) -> np.ndarray:
    """The extent of a loop in each program, int64 [programs]; see `LoopExtent.of`."""
    lengths = population.numbers(loop.hole) if loop.hole else ()
    outermost = np.full(len(population), loop.axis, dtype=np.int64)
    if lengths:
        outermost = -(-loop.axis // np.prod(lengths, axis=0))
    parts = (outermost, *lengths)[loop.first : loop.last]
    return np.prod(parts, axis=0, dtype=np.int64) if parts else np.ones(len(population), dtype=np.int64)


def parallel_widths(hole: HoleSpec, population: Population, threads: int) -> np.ndarray:
    """How many outer loops to fuse in each program; see `annotation.parallel_width`."""
    widths = np.zeros(len(population), dtype=np.int64)
    if threads == 1 or not hole.loops:
        return widths
    product = np.ones(len(population), dtype=np.int64)
    enough = np.zeros(len(population), dtype=bool)
    for width, loop in enumerate(hole.loops, start=1):
        product = product * extents_of(loop, population)
        fills = ~enough & (product >= CHUNKS_PER_THREAD * threads)
        widths[fills] = width
        enough |= fills
    return np.where(enough, widths, np.where(product > 1, len(hole.loops), 0))


def vector_widths(hole: HoleSpec, population: Population, rng: np.random.Generator, lanes: int) -> np.ndarray:
    """How many inner loops to fuse into a vector in each program; see `annotation.vector_width`."""
    if not hole.loops:
        return np.zeros(len(population), dtype=np.int64)
    extents = [extents_of(loop, population) for loop in hole.loops]
    drawn = np.where(extents[-1] % lanes == 0, 1, rng.integers(1, len(hole.loops) + 1, size=len(population)))
    return np.where(np.prod(extents, axis=0) == 1, 0, drawn)
