"""Random tile sizes for GPUs, drawn so that blocks have a legal number of threads.

Paper: Ansor §4.3

The paper draws uniformly from the valid values; which tilings are valid depends on all axes of a stage together, since
their thread tiles make one block. So the axes of a stage are drawn again, all of them, until they fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.population import hole_table
from ansor_mini.population_space import Space
from ansor_mini.sketch import Sketch
from runtime.gpu import Gpu

TRIES = 200  # draws of a stage's tiles before the last is taken as it is
REDRAWS = 6  # rounds in which programs that break a limit are drawn again
VTHREAD_PART, THREAD_PART = 0, 1  # of a tiling's inner lengths: i.1 and i.2
REGISTER_TILES = range(4, 161)  # elements that a thread accumulates: fewer reload their operands too often, more spill


def draw_thread_tiles(space: Space, choices: np.ndarray, rng: np.random.Generator, gpu: Gpu) -> None:
    """Draw every tile, into `choices`: uniform over those whose threads, virtual threads and registers are legal.

    Seven programs in eight also have an accumulator tile out of `REGISTER_TILES`, where the shape allows it.
    """
    for column, hole in enumerate(space.sketch.holes):
        if hole.kind == TILE:
            choices[:, column] = rng.integers(space.sizes[column], size=len(choices))
    good = rng.random(len(choices)) >= 0.125
    for spatial, _ in space.sketch.tiled.values():
        if any(hole.parts < THREAD_PART + 3 for hole in spatial):
            continue
        columns = [space.column[hole.name] for hole in spatial]
        waiting = np.arange(len(choices))
        for _ in range(TRIES):
            keep = _fits(spatial, choices[waiting][:, columns], gpu, good[waiting])
            waiting = waiting[~keep]
            if not len(waiting):
                break
            for column in columns:
                choices[waiting, column] = rng.integers(space.sizes[column], size=len(waiting))


def draw_feasible_tiles(space: Space, choices: np.ndarray, rng: np.random.Generator, gpu: Gpu) -> None:
    """Draw every tile, into `choices`, as `draw_thread_tiles` does, and again where a limit of the GPU is broken.

    What is still infeasible after `REDRAWS` rounds stays, to be rejected with its reason.
    """
    draw_thread_tiles(space, choices, rng, gpu)
    feasible = Feasibility()
    waiting = np.arange(len(choices))
    for _ in range(REDRAWS):
        waiting = waiting[~feasible.of_population(space.population(choices[waiting]))]
        if not len(waiting):
            break
        again = choices[waiting]
        draw_thread_tiles(space, again, rng, gpu)
        choices[waiting] = again


def _fits(spatial: Sequence[HoleSpec], choices: np.ndarray, gpu: Gpu, good: np.ndarray) -> np.ndarray:
    """Which tilings of a stage's spatial axes a block can have: bool [programs]."""
    numbers = [hole_table(hole).numbers[:, choices[:, axis]] for axis, hole in enumerate(spatial)]
    threads = np.prod([lengths[THREAD_PART] for lengths in numbers], axis=0)
    vthreads = np.prod([lengths[VTHREAD_PART] for lengths in numbers], axis=0)
    tile = vthreads * np.prod([lengths[THREAD_PART + 1 :].prod(axis=0) for lengths in numbers], axis=0)
    points = math.prod(hole.extent for hole in spatial)
    fits = (threads <= gpu.threads_per_block) & (vthreads <= gpu.max_vthread) & (tile < gpu.registers_per_thread)
    if points > 2 * gpu.warp:
        fits &= threads >= gpu.warp
    if points >= gpu.warp * REGISTER_TILES.start * 4:
        fits &= ~good | ((tile >= REGISTER_TILES.start) & (tile < REGISTER_TILES.stop))
    return fits


def thread_tiles(sketch: Sketch, rng: np.random.Generator, gpu: Gpu) -> dict[str, tuple[int, ...]]:
    """The tiles of one program, drawn as `draw_feasible_tiles` does."""
    space = Space(sketch)
    choices = np.zeros((1, len(sketch.holes)), dtype=np.int32)
    draw_feasible_tiles(space, choices, rng, gpu)
    tiles = {}
    for column, hole in enumerate(sketch.holes):
        if hole.kind == TILE:
            value = hole_table(hole).values[choices[0, column]]
            assert isinstance(value, tuple)
            tiles[hole.name] = value
    return tiles
