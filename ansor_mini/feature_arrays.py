"""The features of a whole population at once, as NumPy expressions over arrays.

Paper: Ansor §5.2, App. B

`features` is the readable definition; this computes the same numbers.

1. Programs are grouped by structure (`feature_structures`): the same stages and loops.
2. For each structure, bound inference runs once over symbols instead of numbers, and the features are written down as
   expressions over them (here, `feature_nests`, `feature_rows`, `feature_access`).
3. The tape of these expressions (`feature_tape`) is run on the arrays of hole values of all programs of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_names import COUNT, FIRST_SAMPLE, NUMERIC, SAMPLES
from ansor_mini.feature_nests import Annotated, ArrayNest, Widths, annotated_loops, touches
from ansor_mini.feature_rows import KINDS, curve_points, feature_row
from ansor_mini.feature_statements import statements
from ansor_mini.feature_structures import Structure, Structures, statement_stages
from ansor_mini.feature_tape import Tape, TapeProgram
from ansor_mini.features import CACHE_LINE, scaled
from ansor_mini.holes import PARALLEL, UNROLL, VECTORIZE
from ansor_mini.population import Population, hole_table
from ansor_mini.regions import Extent
from ansor_mini.sketch import Sketch
from runtime.machine import Machine


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
    return _batch(population, machine, True)


def raw_population_features(population: Population, machine: Machine | None = None) -> FeatureBatch:
    """The features before numbers become log2(x + 1), float64."""
    return _batch(population, machine, False)


def _batch(population: Population, machine: Machine | None, scale: bool) -> FeatureBatch:
    line = CACHE_LINE if machine is None else machine.cache_line
    compiled = compiled_sketch(population.sketch, line)
    groups = compiled.structures.groups(population) if len(population) else []
    names = next((statement_stages(population.sketch, s.state) for s, _ in groups if s is not None), ())
    values = np.empty((len(names), COUNT, len(population)), dtype=np.float32 if scale else np.float64)
    present = np.zeros((len(names), len(population)), dtype=bool)
    for number, (structure, rows) in enumerate(sorted(groups, key=lambda group: -len(group[1]))):
        # The largest group is computed for all programs, and the others written over it: faster than picking its rows.
        block = values if number == 0 else np.empty((*values.shape[:2], len(rows)), dtype=values.dtype)
        if structure is None:
            block[:] = 0
        else:
            features = compiled.of(structure)
            numbers = [names.index(name) for name in features.stages]
            features.write(population if number == 0 else population.take(rows), block, numbers, scale)
            present[np.ix_(np.array(numbers), rows)] = True
        if number > 0:
            values[:, :, rows] = block
    values.transpose(0, 2, 1)[~present] = 0
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
        self.constants = np.zeros((len(rows), COUNT), dtype=np.float64)
        found: list[tuple[bool, int, int, Any]] = []
        for row, (features, _) in enumerate(rows.values()):
            for column, value in enumerate(features):
                if isinstance(value, (int, float)):
                    self.constants[row, column] = value
                else:
                    found.append((not NUMERIC[column], row, column, value))
        found.sort(key=lambda each: each[:3])  # what takes a logarithm first
        self.columns = [(row, column) for _, row, column, _ in found]
        self.logarithms = sum(NUMERIC[column] for _, column in self.columns)
        self.curves = [(row, len(curve[0])) for row, (_, curve) in enumerate(rows.values()) if curve]
        points = [point for _, curve in rows.values() for axis in curve for point in axis]
        self.program: TapeProgram = self.tape.compile([*(value for *_, value in found), *points])

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
        kinds: dict[str, list[Annotated]] = {kind: [] for kind in KINDS}
        unrolled = {}
        for name, statement in found.items():
            limit = structure.width(self.numbers, name, UNROLL, statement.stage.unroll_limit)
            parallel, vector = (structure.width(self.numbers, name, kind) for kind in (PARALLEL, VECTORIZE))
            own = statement.loops[statement.outer :]
            by_steps, unrolled[name] = annotated_loops(state, name, own, Widths(parallel, vector, limit), choices)
            for kind, loops in by_steps.items():
                kinds[kind] += loops
        return {
            name: (feature_row(nest, touched, kinds, unrolled[name], line), curve_points(nest))
            for name, nest in nests.items()
        }

    def write(self, population: Population, out: np.ndarray, numbers: list[int], scale: bool) -> None:
        """Put the features of a group into `out` [statements, 164, programs], where `numbers` has these statements."""
        results = self._run(population)
        count = len(self.columns)
        block = np.empty((count, len(population)), dtype=out.dtype)
        for row, result in zip(block, results):
            row[:] = result
        samples = [_curve(*points, len(population)) for points in self._points(results[count:])]
        constants = scaled(self.constants) if scale else self.constants
        if scale:
            for run in (block[: self.logarithms], *samples):
                run += 1
                np.log2(run, out=run)
        for number, values in zip(numbers, constants):
            out[number] = values[:, None]
        for (row, column), values in zip(self.columns, block):
            out[numbers[row], column] = values
        for (row, _), values in zip(self.curves, samples):
            out[numbers[row], FIRST_SAMPLE : FIRST_SAMPLE + SAMPLES] = values

    def _run(self, population: Population) -> list[Any]:
        inputs: dict[str, np.ndarray] = {}
        for hole in dict.fromkeys(name.rpartition("#")[0] for name, _ in self.program.inputs):
            for part, values in enumerate(population.numbers(hole)):
                inputs[f"{hole}#{part}"] = values.astype(np.float64)
        return self.program.run(inputs)

    def _points(self, results: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
        first = 0
        for _, levels in self.curves:
            yield results[first : first + levels], results[first + levels : first + 2 * levels]
            first += 2 * levels


def _located(sketch: Sketch, structure: Structure) -> str:
    return sketch.hole[structure.open_hole].node if structure.open_hole else ""


def _curve(x: list[Any], y: list[Any], programs: int) -> np.ndarray:
    """The piecewise linear curve through the points, at ten steps of the logarithm of all operations."""
    xs = np.array([np.broadcast_to(level, programs) for level in x], dtype=np.float64)
    ys = np.array([np.broadcast_to(level, programs) for level in y], dtype=np.float64)
    targets = np.minimum(np.exp2(np.log2(xs[-1]) * (np.arange(1, SAMPLES + 1)[:, None] / SAMPLES)), xs[-1])
    below = np.zeros(targets.shape, dtype=np.int8)
    for level in xs:
        below += (level < targets).view(np.int8)
    column = np.arange(programs)
    after = below * np.int64(programs) + column
    before = np.maximum(after - programs, column)
    x0, x1, y0, y1 = xs.take(before), xs.take(after), ys.take(before), ys.take(after)
    step = x1 - x0
    slope = (y1 - y0) / np.where(step > 0, step, 1.0)
    return np.where(step > 0, y0 + slope * (targets - x0), y1)
