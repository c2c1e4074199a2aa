"""Draws a sketch as the skeleton of its loops, with names where its programs have numbers.

Paper: Ansor §4.1, Fig. 5

A tile hole `C.i` cuts an axis into parts: `C.i[0]` is the number of outermost tiles, `C.i[1]` the next length, and
`C.i[1:3]`, `C.i[2:]` are products of several. Which of them a loop's extent is follows from the extents under a few
annotations, so the drawing shows what bound inference finds and not what a rule meant. Loops that never turn are left
out; so are the open choices of §4.2, which `Sketch.holes` lists: locations are drawn at the root.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansor_mini.bounds import StageBounds, infer
from ansor_mini.holes import LOCATION, TILE, Annotation, HoleSpec, Value
from ansor_mini.schedule import INLINE, ROOT, At, Stage, State
from ansor_mini.sketch import Sketch
from runtime.loop_nest import GPU_KINDS

SAMPLES = 12  # annotations that extents are read from; chance makes two expressions agree in all of them hardly ever
MOST_FACTORS = 4  # parts of tiles that a loop's extent is written as the product of
_ASSIGN = {None: "=", "sum": "+=", "max": "max=", "min": "min="}


def show_sketch(sketch: Sketch) -> str:
    """The loops of a sketch.

    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import parse_workload
    >>> print(show_sketch(derive(parse_workload("matmul:512,512,512"), structure="SRS")[0]))
    for i.0 in range(C.i[0]):
        for j.0 in range(C.j[0]):
            for k in range(512):
                for i.1 in range(C.i[1]):
                    for j.1 in range(C.j[1]):
                        C += ...
    """
    drawing = Drawing.of(sketch)
    lines: list[str] = []
    inlined = [stage.name for stage in drawing.state.stages if stage.location == INLINE]
    if inlined:
        lines.append(f"inlined: {', '.join(inlined)}")
    for stage in drawing.state.stages:
        if stage.location == ROOT:
            lines.extend(drawing.stage(stage, 0))
    return "\n".join(lines)


@dataclass(frozen=True)
class Drawing:
    """One state of a sketch, and what its loops' extents are under several annotations."""

    state: State
    samples: tuple[Mapping[str, StageBounds], ...]
    terms: Mapping[tuple[int, ...], str]

    @classmethod
    def of(cls, sketch: Sketch) -> Drawing:
        """Replay a sketch under `SAMPLES` annotations."""
        annotations = [_annotation(sketch, number) for number in range(SAMPLES)]
        states = [sketch.program(annotation).schedule() for annotation in annotations]
        terms: dict[tuple[int, ...], str] = {}
        for hole in sketch.holes:
            for text, first, last in _slices(hole):
                values = tuple(math.prod(_parts(hole, a[hole.name])[first:last]) for a in annotations)
                terms.setdefault(values, text)
        return cls(states[0], tuple(infer(state) for state in states), terms)

    def stage(self, stage: Stage, depth: int) -> Iterator[str]:
        """The lines of one root or attached stage."""
        for iterator in stage.iterators:
            extent = self.extent(stage.name, iterator.name)
            if extent != "1":
                loop = iterator.annotation if iterator.annotation in GPU_KINDS else "range"
                yield f"{'    ' * depth}for {iterator.name} in {loop}({extent}):"
                depth += 1
            for attached in self.state.attached.get(At(stage.name, iterator.name), ()):
                yield from self.stage(attached, depth)
        yield f"{'    ' * depth}{stage.name} {_ASSIGN[stage.tensor.combiner]} ..."

    def extent(self, stage: str, iterator: str) -> str:
        """A loop's extent as a number, as parts of a few tiles, or as a range."""
        values = tuple(int(bounds[stage].extents[iterator]) for bounds in self.samples)
        text = self._product(values, MOST_FACTORS)
        if text is not None:
            return text
        return f"{min(values)}..{max(values)}"

    def _product(self, values: tuple[int, ...], factors: int) -> str | None:
        """Numbers as a product of parts of tiles, None if they are not."""
        if len(set(values)) == 1:
            return str(values[0])
        if values in self.terms:
            return self.terms[values]
        for known, text in self.terms.items() if factors > 1 else ():
            if len(set(known)) > 1 and all(value % part == 0 for value, part in zip(values, known)):
                other = self._product(tuple(value // part for value, part in zip(values, known)), factors - 1)
                if other is not None:
                    return f"{text} * {other}"
        return None


def _annotation(sketch: Sketch, number: int) -> Annotation:
    """Exact tilings, another for every number, and the quietest value of every other hole."""
    chosen: dict[str, Value] = {}
    for position, hole in enumerate(sketch.holes):
        if hole.kind == TILE:
            exact = [tile for tile in hole.values if hole.extent % math.prod(tile) == 0]  # type: ignore[arg-type]
            exact = exact or list(hole.values)
            chosen[hole.name] = exact[_mixed(number, position) % len(exact)]
        else:
            chosen[hole.name] = 1 if hole.kind == LOCATION and 1 in hole.choices else min(hole.choices)
    return chosen


def _mixed(number: int, position: int) -> int:
    """Numbers without a pattern, the same in every process."""
    return int.from_bytes(hashlib.sha256(bytes((number, position % 256))).digest()[:4], "big")


def _parts(hole: HoleSpec, value: Value) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return (hole.extent // math.prod(value), *value)


def _slices(hole: HoleSpec) -> Iterator[tuple[str, int, int]]:
    """Every run of adjacent parts of a tile hole, single parts first."""
    if hole.kind == TILE:
        for length in range(1, hole.parts):
            for first in range(hole.parts - length + 1):
                last = first + length
                run = f"{first}" if length == 1 else f"{first or ''}:{last if last < hole.parts else ''}"
                yield f"{hole.name}[{run}]", first, last
