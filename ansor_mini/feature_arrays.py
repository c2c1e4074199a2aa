"""The features of a whole population at once, as NumPy expressions over arrays of extents.

Paper: Ansor §5.2, App. B

`features` is the readable definition; this computes the same numbers.

1. Programs are grouped by structure (`feature_structures`): the same stages, loops and places.
2. One bound inference over arrays of tile lengths gives the extents of all programs of a group.
3. Each feature is an expression over lists of loops, outer to inner, of arrays [programs].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_access import access_features
from ansor_mini.feature_names import (
    ANNOTATIONS,
    COUNT,
    FIRST_ALLOCATION,
    FIRST_SAMPLE,
    FIRST_SLOT,
    LOOPS,
    NUMERIC,
    OPERATIONS,
    POSITION,
    POSITIONS,
    SAMPLES,
)
from ansor_mini.feature_nests import Annotated, ArrayNest, Mask, Touches, Widths, annotated_loops, touches
from ansor_mini.feature_regions import choose
from ansor_mini.feature_statements import Statement, statements
from ansor_mini.feature_structures import Structure, Structures, statement_stages
from ansor_mini.features import CACHE_LINE, float_operations
from ansor_mini.holes import PARALLEL, UNROLL, VECTORIZE
from ansor_mini.population import Population
from ansor_mini.regions import Extent
from ansor_mini.sketch import Sketch
from runtime import loop_nest
from runtime.machine import Machine

_RUNS = [(int(run[0]), int(run[-1]) + 1) for run in np.split(np.flatnonzero(NUMERIC),
         np.flatnonzero(np.diff(np.flatnonzero(NUMERIC)) > 1) + 1)]  # fmt: skip
_FIXED = (loop_nest.VECTORIZE, loop_nest.UNROLL, loop_nest.PARALLEL)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """The features of the programs of one sketch.

    stages: names of the statements, producers first. values: float32 [statements, 164, programs].
    present: bool [statements, programs]; an inlined stage has no statement, a program that is not feasible none at all.
    """

    stages: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray


def population_features(population: Population, machine: Machine | None = None) -> FeatureBatch:
    """The features of all programs.  machine: gives the length of a cache line (64 bytes without)."""
    return _scale(raw_population_features(population, machine))


def raw_population_features(population: Population, machine: Machine | None = None) -> FeatureBatch:
    """The features before numbers become log2(x + 1), float64."""
    line = CACHE_LINE if machine is None else machine.cache_line
    groups = structures(population.sketch).groups(population)
    names = next((statement_stages(population.sketch, s.state) for s, _ in groups if s is not None), ())
    values = np.zeros((len(names), COUNT, len(population)))
    present = np.zeros((len(names), len(population)), dtype=bool)
    for structure, rows in groups:
        if structure is None:
            continue
        everything = len(rows) == len(population)
        group = population if everything else population.take(rows)
        for name, nest_features in _group_features(structure, group, line).items():
            row = names.index(name)
            if everything:
                values[row], present[row] = nest_features, True
            else:
                values[row][:, rows], present[row, rows] = nest_features, True
    return FeatureBatch(names, values, present)


def _scale(batch: FeatureBatch) -> FeatureBatch:
    for first, last in _RUNS:
        run = batch.values[:, first:last]
        run += 1.0
        np.log2(run, out=run)
    return FeatureBatch(batch.stages, batch.values.astype(np.float32), batch.present)


@lru_cache(maxsize=256)
def _structures(key: tuple[str, ...], dag: str, sketch: _Same) -> Structures:
    return Structures(sketch.sketch)


class _Same:
    """A sketch that is equal to any other, so that a cache looks at the rest of its key."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


def structures(sketch: Sketch) -> Structures:
    """The structures of a sketch; equal sketches of equal computations share theirs."""
    return _structures(sketch.key, sketch.dag.key(), _Same(sketch))


def _group_features(structure: Structure, population: Population, line: int) -> dict[str, np.ndarray]:
    """The raw features of programs of one structure, float64 [164, programs], by stage."""
    state = structure.schedule(population)
    found = statements(state, infer(state))
    nests = {name: ArrayNest(statement) for name, statement in found.items()}
    touched = touches(list(nests.values()))
    kinds: dict[str, list[Annotated]] = {kind: [] for kind in _FIXED}
    limits = {}
    for name, statement in found.items():
        limits[name] = structure.width(population, name, UNROLL, statement.stage.unroll_limit)
        widths = Widths(
            structure.width(population, name, PARALLEL), structure.width(population, name, VECTORIZE), limits[name]
        )
        own = statement.loops[statement.outer :]
        for kind, loops in annotated_loops(state, name, own, widths).items():
            kinds[kind] += loops
    return {
        name: _statement_features(nest, touched, kinds, limits[name], len(population), line)
        for name, nest in nests.items()
    }


def _statement_features(
    nest: ArrayNest,
    touched: Touches,
    kinds: dict[str, list[Annotated]],
    limit: Extent,
    programs: int,
    line: int,
) -> np.ndarray:
    out = np.zeros((COUNT, programs))
    statement, total = nest.statement, nest.inside[0]
    _operations(nest, out)
    for name, kind in zip(ANNOTATIONS, _FIXED):
        _annotated(nest, kinds[kind], out[LOOPS[name] : LOOPS[name] + 3 + len(POSITIONS)])
    out[POSITION["blockIdx_x"] : FIRST_SLOT] = 1
    access_features(nest, touched, line, out[FIRST_SLOT:FIRST_SAMPLE])
    _curve(nest, out[FIRST_SAMPLE : FIRST_SAMPLE + SAMPLES])
    outer = 1
    for loop in statement.loops[: statement.outer]:
        outer = outer * loop.extent
    elements = 1
    for extent in statement.accesses[0].shape:
        elements = elements * extent
    rows = out[FIRST_ALLOCATION:]
    rows[0], rows[1], rows[2] = elements * statement.accesses[0].item, elements * outer, outer
    rows[3], rows[4], rows[6] = total / outer, total, limit
    for present in nest.present:
        rows[5] += present
    return out


def _operations(nest: ArrayNest, out: np.ndarray) -> None:
    statement = nest.statement
    for row, count in enumerate(statement.operations):
        if count:
            out[row] = count
    steps = np.zeros(out.shape[1])
    for axis, uses in statement.uses.items():
        steps += uses * np.maximum(_terms(nest, statement, axis) - 1, 0)
    out[OPERATIONS.index("int_addsub")] += steps
    out[OPERATIONS.index("int_mul")] += steps
    out[: len(OPERATIONS)] *= nest.inside[0]


def _terms(nest: ArrayNest, statement: Statement, axis: str) -> np.ndarray | int:
    """How many loops that run more than once an axis is made of."""
    count: np.ndarray | int = 0
    for key, coefficient in statement.axes[axis].terms.items():
        if key in nest.position:
            count = count + (nest.present[nest.position[key]] & (coefficient != 0)) * 1
    return count


def _annotated(nest: ArrayNest, loops: list[Annotated], out: np.ndarray) -> None:
    """Number, product, innermost length and place of the annotated loops around a statement."""
    place = np.zeros(out.shape[1], dtype=np.int8)
    out[1] = 1
    for group in loops:
        members = [(nest.position[k], m) for k, m in zip(group.keys, group.masks) if k in nest.position]
        if not members:
            continue
        extent, last_inside, first_inside = _reach(nest, members, group.from_outside)
        runs = extent > 1
        out[0] += runs
        out[1] *= extent
        out[2] = np.where(runs, extent, out[2])
        inner = last_inside == 1
        outer = first_inside == nest.inside[0]
        code = np.where(inner, 1, np.where(outer, 3, 2)) + (3 if nest.loops[members[-1][0]].reduce else 0)
        place = np.where(runs, np.where((place == 0) | (place == code), code, len(POSITIONS) - 1), place)
    out[1] *= out[0] > 0
    for number in range(len(POSITIONS)):
        np.equal(place, number, out=out[3 + number], casting="unsafe")


def _reach(nest: ArrayNest, members: list[tuple[int, Mask]], from_outside: bool) -> tuple[Extent, Extent, Extent]:
    """The extent of an annotated loop, the product of the extents inside it, and both together."""
    extent: Extent = 1
    for position, mask in members:
        extent = extent * choose(mask, nest.loops[position].extent, 1)
    if from_outside:
        whole = nest.inside[members[0][0]]
        return extent, whole / extent, whole
    inside = nest.inside[members[-1][0] + 1]
    return extent, inside, inside * extent


def _curve(nest: ArrayNest, out: np.ndarray) -> None:
    """Arithmetic intensity against the logarithm of the operations, at ten points."""
    one = float_operations(nest.statement)
    if not one:
        return
    x = [np.log2(one * inside + 1.0) for inside in reversed(nest.inside)]
    y = [one * inside / sum(level) for inside, level in zip(reversed(nest.inside), reversed(nest.bytes))]
    programs = out.shape[1]
    xs = np.array([np.broadcast_to(level, programs) for level in x])
    ys = np.array([np.broadcast_to(level, programs) for level in y])
    targets = xs[-1] * (np.arange(1, SAMPLES + 1)[:, None] / SAMPLES)
    index = np.zeros(targets.shape, dtype=np.int64)
    for level in xs:
        index += level < targets
    before = np.maximum(index - 1, 0)
    x0, x1 = np.take_along_axis(xs, before, 0), np.take_along_axis(xs, index, 0)
    y0, y1 = np.take_along_axis(ys, before, 0), np.take_along_axis(ys, index, 0)
    out[:] = np.where(x1 > x0, y0 + (y1 - y0) / np.where(x1 > x0, x1 - x0, 1.0) * (targets - x0), y1)
