"""Cost models: guess which programs are fast before any of them is run.

Paper: Ansor §5.2

A `CostModel` scores programs, higher is better, and may learn from measurements. The paper's is
`learned_model.LearnedModel`. Two are here: `RandomModel`, the paper's stand-in before there is data, and
`TrivialModel`, which learns nothing and estimates a time from five facts that an annotation shows without lowering:
register-tile fit, vector use, reloads of the tile, parallel balance, bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ansor_mini.annotation import INLINE, ROOT
from ansor_mini.holes import LOCATION, PARALLEL, TILE, VECTORIZE, HoleSpec, LoopExtent
from ansor_mini.population import Population, by_sketch
from ansor_mini.sketch import Program, Sketch, StageFacts
from runtime.machine import Machine

Number = Any  # a number, or an array with one for each program
Choices = Mapping[str, Any]  # for each hole its value: a Number, of a tile hole a tuple of them

RECOMPUTED = 0.5  # operations for each innermost iteration that reads an inlined stage


class CostModel(Protocol):
    """What the search asks of a model."""

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """A score per program, higher is better, -inf for a program that cannot be lowered; shape (programs,)."""
        ...

    def predict_population(self, population: Population) -> np.ndarray:
        """The same for the programs of one sketch, as arrays."""
        ...

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Learn from more measured programs; failures have infinite seconds."""
        ...


class RandomModel:
    """Scores drawn from [0, 1): search without a model."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the scores from `rng`."""
        self.rng = rng

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """A random score per program."""
        return self.rng.random(len(programs))

    def predict_population(self, population: Population) -> np.ndarray:
        """A random score per program."""
        return self.rng.random(len(population))

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Ignore the measurements."""


class TrivialModel:
    """Estimate each stage's time by arithmetic on its tile sizes; the score is 1 / estimated seconds.

    The estimate is in units of one core's peak and is only good for ordering programs of one task. It knows nothing of
    caches beyond the bytes that a tile holds, and learns nothing. All arithmetic is on numbers or arrays alike, so that
    one program and a whole population take the same lines.
    """

    REGISTERS = 32  # vector registers; the emitted loop also holds a row of weights and one broadcast
    IN_FLIGHT = 10.0  # accumulators needed to keep the FMA units busy

    def __init__(self, machine: Machine, threads: int = 1) -> None:
        """Estimate for `threads` cores of `machine`."""
        self.machine = machine
        self.threads = threads

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """1 / estimated seconds of each program."""
        scores = np.zeros(len(programs))
        for positions, population in by_sketch(programs):
            scores[positions] = self.predict_population(population)
        return scores

    def predict_population(self, population: Population) -> np.ndarray:
        """1 / estimated seconds of each program."""
        numbers = {hole.name: population.numbers(hole.name) for hole in population.sketch.holes}
        choices = {
            hole.name: numbers[hole.name] if hole.kind == TILE else numbers[hole.name][0]
            for hole in population.sketch.holes
        }
        return np.broadcast_to(1.0 / self.seconds(population.sketch, choices), (len(population),))

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Ignore the measurements."""

    def seconds(self, sketch: Sketch, choices: Choices) -> Number:
        """The estimated time, in units of one core's peak; choices: a number, or an array of them, for each hole."""
        total: Number = 1e-9
        for stage in sketch.stages:
            place = choices.get(f"{stage.name}.{LOCATION}", ROOT)
            if stage.name in sketch.tiled:
                cost = self._tiled(sketch, stage, choices)
            else:
                cost = self._plain(sketch, stage, choices, place)
            # Inlined, it is recomputed wherever it is read, behind a guard; skipped padding costs little.
            recomputed = RECOMPUTED * max(s.iterations for s in sketch.stages) / self.machine.lanes / self.threads
            total = total + np.where(np.equal(place, INLINE), recomputed, cost)
        return total

    def _speedup(self, sketch: Sketch, stage: StageFacts, choices: Choices) -> Number:
        """How many threads work on a stage, given how evenly the parallel iterations divide among them."""
        holes = [sketch.hole.get(f"{name}.{PARALLEL}") for name in (stage.name, stage.root)]
        hole = next((hole for hole in holes if hole is not None), None)
        if hole is None or self.threads == 1:
            return 1.0
        chunks = _fused(hole.loops, choices[hole.name], choices)
        return chunks / np.ceil(chunks / self.threads)

    def _plain(self, sketch: Sketch, stage: StageFacts, choices: Choices, place: Number) -> Number:
        """An element-wise stage or a plain reduction: one pass over memory."""
        hole = sketch.hole.get(f"{stage.name}.{VECTORIZE}")
        width = choices[hole.name] if hole is not None else 1
        extent = _fused(hole.loops[::-1], width, choices) if hole is not None else 1
        lanes = np.where(np.equal(width, 0), 1, vector_lanes(extent, self.machine.lanes))
        # Fused loops turn indices into divisions, which the emitter runs lane by lane.
        fused = np.where(np.equal(width, 1), 1.0, 1.5)
        away = np.where(np.equal(place, ROOT), 1.0, 1.1)
        return stage.iterations * 2.0 * fused * away / lanes / self._speedup(sketch, stage, choices)

    def _tiled(self, sketch: Sketch, stage: StageFacts, choices: Choices) -> Number:
        spatial, reduce = sketch.tiled[stage.name]
        inner = [_level(hole, choices, -1) for hole in spatial]
        vector = sketch.hole.get(f"{stage.name}.{VECTORIZE}")
        width = choices[vector.name] if vector is not None else 1
        lanes = np.where(np.equal(width, 0), 1, vector_lanes(inner[-1], self.machine.lanes))
        columns = inner[-1] / lanes
        rows = math.prod(inner[:-1])
        cost = 1.0 / lanes
        cost = cost * register_penalty(rows, columns, self.REGISTERS, self.IN_FLIGHT)
        # One load and one store of each accumulator per run of the reduction; operands loaded per multiply-add.
        cost = cost * (1.0 + 2.0 / self._trips(spatial, reduce, choices))
        cost = cost * (1.0 + 0.1 * (rows + columns) / (rows * columns))
        cost = cost * self._cache_penalty(spatial, reduce, choices)
        return stage.iterations * cost / self._speedup(sketch, stage, choices)

    def _trips(self, spatial: Sequence[HoleSpec], reduce: Sequence[HoleSpec], choices: Choices) -> Number:
        """Reduction iterations for which the register tile stays put."""
        trips = math.prod(_level(hole, choices, -1) for hole in reduce)
        if spatial[0].parts <= 2:
            return trips
        stays = np.logical_and.reduce(np.broadcast_arrays(*(np.equal(_level(h, choices, -2), 1) for h in spatial)))
        return np.where(stays, math.prod(hole.extent for hole in reduce), trips)

    def _cache_penalty(self, spatial: Sequence[HoleSpec], reduce: Sequence[HoleSpec], choices: Choices) -> Number:
        """Bytes of the block between the outer and the inner reduction loops, against the caches."""
        block = math.prod(_level(hole, choices, -1) * _level(hole, choices, -2) for hole in spatial)
        column = _level(spatial[-1], choices, -1) * _level(spatial[-1], choices, -2)
        depth = math.prod(_level(hole, choices, -1) for hole in reduce)
        held = 4 * (block + depth * column)
        penalty: Number = 1.0
        for size, price in ((self.machine.l1_bytes, 0.05), (self.machine.l2_bytes, 0.25)):
            penalty = penalty + price * np.clip(np.log2(held / size), 0.0, 2.0)
        return penalty


def vector_lanes(extent: Number, lanes: int) -> Number:
    """Lanes that a vectorised loop of `extent` uses: the largest power of two that divides both, 4 or more.

    >>> [int(vector_lanes(extent, 16)) for extent in (48, 20, 7)]
    [16, 4, 1]
    """
    common = np.gcd(extent, lanes)  # type: ignore[call-overload]
    return np.where(common >= 4, common, 1)


def register_penalty(rows: Number, columns: Number, registers: int, in_flight: float) -> Number:
    """How much slower than peak a tile of rows x columns accumulators runs: too few to hide latency, or too many.

    >>> [float(register_penalty(rows, columns, 32, 10.0)) for rows, columns in ((8, 2), (2, 1), (16, 4))]
    [1.0, 5.0, 2.5]
    """
    accumulators = np.multiply(rows, columns)
    # Of few rows, compilers load the columns again for every row; many rows lie in the same cache sets.
    few = np.logical_and(np.less_equal(rows, 4), np.greater(columns, 1))
    shape = np.where(few, 1.5, np.where(np.greater(rows, 16), 1.2, 1.0))
    spilled = np.maximum(0.0, accumulators - registers)
    return np.where(accumulators < in_flight, in_flight / accumulators, shape * (1.0 + 3.0 * spilled / accumulators))


def _fused(loops: Sequence[LoopExtent], width: Number, choices: Choices) -> Number:
    """The product of the extents of the first `width` loops."""
    return math.prod(np.where(np.less(number, width), loop.of(choices), 1) for number, loop in enumerate(loops))  # type: ignore[arg-type]


def _level(hole: HoleSpec, choices: Choices, part: int) -> Number:
    """One part of a tile, the implicit outermost included."""
    lengths = choices[hole.name]
    parts = (-(-hole.extent // math.prod(lengths)), *lengths)
    return parts[part] if -part <= len(parts) else 1
