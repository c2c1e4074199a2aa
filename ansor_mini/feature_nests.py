"""The loops of a statement in all programs of a structure at once: extents, annotations, regions and touches.

Paper: Ansor §5.2, App. B

What `features.Nest` says of one program, with symbols for numbers. A loop that runs once in some of the programs stays
in the list with extent 1; walks over the loops ask where it is present.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ansor_mini.bounds import Choice
from ansor_mini.feature_regions import width
from ansor_mini.feature_statements import READ_WRITE, Access, Dimension, Loop, Statement
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, IteratorKey, maximum, minimum
from ansor_mini.schedule import State
from runtime.loop_nest import GPU_KINDS, PARALLEL, SERIAL, UNROLL, VECTORIZE

Mask = Any  # True, False, or a symbol for the programs in which something holds


@dataclass(frozen=True)
class Annotated:
    """A loop of the schedule, as its parts: their keys and, for each, in which programs it is annotated.

    from_outside: parts that are not annotated lie inside those that are, else outside.
    """

    keys: tuple[IteratorKey, ...]
    masks: tuple[Mask, ...]
    from_outside: bool = False


@dataclass(frozen=True)
class UnrolledLoop:
    """A loop that the unroll limit unrolls where `mask` holds.

    product: of its extent and those of all loops inside that are not vectorised.
    """

    keys: tuple[IteratorKey, ...]
    reduce: bool
    mask: Mask
    product: Extent


@dataclass(frozen=True)
class Unrolled:
    """The loops of a stage that its limit unrolls, outer to inner.

    vector_innermost: no step has annotated a loop, so that a vectorised one, if any, is the innermost.
    """

    limit: Extent
    loops: tuple[UnrolledLoop, ...]
    vector_innermost: bool


@dataclass(frozen=True)
class Widths:
    """What annotation says about a stage: loops fused and parallel, loops fused and vectorised, unroll limit."""

    parallel: Extent
    vectorize: Extent
    unroll: Extent


def annotated_loops(
    state: State, stage: str, own: Sequence[Loop], widths: Widths, choices: Mapping[str, Sequence[Choice]]
) -> tuple[dict[str, list[Annotated]], Unrolled]:
    """The loops among a stage's own that steps annotate, by kind, and those that the unroll limit unrolls."""
    leaves = list(dict.fromkeys(loop.leaf for loop in own))
    parts = {leaf: [loop for loop in own if loop.leaf == leaf] for leaf in leaves}
    found: dict[str, list[Annotated]] = {VECTORIZE: [], UNROLL: [], PARALLEL: []}
    for leaf in leaves:
        kind = parts[leaf][0].annotation
        if kind in found:
            keys = tuple(loop.key for loop in parts[leaf])
            found[kind].append(Annotated(keys, (True,) * len(keys)))
    parallel = {leaf: widths.parallel > number for number, leaf in enumerate(leaves)}
    vector = {leaf: widths.vectorize > len(leaves) - 1 - number for number, leaf in enumerate(leaves)}
    for kind, chosen in ((PARALLEL, parallel), (VECTORIZE, vector)):
        pairs = [(loop.key, chosen[loop.leaf]) for loop in own if chosen[loop.leaf] is not False]
        if pairs:
            keys, masks = zip(*pairs)
            found[kind].append(Annotated(keys, masks, kind == PARALLEL))
    unrolled = _unrolled(_attached(state, stage, choices), parts, parallel, vector, widths.unroll)
    vector_innermost = all(loop.annotation == SERIAL for loop in own)
    return found, Unrolled(widths.unroll, tuple(reversed(unrolled)), vector_innermost)


def _attached(state: State, stage: str, choices: Mapping[str, Sequence[Choice]]) -> dict[str, Mask]:
    """The loops of a stage that have another stage inside: in which programs."""
    found: dict[str, Mask] = {}
    for place, stages in state.attached.items():
        if place.stage == stage and any(inner.name not in choices for inner in stages):
            found[place.iterator] = True
    for several in choices.values():
        for choice, further in zip(several, [*(choice.reached for choice in several[1:]), False]):
            if choice.place.stage == stage:
                here = choice.reached if further is False else choice.reached & ~further
                found[choice.place.iterator] = found.get(choice.place.iterator, False) | here
    return found


def _unrolled(
    attached: Mapping[str, Mask],
    parts: Mapping[str, Sequence[Loop]],
    parallel: Mapping[str, Mask],
    vector: Mapping[str, Mask],
    limit: Extent,
) -> list[UnrolledLoop]:
    """The loops that the unroll limit unrolls, inner to outer, as `schedule_text.auto_unrolled` finds them."""
    found: list[UnrolledLoop] = []
    alive: Mask = limit > 0
    product: Extent = 1
    for leaf in reversed(list(parts)):
        kind = parts[leaf][0].annotation
        for stops in (kind in (PARALLEL, *GPU_KINDS), parallel[leaf], attached.get(leaf, False)):
            alive = alive & negation(stops)
        is_vector = True if kind == VECTORIZE else vector[leaf]
        extent = product_of([loop.extent for loop in parts[leaf]])
        product = product * where(is_vector, 1, extent)
        alive = alive & (is_vector | (limit >= product))
        if alive is False:
            break
        if kind == SERIAL and is_vector is not True:
            keys = tuple(loop.key for loop in parts[leaf])
            found.append(UnrolledLoop(keys, parts[leaf][0].reduce, alive & negation(is_vector), product))
    return found


def negation(mask: Mask) -> Mask:
    """Where a mask does not hold."""
    return not mask if isinstance(mask, bool) else ~mask


def product_of(numbers: Sequence[Extent]) -> Extent:
    """The product of integers or symbols."""
    return math.prod(numbers)


class ArrayNest:
    """A statement's loops in all programs; loops that run once in every one of them are left out.

    inside[p]: product of the extents of loops p and further in. present[p]: where loop p runs more than once.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.loops = [loop for loop in statement.loops if (loop.extent > 1) is not False]
        self.position = {loop.key: p for p, loop in enumerate(self.loops)}
        self.present: list[Mask] = [loop.extent > 1 for loop in self.loops]
        self.inside: list[Extent] = [1]
        for loop in reversed(self.loops):
            self.inside.insert(0, self.inside[0] * loop.extent)

    @cached_property
    def widths(self) -> list[list[tuple[Extent, ...]]]:
        """For each loop position, and one more for a single iteration: the region of each access."""
        columns = [self._widths_of(access) for access in self.statement.accesses]
        return [[column[p] for column in columns] for p in range(len(self.loops) + 1)]

    def _widths_of(self, access: Access) -> list[tuple[Extent, ...]]:
        plain = len(access.loads) == 1 and not any(dimension.atoms for dimension in access.loads[0])
        if not plain:
            suffixes = [self.loops[p:] for p in range(len(self.loops) + 1)]
            return [width(self.statement, access, {each.key: each.extent for each in inner}) for inner in suffixes]
        # one affine load: add the reach of one loop after the other, inner to outer
        levels: list[tuple[Extent, ...]] = []
        reach: list[Extent] = [0] * len(access.shape)
        for loop in [None, *reversed(self.loops)]:
            if loop is not None:
                reach = [_further(r, dimension, loop) for r, dimension in zip(reach, access.loads[0])]
            levels.insert(0, tuple(minimum(r + 1, whole) for r, whole in zip(reach, access.shape)))
        return levels

    @cached_property
    def bytes(self) -> list[list[Extent]]:
        """For each loop position, and one more: the bytes that each access touches."""
        items = [access.item for access in self.statement.accesses]
        return [[item * product_of(widths) for item, widths in zip(items, level)] for level in self.widths]


def _further(reach: Extent, dimension: Dimension, loop: Loop) -> Extent:
    return reach + abs(dimension.terms[loop.key]) * (loop.extent - 1) if loop.key in dimension.terms else reach


@dataclass
class Touch:
    """The touches of one buffer in one loop: how many, and the bytes of the smallest and the largest."""

    count: Extent
    least: Extent
    most: Extent


Touches = dict[IteratorKey, dict[str, Touch]]


def touches(nests: Sequence[ArrayNest]) -> Touches:
    """For each loop and buffer, the touches by the statements inside."""
    found: Touches = {}
    for nest in nests:
        start = nest.statement.start
        shared = {loop.key for loop in nest.statement.loops[:start]} if start is not None else set()
        for position, loop in enumerate(nest.loops):
            buffers = found.setdefault(loop.key, {})
            for access, size in zip(nest.statement.accesses, nest.bytes[position]):
                count = where(loop.around, 2 if access.kind == READ_WRITE and loop.key in shared else 1, 0)
                least, most = where(loop.around, size, math.inf), where(loop.around, size, 0)
                known = buffers.get(access.buffer)
                if known is not None:
                    count = known.count + count
                    least, most = minimum(known.least, least), maximum(known.most, most)
                buffers[access.buffer] = Touch(count, least, most)
    return found


def loop_bytes(touched: Touches, key: IteratorKey) -> Extent:
    """Bytes of all buffers touched in one run of a loop."""
    return sum(touch.most for touch in touched[key].values())
