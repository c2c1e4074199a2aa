"""The features of a whole population at once, as NumPy expressions over arrays.

Paper: Ansor §5.2, App. B

`features` is the readable definition; this computes the same numbers.

1. Programs are grouped by structure (`feature_structures`): the same stages and loops.
2. For each structure, bound inference runs once over symbols instead of numbers, and the features are written down as
   expressions over them (here, `feature_nests`, `feature_access`).
3. The tape of these expressions (`feature_tape`) is run on the arrays of hole values of all programs of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_access import access_features
from ansor_mini.feature_names import (
    ACCESS,
    ANNOTATIONS,
    COUNT,
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
from ansor_mini.feature_statements import statements
from ansor_mini.feature_structures import Structure, Structures, statement_stages
from ansor_mini.feature_tape import Tape, TapeProgram, where
from ansor_mini.features import CACHE_LINE, float_operations
from ansor_mini.holes import PARALLEL, UNROLL, VECTORIZE
from ansor_mini.population import Population, hole_table
from ansor_mini.regions import Extent
from ansor_mini.sketch import Sketch
from runtime import loop_nest
from runtime.machine import Machine

_NUMBERS = np.flatnonzero(NUMERIC)
_RUNS = [(int(run[0]), int(run[-1]) + 1) for run in np.split(_NUMBERS, np.flatnonzero(np.diff(_NUMBERS) > 1) + 1)]
_KINDS = (loop_nest.VECTORIZE, loop_nest.UNROLL, loop_nest.PARALLEL)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """The features of the programs of one sketch.

    stages: names of the statements, producers first. values: float32 [statements, 164, programs].
    present: bool [statements, programs]; an inlined stage has no statement, and a program that cannot be replayed may
    have none at all (otherwise it has meaningless ones).
    """

    stages: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray


def population_features(population: Population, machine: Machine | None = None) -> FeatureBatch:
    """The features of all programs.  machine: gives the length of a cache line (64 bytes without)."""
    batch = raw_population_features(population, machine, np.float32)
    for first, last in _RUNS:
        run = batch.values[:, first:last]
        run += 1
        np.log2(run, out=run)
    return batch


def raw_population_features(
    population: Population, machine: Machine | None = None, dtype: type[np.floating[Any]] = np.float64
) -> FeatureBatch:
    """The features before numbers become log2(x + 1)."""
    line = CACHE_LINE if machine is None else machine.cache_line
    compiled = compiled_sketch(population.sketch, line)
    groups = compiled.structures.groups(population) if len(population) else []
    names = next((statement_stages(population.sketch, s.state) for s, _ in groups if s is not None), ())
    values = np.zeros((len(names), COUNT, len(population)), dtype=dtype)
    present = np.zeros((len(names), len(population)), dtype=bool)
    for structure, rows in groups:
        if structure is None:
            continue
        everything = len(rows) == len(population)
        group = population if everything else population.take(rows)
        features = compiled.of(structure)
        found = np.zeros((len(features.stages), COUNT, len(rows)), dtype=dtype)
        features.write(group, found)
        for name, block in zip(features.stages, found):
            row = names.index(name)
            present[row, rows] = True
            if everything:
                values[row] = block
            else:
                values[row][:, rows] = block
    return FeatureBatch(names, values, present)


class CompiledSketch:
    """The structures of a sketch, and the features of those that have been met."""

    def __init__(self, sketch: Sketch, line: int) -> None:
        self.structures = Structures(sketch)
        self.line = line
        self._features: dict[Structure, StructureFeatures] = {}

    def of(self, structure: Structure) -> StructureFeatures:
        """The features of a structure, written down when first asked for."""
        if structure not in self._features:
            self._features[structure] = StructureFeatures(structure, self.structures.sketch, self.line)
        return self._features[structure]


class _Same:
    """A sketch that is equal to any other, so that a cache looks at the rest of its key."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=256)
def _compiled(key: tuple[str, ...], dag: str, same: _Same, line: int) -> CompiledSketch:
    return CompiledSketch(same.sketch, line)


def compiled_sketch(sketch: Sketch, line: int) -> CompiledSketch:
    """The features of a sketch's structures; equal sketches of equal computations share them."""
    return _compiled(sketch.key, _dag_key(sketch), _Same(sketch), line)


_DAG_KEYS: dict[int, tuple[object, str]] = {}


def _dag_key(sketch: Sketch) -> str:
    """The key of the computation, which takes longer to find than features do."""
    known = _DAG_KEYS.get(id(sketch.dag))
    if known is None or known[0] is not sketch.dag:
        known = _DAG_KEYS[id(sketch.dag)] = (sketch.dag, sketch.dag.key())
    return known[1]


class StructureFeatures:
    """The features of all programs of one structure, as a program over the numbers of their holes."""

    def __init__(self, structure: Structure, sketch: Sketch, line: int) -> None:
        self.sketch = sketch
        self.tape = Tape()
        self._known: dict[str, tuple[Extent, ...]] = {}
        rows = self._statements(structure, line)
        self.stages = tuple(rows)
        self.constants: list[tuple[int, int, float]] = []
        self.columns: list[tuple[int, int]] = []
        results: list[Any] = []
        self.curves: list[tuple[int, int]] = []
        for row, (features, _) in enumerate(rows.values()):
            for column, value in enumerate(features):
                if isinstance(value, (int, float)):
                    self.constants.append((row, column, float(value)))
                else:
                    self.columns.append((row, column))
                    results.append(value)
        for row, (_, curve) in enumerate(rows.values()):
            self.curves.append((row, len(curve[0]) if curve else 0))
            results += [*curve[0], *curve[1]] if curve else []
        self.program: TapeProgram = self.tape.compile(results)

    def numbers(self, hole: str) -> tuple[Extent, ...]:
        """The numbers of a hole: inputs of the tape, or integers where it has only one value."""
        if hole not in self._known:
            table = hole_table(self.sketch.hole[hole])
            low, high = table.numbers.min(axis=1).tolist(), table.numbers.max(axis=1).tolist()
            self._known[hole] = tuple(
                a if a == b else self.tape.input(f"{hole}#{part}", a, b) for part, (a, b) in enumerate(zip(low, high))
            )
        return self._known[hole]

    def _statements(self, structure: Structure, line: int) -> Mapping[str, tuple[list[Any], list[list[Any]]]]:
        state = structure.schedule(self.numbers)
        choices = structure.choices(self.numbers, _located(self.sketch, structure))
        found = statements(state, infer(state, choices), choices)
        nests = {name: ArrayNest(statement) for name, statement in found.items()}
        touched = touches(list(nests.values()))
        kinds: dict[str, list[Annotated]] = {kind: [] for kind in _KINDS}
        limits = {}
        for name, statement in found.items():
            limits[name] = structure.width(self.numbers, name, UNROLL, statement.stage.unroll_limit)
            parallel, vector = (structure.width(self.numbers, name, kind) for kind in (PARALLEL, VECTORIZE))
            own = statement.loops[statement.outer :]
            widths = Widths(parallel, vector, limits[name])
            for kind, loops in annotated_loops(state, name, own, widths, choices).items():
                kinds[kind] += loops
        return {
            name: (_statement_features(nest, touched, kinds, limits[name], line), _curve_points(nest))
            for name, nest in nests.items()
        }

    def write(self, population: Population, out: np.ndarray) -> None:
        """Put the raw features into `out` [statements, 164, programs]."""
        inputs = {}
        for name, _ in self.program.inputs:
            hole, _, part = name.rpartition("#")
            inputs[name] = population.numbers(hole)[int(part)].astype(np.float64)
        results = self.program.run(inputs)
        for row, column, value in self.constants:
            out[row, column] = value
        for (row, column), result in zip(self.columns, results):
            out[row, column] = result
        first = len(self.columns)
        for row, levels in self.curves:
            if levels:
                x, y = results[first : first + levels], results[first + levels : first + 2 * levels]
                out[row, FIRST_SAMPLE : FIRST_SAMPLE + SAMPLES] = _curve(x, y, len(population))
            first += 2 * levels


def _located(sketch: Sketch, structure: Structure) -> str:
    return sketch.hole[structure.open_hole].node if structure.open_hole else ""


def _statement_features(
    nest: ArrayNest, touched: Touches, kinds: Mapping[str, list[Annotated]], limit: Extent, line: int
) -> list[Any]:
    """All features but the curve, which is left 0."""
    statement, total = nest.statement, nest.inside[0]
    row: list[Any] = [0] * COUNT
    row[: len(OPERATIONS)] = [total * count for count in _operations(nest)]
    for name, kind in zip(ANNOTATIONS, _KINDS):
        row[LOOPS[name] : LOOPS[name] + 3 + len(POSITIONS)] = _annotated(nest, kinds[kind])
    row[POSITION["blockIdx_x"] : FIRST_SLOT] = [1] * (FIRST_SLOT - POSITION["blockIdx_x"])
    for slot, access in enumerate(access_features(nest, touched, line)):
        row[FIRST_SLOT + slot * len(ACCESS) : FIRST_SLOT + (slot + 1) * len(ACCESS)] = access
    outer: Extent = 1
    for loop in statement.loops[: statement.outer]:
        outer = outer * loop.extent
    elements: Extent = 1
    for extent in statement.accesses[0].shape:
        elements = elements * extent
    loops: Extent = 0
    for present in nest.present:
        loops = loops + present
    item = statement.accesses[0].item
    row[FIRST_SAMPLE + SAMPLES :] = [elements * item, elements * outer, outer, total / outer, total, loops, limit]
    return row


def _operations(nest: ArrayNest) -> list[Extent]:
    counts: list[Extent] = list(nest.statement.operations)
    steps: Extent = 0
    for axis, uses in nest.statement.uses.items():
        loops: Extent = 0
        for key, coefficient in nest.statement.axes[axis].terms.items():
            if key in nest.position:
                loops = loops + (nest.present[nest.position[key]] & (coefficient != 0))
        steps = steps + uses * where(loops > 1, loops - 1, 0)
    for name in ("int_addsub", "int_mul"):
        counts[OPERATIONS.index(name)] = counts[OPERATIONS.index(name)] + steps
    return counts


def _annotated(nest: ArrayNest, loops: list[Annotated]) -> list[Any]:
    """Number, product, innermost length and place of the annotated loops around a statement."""
    count, product, length, place = 0, 1, 0, 0
    for group in loops:
        members = [(nest.position[k], m) for k, m in zip(group.keys, group.masks) if k in nest.position]
        if not members:
            continue
        extent, inside, from_here = _reach(nest, members, group.from_outside)
        runs = extent > 1
        count = count + runs
        product = product * extent
        length = where(runs, extent, length)
        reduce = 3 if nest.loops[members[-1][0]].reduce else 0
        code = where(inside == 1, 1 + reduce, where(from_here == nest.inside[0], 3 + reduce, 2 + reduce))
        place = where(runs, where((place == 0) | (place == code), code, len(POSITIONS) - 1), place)
    one_hot = [place == number for number in range(len(POSITIONS))]
    return [count, where(count > 0, product, 0), length, *one_hot]


def _reach(nest: ArrayNest, members: list[tuple[int, Mask]], from_outside: bool) -> tuple[Extent, Extent, Extent]:
    """The extent of an annotated loop, the product of the extents inside it, and both together."""
    extent: Extent = 1
    for position, mask in members:
        extent = extent * where(mask, nest.loops[position].extent, 1)
    if from_outside:
        whole = nest.inside[members[0][0]]
        return extent, whole / extent, whole
    inside = nest.inside[members[-1][0] + 1]
    return extent, inside, inside * extent


def _curve_points(nest: ArrayNest) -> list[list[Any]]:
    """Operations and intensity of each loop level, from one iteration outwards; nothing without operations."""
    one = float_operations(nest.statement)
    if not one:
        return []
    operations = [one * inside for inside in reversed(nest.inside)]
    return [operations, [count / sum(level) for count, level in zip(operations, reversed(nest.bytes))]]


def _curve(x: list[Any], y: list[Any], programs: int) -> np.ndarray:
    """The piecewise linear curve through the points, at ten steps of the logarithm of all operations."""
    xs = np.array([np.broadcast_to(level, programs) for level in x], dtype=np.float64)
    ys = np.array([np.broadcast_to(level, programs) for level in y], dtype=np.float64)
    targets = np.minimum(np.exp2(np.log2(xs[-1]) * (np.arange(1, SAMPLES + 1)[:, None] / SAMPLES)), xs[-1])
    index = np.zeros(targets.shape, dtype=np.int64)
    for level in xs:
        index += level < targets
    column = np.arange(programs)
    before = np.maximum(index - 1, 0)
    x0, x1, y0, y1 = xs[before, column], xs[index, column], ys[before, column], ys[index, column]
    step = x1 - x0
    slope = (y1 - y0) / np.where(step > 0, step, 1.0)
    return np.where(step > 0, y0 + slope * (targets - x0), y1)
