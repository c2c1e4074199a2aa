"""How long each loop of a sketch is, as a function of its holes.

The steps with holes are read once; no value is needed. Of an axis split as i → i.0 i.1 the loop i.0 gets
`LoopExtent(extent of i, hole, 0, 1)` and so on; a consumer that follows the split gets the same holes, and the axis
that a factored reduction adds gets the part that it was.

>>> from ansor_mini.holes import TILE, HoleSpec
>>> from ansor_mini.schedule_examples import matmul
>>> steps, holes = [Split("C", "i", Hole("C.i"))], [HoleSpec("C.i", "C", TILE, 8, 2)]
>>> extents = hole_extents(matmul(8, 6, 4).ops, steps, holes)
>>> extents["C", "i.1"].of({"C.i": (2,)}), extents["C", "i.0"].of({"C.i": (2,)}), extents["C", "k"].of({})
(2, 4, 4)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Optional

from ansor_mini.holes import HoleSpec, LoopExtent
from ansor_mini.steps import CacheWrite, FollowSplit, Fuse, Hole, Rfactor, Split, Step
from ansor_mini.tensor_expression import Tensor

IteratorKey = tuple[str, str]  # stage and iterator
Extents = dict[IteratorKey, Optional[LoopExtent]]


def hole_extents(ops: Iterable[Tensor], steps: Iterable[Step], holes: Sequence[HoleSpec]) -> Extents:
    """The extent of every iterator of every stage, axes included; None where no single hole decides it.

    ops: the tensors before the steps, then those that the steps add, for steps that this module does not know.
    """
    extents: Extents = {}
    for op in ops:
        for axis in (*op.axes, *op.reduce_axes):
            extents.setdefault((op.name, axis.name), LoopExtent(axis.extent))
    parts = {hole.name: hole.parts for hole in holes}
    for step in steps:
        if isinstance(step, Split):
            _split(extents, parts, step)
        elif isinstance(step, FollowSplit):
            _follow(extents, parts, step)
        elif isinstance(step, Fuse):
            extents[step.stage, "@".join(step.iterators)] = _product(extents, step)
        elif isinstance(step, CacheWrite):
            _copy(extents, step.stage, f"{step.stage}.local")
        elif isinstance(step, Rfactor):
            _copy(extents, step.stage, f"{step.stage}.rf")
    return extents


def _copy(extents: Extents, old: str, new: str) -> None:
    extents.update({(new, name): extent for (stage, name), extent in list(extents.items()) if stage == old})


def _split(extents: Extents, parts: dict[str, int], step: Split) -> None:
    whole = extents.get((step.stage, step.iterator))
    for number, extent in enumerate(_parts(whole, parts, step)):
        extents[step.stage, f"{step.iterator}.{number}"] = extent


def _parts(whole: LoopExtent | None, parts: dict[str, int], step: Split) -> list[LoopExtent | None]:
    if isinstance(step.lengths, Hole):
        name, count = step.lengths.name, parts[step.lengths.name]
        if whole is None or whole.hole:
            return [None] * count
        return [LoopExtent(whole.axis, name, number, number + 1) for number in range(count)]
    lengths = [length for length in step.lengths if isinstance(length, int)]
    if whole is None or whole.hole or len(lengths) < len(step.lengths):
        return [None] * (len(step.lengths) + 1)
    return [LoopExtent(length) for length in (-(-whole.axis // math.prod(lengths)), *lengths)]


def _follow(extents: Extents, parts: dict[str, int], step: FollowSplit) -> None:
    stage, iterator = step.source
    assert isinstance(step.parts, int)
    for number in range(step.parts):
        source = extents.get((stage, f"{iterator}.{number}"))
        if source is not None and source.hole and number == step.parts - 1:
            source = replace(source, last=parts[source.hole])
        extents[step.stage, f"{step.iterator}.{number}"] = source


def _product(extents: Extents, step: Fuse) -> LoopExtent | None:
    whole = [extent for name in step.iterators if (extent := extents.get((step.stage, name))) and not extent.hole]
    if len(whole) < len(step.iterators):
        return None
    return LoopExtent(math.prod(extent.axis for extent in whole))
