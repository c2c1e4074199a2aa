"""Cost models: guess which programs are fast before any of them is run.

Paper: Ansor §5.2

A `CostModel` scores programs, higher is better, and may learn from measurements. The paper's is
`learned_model.LearnedModel`. Two are here: `RandomModel`, the paper's stand-in before there is data, and
`TrivialModel`, which learns nothing and estimates a time from five facts that an annotation shows without lowering:
register-tile fit, vector use, reloads of the tile, parallel balance, bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ansor_mini.annotation import is_inlined, is_root
from ansor_mini.holes import PARALLEL, TILE, VECTORIZE, Annotation, HoleSpec
from ansor_mini.population import Population
from ansor_mini.sketch import Program, Sketch, StageFacts
from runtime.machine import Machine


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
    caches beyond the bytes that a tile holds, and learns nothing.
    """

    REGISTERS = 32  # vector registers; the emitted loop also holds a row of weights and one broadcast
    IN_FLIGHT = 10.0  # accumulators needed to keep the FMA units busy

    def __init__(self, machine: Machine, threads: int = 1) -> None:
        """Estimate for `threads` cores of `machine`."""
        self.machine = machine
        self.threads = threads

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """1 / estimated seconds of each program."""
        return np.array([1.0 / self.seconds(program) for program in programs])

    def predict_population(self, population: Population) -> np.ndarray:
        """1 / estimated seconds of each program."""
        return self.predict(population.programs())

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Ignore the measurements."""

    def seconds(self, program: Program) -> float:
        """The estimated time of a program, in units of one core's peak."""
        sketch, annotation = program.sketch, program.annotation
        total = 1e-9
        for stage in sketch.stages:
            if stage.name in sketch.tiled:
                total += self._tiled(sketch, stage, annotation)
            elif not is_inlined(sketch, stage.name, annotation):
                total += self._plain(sketch, stage, annotation)
            else:
                # Recomputed wherever it is read, behind a guard in the innermost loop.
                total += 4.0 * max(s.iterations for s in sketch.stages) / self.machine.lanes / self.threads
        return total

    def _speedup(self, sketch: Sketch, stage: StageFacts, annotation: Annotation) -> float:
        """How many threads work on a stage, given how evenly the parallel iterations divide among them."""
        holes = [sketch.hole.get(f"{name}.{PARALLEL}") for name in (stage.name, stage.root)]
        hole = next((hole for hole in holes if hole is not None), None)
        if hole is None or self.threads == 1:
            return 1.0
        width = annotation[hole.name]
        assert isinstance(width, int)
        chunks = math.prod(loop.of(annotation) for loop in hole.loops[:width])
        return chunks / math.ceil(chunks / self.threads)

    def _plain(self, sketch: Sketch, stage: StageFacts, annotation: Annotation) -> float:
        """An element-wise stage or a plain reduction: one pass over memory."""
        hole = sketch.hole.get(f"{stage.name}.{VECTORIZE}")
        lanes = 1
        if hole is not None and annotation[hole.name]:
            width = annotation[hole.name]
            assert isinstance(width, int)
            lanes = vector_lanes(math.prod(loop.of(annotation) for loop in hole.loops[-width:]), self.machine.lanes)
        # Fused loops turn indices into divisions, which the emitter runs lane by lane.
        fused = 1.5 if hole is not None and annotation[hole.name] != 1 else 1.0
        away = 1.0 if is_root(sketch, stage.name, annotation) else 1.1
        return stage.iterations * 2.0 * fused * away / lanes / self._speedup(sketch, stage, annotation)

    def _tiled(self, sketch: Sketch, stage: StageFacts, annotation: Annotation) -> float:
        spatial, reduce = sketch.tiled[stage.name]
        inner = [_level(hole, annotation, -1) for hole in spatial]
        vector = sketch.hole.get(f"{stage.name}.{VECTORIZE}")
        lanes = vector_lanes(inner[-1], self.machine.lanes) if vector is None or annotation[vector.name] else 1
        columns = inner[-1] / lanes
        rows = math.prod(inner[:-1])
        trips = self._trips(spatial, reduce, annotation)
        cost = 1.0 / lanes
        cost *= register_penalty(rows, columns, self.REGISTERS, self.IN_FLIGHT)
        cost *= 1.0 + 2.0 / trips  # one load and one store of each accumulator per run of the reduction
        cost *= 1.0 + 0.1 * (rows + columns) / (rows * columns)  # operands loaded per multiply-add
        cost *= self._cache_penalty(sketch, stage, spatial, reduce, annotation)
        return stage.iterations * cost / self._speedup(sketch, stage, annotation)

    def _trips(self, spatial: Sequence[HoleSpec], reduce: Sequence[HoleSpec], annotation: Annotation) -> int:
        """Reduction iterations for which the register tile stays put."""
        trips = math.prod(_level(hole, annotation, -1) for hole in reduce)
        if spatial[0].parts > 2 and all(_level(hole, annotation, -2) == 1 for hole in spatial):
            trips = math.prod(hole.extent for hole in reduce)
        return trips

    def _cache_penalty(
        self,
        sketch: Sketch,
        stage: StageFacts,
        spatial: Sequence[HoleSpec],
        reduce: Sequence[HoleSpec],
        annotation: Annotation,
    ) -> float:
        """Bytes of the block between the outer and the inner reduction loops, against the caches."""
        block = math.prod(_level(hole, annotation, -1) * _level(hole, annotation, -2) for hole in spatial)
        column = _level(spatial[-1], annotation, -1) * _level(spatial[-1], annotation, -2)
        depth = math.prod(_level(hole, annotation, -1) for hole in reduce)
        held = 4 * (block + depth * column)
        penalty = 1.0
        for size, price in ((self.machine.l1_bytes, 0.05), (self.machine.l2_bytes, 0.25)):
            if held > size:
                penalty += price * min(2.0, math.log2(held / size))
        return penalty


def vector_lanes(extent: int, lanes: int) -> int:
    """Lanes that a vectorised loop of `extent` uses: the largest power of two that divides both, 4 or more.

    >>> vector_lanes(48, 16), vector_lanes(20, 16), vector_lanes(7, 16)
    (16, 4, 1)
    """
    common = math.gcd(extent, lanes)
    return common if common >= 4 else 1


def register_penalty(rows: float, columns: float, registers: int, in_flight: float) -> float:
    """How much slower than peak a tile of rows x columns accumulators runs: too few to hide latency, or too many.

    >>> register_penalty(8, 2, 32, 10.0), register_penalty(2, 1, 32, 10.0), register_penalty(16, 4, 32, 10.0)
    (1.0, 5.0, 2.5)
    """
    accumulators = rows * columns
    if accumulators < in_flight:
        return in_flight / accumulators
    # Of few rows, compilers load the columns again for every row; many rows lie in the same cache sets.
    shape = 1.5 if rows <= 4 and columns > 1 else 1.2 if rows > 16 else 1.0
    spilled = accumulators - registers
    return shape * (1.0 + 3.0 * max(0.0, spilled) / accumulators)


def _level(hole: HoleSpec, annotation: Annotation, part: int) -> int:
    """One part of a tile, the implicit outermost included."""
    lengths = annotation[hole.name]
    assert isinstance(lengths, tuple) and hole.kind == TILE
    parts = (-(-hole.extent // math.prod(lengths)), *lengths)
    return parts[part] if -part <= len(parts) else 1
