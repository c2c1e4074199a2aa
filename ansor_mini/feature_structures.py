"""Programs of one sketch by structure: what is the same in all of them is replayed once, numbers are left open.

Paper: Ansor §5.2

Programs that differ only in tile sizes, fused widths, unroll limits and the place of one stage have the same stages and
loops. A `Structure` is such a group's schedule with tile lengths left open and widths left out; putting numbers in (or
arrays, or symbols for arrays) gives a schedule from which bound inference finds the extents of all programs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ansor_mini.bounds import Choice
from ansor_mini.holes import PARALLEL, TILE, UNROLL, VECTORIZE
from ansor_mini.loop_steps import split
from ansor_mini.population import Population, hole_table
from ansor_mini.regions import Extent
from ansor_mini.schedule import INLINE, At, ScheduleError, SplitRelation, Stage, State, Step
from ansor_mini.sketch import Sketch
from ansor_mini.steps import (
    AutoUnroll,
    ComputeAt,
    ComputeInline,
    FuseParallel,
    FuseVectorize,
    Hole,
    Locate,
    Rfactor,
    Split,
    candidate_locations,
    fill,
    holes,
)

Numbers = Callable[[str], "tuple[Extent, ...]"]

_WIDTHS = {FuseParallel: PARALLEL, FuseVectorize: VECTORIZE, AutoUnroll: UNROLL}
_INLINE, _FIRST_PLACE = 0, 2  # of a location hole: 0 inline, 1 root, 2 + i the i-th place


@dataclass(frozen=True)
class OpenLength:
    """A product of tile lengths that are not known yet, each a hole's name and the number of its part."""

    factors: tuple[tuple[str, int], ...]

    def __mul__(self, other: OpenLength | int) -> OpenLength:
        return self if isinstance(other, int) else OpenLength(self.factors + other.factors)

    __rmul__ = __mul__

    def __lt__(self, other: int) -> bool:
        return False  # legal lengths are 1 or more

    def value(self, numbers: Numbers) -> Extent:
        """The product, given the lengths of each hole."""
        total: Extent = 1
        for hole, part in self.factors:
            total = total * numbers(hole)[part]
        return total


@dataclass(frozen=True, eq=False)
class Structure:
    """The schedule of a group of programs, with open tile lengths and without the steps of `widths`.

    widths: for each stage and kind of annotation, the step that has the number. open_hole, places: the location hole
    that is open, if any, and where it may put its stage, which the state has at the last of them.
    """

    state: State
    widths: Mapping[tuple[str, str], Step]
    open_hole: str = ""
    places: tuple[At, ...] = ()

    def schedule(self, numbers: Numbers) -> State:
        """The schedule with the tile lengths put in."""
        return State(self.state.dag, tuple(_close(stage, numbers) for stage in self.state.stages))

    def width(self, numbers: Numbers, stage: str, kind: str, default: int = 0) -> Extent:
        """The number of an annotation: loops fused, or the unroll limit; the default where no step says it."""
        step = self.widths.get((stage, kind))
        if step is None:
            return default
        number = step.max_step if isinstance(step, AutoUnroll) else step.width  # type: ignore[attr-defined]
        return numbers(number.name)[0] if isinstance(number, Hole) else number

    def choices(self, numbers: Numbers, stage: str) -> dict[str, list[Choice]]:
        """The places of the stage with the open location."""
        if not self.places:
            return {}
        number = numbers(self.open_hole)[0]
        return {stage: [Choice(place, number >= _FIRST_PLACE + i) for i, place in enumerate(self.places)]}


def _close(stage: Stage, numbers: Numbers) -> Stage:
    relations = tuple(
        replace(r, lengths=tuple(n.value(numbers) if isinstance(n, OpenLength) else n for n in r.lengths))
        if isinstance(r, SplitRelation)
        else r
        for r in stage.relations
    )
    return replace(stage, relations=relations)


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of a sketch's programs, each replayed when first asked for."""

    sketch: Sketch
    known: dict[tuple[int, ...], Structure | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numeric, located = _numeric_holes(self.sketch), _open_location(self.sketch)
        columns = [c for c, hole in enumerate(self.sketch.holes) if hole.name not in numeric | {located}]
        object.__setattr__(self, "numeric", numeric)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "located", next((c for c, h in enumerate(self.sketch.holes) if h.name == located), -1))

    numeric: frozenset[str] = field(init=False)
    columns: list[int] = field(init=False)
    located: int = field(init=False)

    def groups(self, population: Population) -> list[tuple[Structure | None, np.ndarray]]:
        """The rows of each structure; None for programs that cannot be replayed."""
        keys = population.keys(self.columns)
        if self.located >= 0:
            number = population.numbers(self.sketch.holes[self.located].name)[0]
            keys = keys * np.uint64(2) + (number == _INLINE).astype(np.uint64)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        groups: list[tuple[Structure | None, np.ndarray]] = []
        for group, row in enumerate(first):
            structure, rows = self._structure(population.choices[row]), np.flatnonzero(inverse.reshape(-1) == group)
            if structure is not None and structure.open_hole:
                # numbers beyond the places that this structure has
                fits = number[rows] < _FIRST_PLACE + len(structure.places)
                if not fits.all():
                    groups.append((None, rows[~fits]))
                    rows = rows[fits]
            groups.append((structure, rows))
        return groups

    def _structure(self, choices: np.ndarray) -> Structure | None:
        values = {self.sketch.holes[c].name: hole_table(self.sketch.holes[c]).values[choices[c]] for c in self.columns}
        key = [int(choices[c]) for c in self.columns]
        if self.located >= 0:
            hole = self.sketch.holes[self.located]
            inline = hole_table(hole).values[choices[self.located]] == _INLINE
            key.append(int(inline))
            if inline:
                values[hole.name] = _INLINE
        if tuple(key) not in self.known:
            try:
                self.known[tuple(key)] = self._replay(values)
            except ScheduleError:
                self.known[tuple(key)] = None
        return self.known[tuple(key)]

    def _replay(self, values: Mapping[str, Any]) -> Structure:
        annotation = dict(values)
        for hole in self.sketch.holes:
            if hole.name in self.numeric and hole.kind == TILE:
                annotation[hole.name] = tuple(OpenLength(((hole.name, part),)) for part in range(hole.parts - 1))
        state, widths = State.initial(self.sketch.dag), {}
        open_hole = ""
        places: tuple[At, ...] = ()
        tail = _tail_start(self.sketch)
        for number, step in enumerate(self.sketch.steps):
            if number >= tail and type(step) in _WIDTHS:
                widths[step.stage, _WIDTHS[type(step)]] = step  # type: ignore[attr-defined]
            elif isinstance(step, Locate) and isinstance(step.choice, Hole) and step.choice.name not in annotation:
                open_hole, places = step.choice.name, candidate_locations(state, step.stage)
                if places:
                    state = ComputeAt(step.stage, places[-1].stage, places[-1].iterator).apply(state)
            else:
                state = _apply(fill(step, annotation), state)
        return Structure(state, widths, open_hole, places)


def _apply(step: Step, state: State) -> State:
    if isinstance(step, Split) and isinstance(step.lengths, tuple) and isinstance(step.lengths[0], OpenLength):
        lengths: Any = step.lengths
        return split(state, step, step.stage, step.iterator, lengths)
    return step.apply(state)


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


def _open_location(sketch: Sketch) -> str:
    """The hole of the last location, if only widths come after it: no other stage's places depend on it. Else empty."""
    tail = _tail_start(sketch)
    last = sketch.steps[tail - 1] if tail else None
    if not isinstance(last, Locate) or not isinstance(last.choice, Hole):
        return ""
    inside = any(isinstance(step, ComputeAt) and step.target == last.stage for step in sketch.steps)
    return "" if inside else last.choice.name


def statement_stages(sketch: Sketch, state: State) -> tuple[str, ...]:
    """The stages that may have a statement in a program of the sketch, producers first."""
    inlined = {step.stage for step in sketch.steps if isinstance(step, ComputeInline)}
    return tuple(stage.name for stage in state.stages if stage.name not in inlined or stage.location != INLINE)
