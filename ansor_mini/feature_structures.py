"""Programs of one sketch by structure: what is the same in all of them is replayed once, the rest are arrays.

Paper: Ansor §5.2

Programs that differ only in tile sizes, fused widths and unroll limits have the same stages, loops and places. A
`Structure` is such a group's schedule with tile lengths left open and widths left out; putting a population's numbers
in gives a schedule whose split lengths are arrays, from which bound inference finds the extents of all programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ansor_mini.holes import PARALLEL, TILE, UNROLL, VECTORIZE
from ansor_mini.loop_steps import split
from ansor_mini.population import Population, hole_table
from ansor_mini.regions import Extent
from ansor_mini.schedule import INLINE, ScheduleError, SplitRelation, Stage, State, Step
from ansor_mini.sketch import Sketch
from ansor_mini.steps import (
    AutoUnroll,
    ComputeInline,
    FuseParallel,
    FuseVectorize,
    Hole,
    Rfactor,
    Split,
    fill,
    holes,
)

_WIDTHS = {FuseParallel: PARALLEL, FuseVectorize: VECTORIZE, AutoUnroll: UNROLL}


@dataclass(frozen=True)
class OpenLength:
    """A product of tile lengths that are not known yet, each a hole's name and the number of its part."""

    factors: tuple[tuple[str, int], ...]

    def __mul__(self, other: OpenLength | int) -> OpenLength:
        return self if isinstance(other, int) else OpenLength(self.factors + other.factors)

    __rmul__ = __mul__

    def __lt__(self, other: int) -> bool:
        return False  # legal lengths are 1 or more

    def value(self, numbers: Callable[[str], tuple[Extent, ...]]) -> Extent:
        """The product, given the lengths of each hole."""
        total: Extent = 1
        for hole, part in self.factors:
            total = total * numbers(hole)[part]
        return total


@dataclass(frozen=True)
class Structure:
    """The schedule of a group of programs, with open tile lengths and without the steps of `widths`.

    widths: for each stage and kind of annotation, the step that has the number.
    """

    state: State
    widths: Mapping[tuple[str, str], Step]

    def schedule(self, population: Population) -> State:
        """The schedule of a population's programs: split lengths are numbers, or arrays where programs differ."""
        known: dict[str, tuple[Extent, ...]] = {}

        def numbers(hole: str) -> tuple[Extent, ...]:
            if hole not in known:
                known[hole] = values_of(population, hole)
            return known[hole]

        return State(self.state.dag, tuple(_close(stage, numbers) for stage in self.state.stages))

    def width(self, population: Population, stage: str, kind: str, default: int = 0) -> Extent:
        """The number of an annotation: loops fused, or the unroll limit; the default where no step says it."""
        step = self.widths.get((stage, kind))
        if step is None:
            return default
        number = step.max_step if isinstance(step, AutoUnroll) else step.width  # type: ignore[attr-defined]
        return values_of(population, number.name)[0] if isinstance(number, Hole) else number


def values_of(population: Population, hole: str) -> tuple[Extent, ...]:
    """The numbers of a hole as float64 arrays (their products stay exact), as integers where it has only one value."""
    table = hole_table(population.sketch.hole[hole])
    if len(table.values) == 1:
        return tuple(int(number) for number in table.numbers[:, 0])
    return tuple(numbers.astype(np.float64) for numbers in population.numbers(hole))


def _close(stage: Stage, numbers: Callable[[str], tuple[Extent, ...]]) -> Stage:
    relations = tuple(
        replace(r, lengths=tuple(n.value(numbers) if isinstance(n, OpenLength) else n for n in r.lengths))
        if isinstance(r, SplitRelation)
        else r
        for r in stage.relations
    )
    return replace(stage, relations=relations)


class Structures:
    """The structures of a sketch's programs, each replayed when first asked for.

    rows: the stages that a program may have a statement for, producers first.
    """

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.numeric = _numeric_holes(sketch)
        self.columns = [c for c, hole in enumerate(sketch.holes) if hole.name not in self.numeric]
        self._known: dict[tuple[int, ...], Structure | None] = {}

    def groups(self, population: Population) -> list[tuple[Structure | None, np.ndarray]]:
        """The rows of each structure; None for programs that cannot be replayed."""
        if not self.columns:
            return [(self._structure(population.choices[0]), np.arange(len(population)))] if len(population) else []
        keys = population.keys(self.columns)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        ends = np.cumsum(np.bincount(inverse))
        return [
            (self._structure(population.choices[row]), rows)
            for row, rows in zip(first, np.split(order, ends[:-1]))
        ]

    def _structure(self, choices: np.ndarray) -> Structure | None:
        key = tuple(choices[self.columns].tolist())
        if key not in self._known:
            values = {name: hole_table(self.sketch.holes[c]).values[choices[c]] for c, name in self._structural()}
            try:
                self._known[key] = self._replay(values)
            except ScheduleError:
                self._known[key] = None
        return self._known[key]

    def _structural(self) -> list[tuple[int, str]]:
        return [(column, self.sketch.holes[column].name) for column in self.columns]

    def _replay(self, values: Mapping[str, object]) -> Structure:
        annotation = dict(values)
        for hole in self.sketch.holes:
            if hole.name in self.numeric and hole.kind == TILE:
                annotation[hole.name] = tuple(OpenLength(((hole.name, part),)) for part in range(hole.parts - 1))
        state, widths = State.initial(self.sketch.dag), {}
        for step in self.sketch.steps:
            if type(step) in _WIDTHS and set(holes(step)) <= self.numeric and (step in self._tail()):
                widths[step.stage, _WIDTHS[type(step)]] = step  # type: ignore[attr-defined]
                continue
            step = fill(step, annotation)
            if isinstance(step, Split) and any(isinstance(length, OpenLength) for length in step.lengths):
                state = split(state, step, step.stage, step.iterator, step.lengths)
            else:
                state = step.apply(state)
        return Structure(state, widths)

    def _tail(self) -> tuple[Step, ...]:
        return self.sketch.steps[_tail_start(self.sketch) :]


def _tail_start(sketch: Sketch) -> int:
    """From this step on there are only widths, whose order does not matter to anything else."""
    start = len(sketch.steps)
    while start and type(sketch.steps[start - 1]) in _WIDTHS:
        start -= 1
    return start


def _numeric_holes(sketch: Sketch) -> frozenset[str]:
    """The holes whose values change numbers only: widths of the last steps, and tile sizes that no stage is made of."""
    tail = _tail_start(sketch)
    numeric = {name for step in sketch.steps[tail:] for name in holes(step)}
    factored = {step.stage for step in sketch.steps if isinstance(step, Rfactor)}
    for step in sketch.steps[:tail]:
        if isinstance(step, Split) and isinstance(step.lengths, Hole) and step.stage not in factored:
            numeric.add(step.lengths.name)
    for step in sketch.steps[:tail]:
        if not isinstance(step, Split) or step.stage in factored:
            numeric.difference_update(holes(step))
    return frozenset(numeric)


def statement_stages(sketch: Sketch, state: State) -> tuple[str, ...]:
    """The stages that may have a statement in a program of the sketch, producers first."""
    inlined = {step.stage for step in sketch.steps if isinstance(step, ComputeInline)}
    return tuple(stage.name for stage in state.stages if stage.name not in inlined or stage.location != INLINE)
