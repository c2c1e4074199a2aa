"""The features of all programs of one structure: written down once, then run on arrays.

Paper: Ansor §5.2, App. B

Bound inference runs once over symbols instead of numbers, and the features are written down as expressions over them
(`feature_nests`, `feature_rows`, `feature_access`). The tape of these expressions is what remains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_names import ALL_NAMES, ALL_NUMERIC, COUNT, FIRST_SAMPLE, SAMPLES
from ansor_mini.feature_nests import Annotated, ArrayNest, Widths, annotated_loops, touches
from ansor_mini.feature_rows import KINDS, curve_points, feature_row, register_row
from ansor_mini.feature_statements import is_for_gpu, statements
from ansor_mini.feature_structures import Structure
from ansor_mini.feature_tape import Tape, TapeProgram
from ansor_mini.features import scaled
from ansor_mini.holes import PARALLEL, UNROLL, VECTORIZE
from ansor_mini.population import Population, hole_table
from ansor_mini.regions import Extent
from ansor_mini.sketch import Sketch


class StructureFeatures:
    """The features of all programs of one structure, as a program over the numbers of their holes."""

    def __init__(self, structure: Structure, sketch: Sketch, line: int) -> None:
        self.sketch = sketch
        self._tape = Tape()
        self._known: dict[str, tuple[Extent, ...]] = {}
        rows = self._statements(structure, line)
        self.stages = tuple(rows)
        self.constants = np.zeros((len(rows), len(ALL_NAMES)), dtype=np.float64)
        found: list[tuple[bool, int, int, Any]] = []
        for row, (features, _) in enumerate(rows.values()):
            for column, value in enumerate(features):
                if isinstance(value, (int, float)):
                    self.constants[row, column] = value
                else:
                    found.append((not ALL_NUMERIC[column], row, column, value))
        self.scaled_constants = scaled(self.constants)
        found.sort(key=lambda each: each[:3])  # what takes a logarithm first
        self.rows = np.array([row for _, row, _, _ in found], dtype=np.int64)
        self.columns = np.array([column for _, _, column, _ in found], dtype=np.int64)
        self.curves = [(row, len(curve[0])) for row, (_, curve) in enumerate(rows.values()) if curve]
        points = [point for _, curve in rows.values() for axis in curve for point in axis]
        self.program: TapeProgram = self._tape.compile([*(value for *_, value in found), *points])
        self._latest = self._chosen(np.arange(COUNT))
        del self._tape, self._known  # the program is all that is needed from here on

    def numbers(self, hole: str) -> tuple[Extent, ...]:
        """The numbers of a hole: inputs of the tape, or integers where it has only one value."""
        if hole not in self._known:
            table = hole_table(self.sketch.hole[hole])
            low, high = table.numbers.min(axis=1).tolist(), table.numbers.max(axis=1).tolist()
            self._known[hole] = tuple(
                a if a == b else self._tape.input(f"{hole}#{part}", a, b) for part, (a, b) in enumerate(zip(low, high))
            )
        return self._known[hole]

    def _statements(self, structure: Structure, line: int) -> Mapping[str, tuple[list[Any], list[list[Any]]]]:
        state = structure.schedule(self.numbers)
        choices = structure.choices(self.numbers, _located(self.sketch, structure))
        found = statements(state, infer(state, choices), choices)
        on_gpu = is_for_gpu(state)
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
        written: dict[str, tuple[list[Any], list[list[Any]]]] = {}
        for name, nest in nests.items():
            row = feature_row(nest, touched, kinds, unrolled[name], line, on_gpu=on_gpu)
            written[name] = (row + register_row(nest, kinds, unrolled[name]), curve_points(nest))
        return written

    def _chosen(self, columns: np.ndarray) -> _Chosen:
        place = np.full(len(ALL_NAMES), -1)
        place[columns] = np.arange(len(columns))
        results = np.flatnonzero(place[self.columns] >= 0)
        samples = np.flatnonzero(place[FIRST_SAMPLE : FIRST_SAMPLE + SAMPLES] >= 0)
        points = range(len(self.columns), len(self.program.results)) if len(samples) else range(0)
        found = self.columns[results]
        program = self.program.only([*results, *points])
        logarithms = sum(ALL_NUMERIC[column] for column in found)
        at = place[FIRST_SAMPLE + samples]
        return _Chosen(columns, program, self.rows[results], place[found], logarithms, samples, at)

    def write(
        self, population: Population, out: np.ndarray, numbers: list[int], scale: bool, columns: np.ndarray
    ) -> None:
        """Put some of the features of a group, by column, into `out` [statements, columns, programs].

        numbers: where `out` has the statements of this structure.
        """
        if not np.array_equal(self._latest.columns, columns):
            self._latest = self._chosen(columns)
        chosen = self._latest
        results, count = self._run(population, chosen.program), len(chosen.places)
        block = np.empty((count, len(population)), dtype=out.dtype)
        if count:
            np.concatenate(results[:count], out=block.reshape(-1), casting="unsafe")
        samples = [_curve(*points, len(population), chosen.samples) for points in self._points(results[count:])]
        constants = self.scaled_constants if scale else self.constants
        if scale:
            for run in (block[: chosen.logarithms], *samples):
                run += 1
                np.log2(run, out=run)
        for number, values in zip(numbers, constants):
            out[number] = values[columns, None]
        out[np.array(numbers, dtype=np.int64)[chosen.rows], chosen.places] = block
        for (row, _), values in zip(self.curves, samples):
            out[numbers[row], chosen.sampled] = values

    def _run(self, population: Population, program: TapeProgram) -> list[Any]:
        inputs: dict[str, np.ndarray] = {}
        for hole in dict.fromkeys(name.rpartition("#")[0] for name, _ in program.inputs):
            for part, values in enumerate(population.floats(hole)):
                inputs[f"{hole}#{part}"] = values
        return program.run(inputs)

    def _points(self, results: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
        first = 0
        for _, levels in self.curves if results else ():
            yield results[first : first + levels], results[first + levels : first + 2 * levels]
            first += 2 * levels


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The part of a structure's features that lies in some columns, and the program that computes it.

    rows, places: statement of each result of the program and its position among the columns, those that take a
    logarithm first, of which there are `logarithms`. samples, sampled: numbers of the samples of the curve that are
    wanted, and their positions.
    """

    columns: np.ndarray
    program: TapeProgram
    rows: np.ndarray
    places: np.ndarray
    logarithms: int
    samples: np.ndarray
    sampled: np.ndarray


def _located(sketch: Sketch, structure: Structure) -> str:
    return sketch.hole[structure.open_hole].node if structure.open_hole else ""


def _curve(x: list[Any], y: list[Any], programs: int, samples: np.ndarray) -> np.ndarray:
    """The piecewise linear curve through the points, at some of ten steps of the logarithm of all operations."""
    xs, ys = np.empty((2, len(x), programs))
    for level, (of_x, of_y) in enumerate(zip(x, y)):
        xs[level], ys[level] = of_x, of_y
    targets = np.minimum(np.exp2(np.log2(xs[-1]) * ((samples[:, None] + 1) / SAMPLES)), xs[-1])
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
