"""Random annotation: give each hole of a sketch a value.

Paper: Ansor §4.2

Tile sizes, unroll limits and locations are drawn from their legal values; outer loops of root stages are fused until
there is work for all threads, and the innermost loops are vectorised. `uniform_tiles` is the paper's draw;
`register_tiles` (the default) draws the innermost lengths so that their accumulators fit the vector registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ansor_mini.holes import (
    HEIGHTS,
    LOCATION,
    PARALLEL,
    TILE,
    UNROLL,
    VECTORIZE,
    Annotation,
    HoleSpec,
    Value,
    divisors,
    factorizations,
)
from ansor_mini.sketch import Program, Sketch
from runtime.gpu import Gpu
from runtime.machine import Machine

TilePolicy = Callable[[Sketch, np.random.Generator, Machine], Annotation]

INLINE, ROOT = 0, 1
CHUNKS_PER_THREAD = 16
ACCUMULATORS = range(8, 29)  # vector registers that a tile may fill: fewer idle the FMA units, more spill


def draw(values: Sequence[Value], rng: np.random.Generator) -> Value:
    """One of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def uniform_tiles(sketch: Sketch, rng: np.random.Generator, machine: Machine) -> Annotation:
    """Draw each axis's factorisation uniformly.  Paper: Ansor §4.2"""
    return {hole.name: draw(hole.values, rng) for hole in sketch.holes if hole.kind == TILE}


def register_tiles(sketch: Sketch, rng: np.random.Generator, machine: Machine) -> Annotation:
    """Draw innermost lengths that make a good register tile, then the outer lengths uniformly.

    The tile's accumulators, its innermost lengths multiplied and divided by the vector's lanes, lie in `ACCUMULATORS`
    where the shape allows it. One program in eight is drawn uniformly, so that no legal tiling is out of reach.
    """
    tiles = uniform_tiles(sketch, rng, machine)
    if rng.random() < 0.125:
        return tiles
    for spatial, _ in sketch.tiled.values():
        extents = tuple((hole.extent, *hole.rounded) for hole in spatial)
        inner = _inner_tiles(extents, tuple(hole.innermost for hole in spatial), machine.lanes)
        chosen = inner[int(rng.integers(len(inner)))]
        for hole, length in zip(spatial, chosen):
            whole = next(extent for extent in (hole.extent, *hole.rounded) if extent % length == 0)
            outer = factorizations(whole // length, hole.parts - 1, whole)
            rest = draw(outer, rng)
            assert isinstance(rest, tuple)
            tiles[hole.name] = (*rest, length)
    return tiles


@lru_cache(maxsize=1024)
def _inner_tiles(
    extents: tuple[tuple[int, ...], ...], longest: tuple[int, ...], lanes: int
) -> tuple[tuple[int, ...], ...]:
    """Innermost lengths whose accumulators fit, with as many whole vectors along the last axis as it allows.

    extents: of each axis, itself and what it may be rounded to. longest: of each axis, the longest innermost length.
    Good tiles occur several times, to be drawn oftener.
    """
    lengths = [
        sorted({n for extent in axis for n in divisors(extent) if n <= min(limit, axis[0])})
        for axis, limit in zip(extents, longest)
    ]
    last = [n for extent in extents[-1] for n in divisors(extent) if n <= longest[-1]]
    width = next(width for width in (lanes, lanes // 2, lanes // 4, 1) if width and any(n % width == 0 for n in last))
    vectors = sorted({length // width for length in last if length % width == 0})
    tiles = [
        (*rows, columns * width)
        for columns in vectors
        for rows in _products(tuple(map(tuple, lengths[:-1])), max(1, (ACCUMULATORS.stop - 1) // columns))
    ]
    counts = [math.prod(tile) // width for tile in tiles]
    fitting = [tile for tile, count in zip(tiles, counts) if count in ACCUMULATORS]
    if not fitting:
        most = max((count for count in counts if count < ACCUMULATORS.stop), default=0)
        return tuple(tile for tile, count in zip(tiles, counts) if count == most) or tuple(tiles[:1])
    whole = tuple(axis[0] for axis in extents)
    return tuple(tile for tile in fitting for _ in range(_weight(tile, whole, width, lanes)))


def _products(axes: tuple[tuple[int, ...], ...], most: int) -> list[tuple[int, ...]]:
    """All choices of one number for each axis whose product is at most `most`; the smallest of each if there is none.

    >>> _products(((1, 2, 3), (1, 2)), 3)
    [(1, 1), (1, 2), (2, 1), (3, 1)]
    """
    found: list[tuple[int, ...]] = [()]
    for lengths in axes:
        found = [(*rest, n) for rest in found for n in lengths if math.prod(rest) * n <= most] or [
            (*found[0], lengths[0])
        ]
    return found


def _weight(tile: tuple[int, ...], whole: tuple[int, ...], width: int, lanes: int) -> int:
    """How often a tile is drawn: tall ones that leave registers for their operands, and those that divide the axes."""
    columns = tile[-1] // width
    rows = math.prod(tile[:-1])
    registers = 32 if lanes >= 16 else 16
    good = rows in HEIGHTS and rows * columns >= 10 and rows * columns + columns + 1 <= registers
    exact = all(extent % length == 0 for extent, length in zip(whole, tile))
    return 1 + 2 * good + 3 * (good and exact)


def parallel_width(hole: HoleSpec, annotation: Mapping[str, Value], threads: int) -> int:
    """How many outer loops to fuse: until they make enough chunks for the threads.  Paper: Ansor §4.2"""
    if threads == 1:
        return 0
    product = 1
    for width, loop in enumerate(hole.loops, start=1):
        product *= loop.of(annotation)
        if product >= CHUNKS_PER_THREAD * threads:
            return width
    return len(hole.loops) if product > 1 else 0


def is_root(sketch: Sketch, node: str, annotation: Mapping[str, Value]) -> bool:
    """Whether a stage is computed on its own (true for all stages without a location hole)."""
    return annotation.get(f"{node}.{LOCATION}", ROOT) == ROOT


def is_inlined(sketch: Sketch, node: str, annotation: Mapping[str, Value]) -> bool:
    """Whether a stage's location hole says that it is inlined."""
    return annotation.get(f"{node}.{LOCATION}", ROOT) == INLINE


def vector_width(hole: HoleSpec, annotation: Mapping[str, Value], rng: np.random.Generator, lanes: int) -> int:
    """How many inner loops to fuse into a vector: one if it fills whole vectors, none if they run once, else any."""
    extents = [loop.of(annotation) for loop in hole.loops]
    if math.prod(extents) == 1:
        return 0
    if extents[-1] % lanes == 0:
        return min(1, len(hole.loops))
    return int(rng.integers(1, len(hole.loops) + 1))


@dataclass(frozen=True)
class LocationPlan:
    """How the locations of one program's stages are drawn: most useful ones depend on each other.

    kind: one of `PLANS`. depth: the place, counted from the outermost, that stages are gathered at.
    """

    kind: str
    depth: int

    @classmethod
    def draw(cls, sketch: Sketch, rng: np.random.Generator) -> LocationPlan:
        """Draw a plan; the innermost place of all is left to the independent draws, for it is hardly ever good."""
        return cls(PLANS[int(rng.integers(len(PLANS)))], int(rng.integers(gathering_depths(sketch))))

    def location(self, hole: HoleSpec, rng: np.random.Generator) -> int:
        """The location of one stage."""
        if self.kind == "independent" and rng.random() < 0.5:
            return int(hole.choices[int(rng.integers(len(hole.choices)))])
        if self.kind in ("alone", "independent"):
            return ROOT
        if self.kind == "inlined" and INLINE in hole.choices:
            return INLINE
        return min(ROOT + 1 + self.depth, max(hole.choices))


PLANS = ("alone", "inlined", "gathered", "independent")


def gathering_depths(sketch: Sketch) -> int:
    """How many depths a plan may gather stages at: the loops around the last stage that has any, but the innermost."""
    places = (max(hole.choices) - ROOT for hole in sketch.holes if hole.kind == LOCATION)
    return max(1, next((count for count in places if count), 1) - 1)


def complete(
    sketch: Sketch, annotation: Annotation, rng: np.random.Generator, *, threads: int = 1, lanes: int = 16
) -> Annotation:
    """Draw the holes that are still open, in an order in which each knows what it depends on.

    An inlined stage gets no loops to annotate, a stage inside another one no parallel loop.
    """
    result = dict(annotation)
    plan = LocationPlan.draw(sketch, rng)
    for kind in (LOCATION, PARALLEL, UNROLL, VECTORIZE):
        for hole in sketch.holes:
            if hole.kind != kind or hole.name in result:
                continue
            if kind == PARALLEL:
                wanted = parallel_width(hole, result, threads) if is_root(sketch, hole.node, result) else 0
                result[hole.name] = min(wanted, max(hole.choices))
            elif kind == VECTORIZE:
                inlined = is_inlined(sketch, hole.node, result)
                result[hole.name] = 0 if inlined else vector_width(hole, result, rng, lanes)
            elif kind == LOCATION:
                result[hole.name] = plan.location(hole, rng)
            else:
                result[hole.name] = draw(hole.choices, rng)
    return result


def sample(
    sketch: Sketch,
    rng: np.random.Generator,
    machine: Machine | Gpu,
    *,
    threads: int = 1,
    tiles: TilePolicy = register_tiles,
) -> Program:
    """Draw one program of a sketch; it may still turn out infeasible when it is replayed.  Paper: Ansor §4.2

    tiles: how tile sizes are drawn; for a GPU it is `gpu_rules.sampling.thread_tiles`.
    """
    if sketch.gpu is not None:
        from ansor_mini.gpu_rules.sampling import thread_tiles

        return sketch.program(complete(sketch, dict(thread_tiles(sketch, rng, sketch.gpu)), rng))
    if isinstance(machine, Gpu):
        raise TypeError(f"a sketch for CPUs needs a Machine to be sampled for, got the GPU {machine.name}")
    return sketch.program(complete(sketch, tiles(sketch, rng, machine), rng, threads=threads, lanes=machine.lanes))
