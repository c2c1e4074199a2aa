"""Beam search over incomplete programs: what the paper compares its fine-tuning with.

Paper: Ansor §7.1

Holes are filled one after the other, in the order of the sketch. After each, a cost model ranks the programs with the
holes still open left at "nothing done" (no tiling, computed on its own, serial), and all but the best `width` are
dropped. A model that learned from complete programs misjudges incomplete ones, which is the paper's point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ansor_mini.annotation import ROOT
from ansor_mini.cost_model import CostModel
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, TILE, HoleSpec, Value
from ansor_mini.population import Population, hole_table
from ansor_mini.population_evolution import scores_of
from ansor_mini.sketch import Program, Sketch

WIDTH = 64  # incomplete programs kept
BRANCHES = 16  # values tried for a hole of each of them, drawn at random when it has more


def nothing_done(hole: HoleSpec) -> int:
    """The position of the value that leaves a hole's loops alone."""
    nothing: Value = (1,) * (hole.parts - 1) if hole.kind == TILE else ROOT if hole.kind == LOCATION else 0
    return hole_table(hole).index.get(nothing, 0)


def beam_search(
    sketches: Sequence[Sketch],
    *,
    model: CostModel,
    rng: np.random.Generator,
    feasible: Feasibility,
    width: int = WIDTH,
    branches: int = BRANCHES,
) -> list[Program]:
    """Fill the holes of all sketches together; returns the `width` best complete programs, best first."""
    beams = [Population(sketch, np.array([[nothing_done(hole) for hole in sketch.holes]])) for sketch in sketches]
    for column in range(max((len(sketch.holes) for sketch in sketches), default=0)):
        beams = [_branched(beam, column, rng, feasible, branches) for beam in beams]
        ranking = _ranking(beams, model, rng)[:width]
        beams = [beam.take(np.sort(ranking[ranking[:, 0] == number, 1])) for number, beam in enumerate(beams)]
    return [beams[number].program(row) for number, row in _ranking(beams, model, rng)]


def _ranking(beams: Sequence[Population], model: CostModel, rng: np.random.Generator) -> np.ndarray:
    """Which beam and which row, best first, ties in random order: int64 [programs, 2]."""
    if not beams:
        return np.zeros((0, 2), dtype=np.int64)
    scores = np.concatenate([scores_of(model, beam) for beam in beams])
    numbers = np.repeat(np.arange(len(beams)), [len(beam) for beam in beams])
    rows = np.concatenate([np.arange(len(beam)) for beam in beams])
    return np.stack([numbers, rows], axis=1)[np.lexsort((rng.random(len(scores)), -scores))]


def _branched(
    beam: Population, column: int, rng: np.random.Generator, feasible: Feasibility, branches: int
) -> Population:
    """Each program of a beam with (some of) the values of one more hole; a sketch without this hole stays as it is."""
    if column >= len(beam.sketch.holes):
        return beam
    size = len(hole_table(beam.sketch.holes[column]).values)
    choices = np.repeat(beam.choices, min(size, branches), axis=0)
    drawn = rng.permuted(np.tile(np.arange(size), (len(beam), 1)), axis=1)[:, :branches]
    choices[:, column] = drawn.ravel()
    branched = Population(beam.sketch, choices)
    return branched.take(feasible.of_population(branched))
