"""The loops of a statement in all programs at once: extents, annotations, regions and touches as arrays.

Paper: Ansor §5.2, App. B

What `features.Nest` says of one program. A loop that runs once in some of the programs stays in the list with extent 1;
walks over the loops carry a mask of the programs in which the loop is present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ansor_mini.feature_regions import choose, either, maximum, width
from ansor_mini.feature_statements import READ_WRITE, Loop, Statement
from ansor_mini.regions import Extent, IteratorKey, minimum
from ansor_mini.schedule import At, State
from runtime.loop_nest import PARALLEL, SERIAL, UNROLL, VECTORIZE

Mask = Extent  # True, False, or an array of bools


@dataclass(frozen=True)
class Annotated:
    """A loop of the schedule, as its parts: their keys and, for each, in which programs it is annotated.

    from_outside: parts that are not annotated lie inside those that are, else outside.
    """

    keys: tuple[IteratorKey, ...]
    masks: tuple[Mask, ...]
    from_outside: bool = False


@dataclass(frozen=True)
class Widths:
    """What annotation says about a stage: loops fused and parallel, loops fused and vectorised, unroll limit."""

    parallel: Extent
    vectorize: Extent
    unroll: Extent


def annotated_loops(
    state: State, stage: str, own: Sequence[Loop], widths: Widths
) -> dict[str, list[Annotated]]:
    """The annotated loops among a stage's own, outer to inner, by kind of annotation."""
    leaves = list(dict.fromkeys(loop.leaf for loop in own))
    parts = {leaf: [loop for loop in own if loop.leaf == leaf] for leaf in leaves}
    found: dict[str, list[Annotated]] = {VECTORIZE: [], UNROLL: [], PARALLEL: []}
    for leaf in leaves:
        kind = parts[leaf][0].annotation
        if kind != SERIAL:
            keys = tuple(loop.key for loop in parts[leaf])
            found[kind].append(Annotated(keys, (True,) * len(keys)))
    parallel = {leaf: _less(number, widths.parallel) for number, leaf in enumerate(leaves)}
    vector = {leaf: _less(len(leaves) - 1 - number, widths.vectorize) for number, leaf in enumerate(leaves)}
    for kind, chosen in ((PARALLEL, parallel), (VECTORIZE, vector)):
        pairs = [(loop.key, chosen[loop.leaf]) for loop in own if chosen[loop.leaf] is not False]
        if pairs:
            keys, masks = zip(*pairs)
            found[kind].append(Annotated(keys, masks, kind == PARALLEL))
    for leaf, mask in _unrolled(state, stage, parts, parallel, vector, widths.unroll):
        keys = tuple(loop.key for loop in parts[leaf])
        found[UNROLL].insert(0, Annotated(keys, (mask,) * len(keys)))
    return found


def _less(number: int, width: Extent) -> Mask:
    mask = number < width
    if isinstance(mask, np.ndarray):
        return mask if mask.any() else False
    return bool(mask)


def _unrolled(
    state: State,
    stage: str,
    parts: Mapping[str, Sequence[Loop]],
    parallel: Mapping[str, Mask],
    vector: Mapping[str, Mask],
    limit: Extent,
) -> list[tuple[str, Mask]]:
    """The loops that the unroll limit unrolls, inner to outer, as `schedule_text.auto_unrolled` finds them."""
    found: list[tuple[str, Mask]] = []
    alive: Mask = _positive(limit)
    product: Extent = 1
    for leaf in reversed(parts):
        kind = parts[leaf][0].annotation
        if kind == PARALLEL or parallel[leaf] is True or At(stage, leaf) in state.attached:
            break
        if parallel[leaf] is not False:
            alive = alive & ~parallel[leaf]
        is_vector = True if kind == VECTORIZE else vector[leaf]
        if is_vector is True:
            continue
        extent = _product(loop.extent for loop in parts[leaf])
        product = product * choose(is_vector, 1, extent)
        alive = alive & either(is_vector, product <= limit)
        if not np.any(alive):
            break
        if kind == SERIAL:
            found.append((leaf, alive if is_vector is False else alive & ~is_vector))
    return found


def _positive(limit: Extent) -> Mask:
    return limit > 0


def _product(numbers: Sequence[Extent]) -> Extent:
    total: Extent = 1
    for number in numbers:
        total = total * number
    return total


class ArrayNest:
    """A statement's loops in all programs; loops that run once in every one of them are left out.

    inside[p]: product of the extents of loops p and further in. present[p]: where loop p runs more than once.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.loops = [loop for loop in statement.loops if isinstance(loop.extent, np.ndarray) or loop.extent > 1]
        self.position = {loop.key: p for p, loop in enumerate(self.loops)}
        self.present: list[Mask] = [_present(loop.extent) for loop in self.loops]
        self.inside: list[Extent] = [1]
        for loop in reversed(self.loops):
            self.inside.insert(0, self.inside[0] * loop.extent)

    @cached_property
    def widths(self) -> list[list[tuple[Extent, ...]]]:
        """For each loop position, and one more for a single iteration: the region of each access."""
        statement = self.statement
        free: dict[IteratorKey, Extent] = {}
        levels = [[width(statement, access, free) for access in statement.accesses]]
        for loop in reversed(self.loops):
            free[loop.key] = loop.extent
            levels.insert(
                0,
                [width(statement, a, free) if depends_on(statement, a, loop.key) else known
                 for a, known in zip(statement.accesses, levels[0])],
            )  # fmt: skip
        return levels

    @cached_property
    def bytes(self) -> list[list[Extent]]:
        """For each loop position, and one more: the bytes that each access touches."""
        items = [access.item for access in self.statement.accesses]
        levels: list[list[Extent]] = []
        for level, widths in enumerate(self.widths):
            levels.append([
                levels[-1][n] if level and widths[n] is self.widths[level - 1][n] else item * _product(widths[n])
                for n, item in enumerate(items)
            ])  # fmt: skip
        return levels


def depends_on(statement: Statement, access: object, key: IteratorKey) -> bool:
    """Whether any index of an access may depend on a loop."""
    for load in access.loads:  # type: ignore[attr-defined]
        for dimension in load:
            if key in dimension.terms:
                return True
            if dimension.atoms and any(key in form.terms for form in statement.axes.values()):
                return True
    return False


def _present(extent: Extent) -> Mask:
    return extent > 1 if isinstance(extent, np.ndarray) else True


@dataclass
class Touch:
    """The touches of one buffer in one loop: how many, and the bytes of the smallest and the largest."""

    count: int
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
                count = 2 if access.kind == READ_WRITE and loop.key in shared else 1
                known = buffers.get(access.buffer)
                if known is None:
                    buffers[access.buffer] = Touch(count, size, size)
                else:
                    known.count += count
                    known.least, known.most = minimum(known.least, size), maximum(known.most, size)
    return found
