"""What a statement's accesses to its buffers cost, in all programs of a structure at once: lines, reuse and stride.

Paper: Ansor App. B

The symbolic form of `features._access`. A walk over the loops, inner to outer, that stops at the first loop with some
property becomes a fold from the outermost loop inwards: where a loop has the property, its values replace those found
further out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansor_mini.feature_names import SLOTS
from ansor_mini.feature_nests import ArrayNest, Mask, Touches, loop_bytes, negation
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import Access
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, maximum, minimum

Row = list[Any]


@dataclass
class _Cost:
    """What is sorted: numbers from which the 18 features follow."""

    kind: Extent  # read, write, or both
    bytes: Extent
    unique: Extent
    lines: Extent
    unique_lines: Extent
    reuse: Extent  # 0 in a loop, 1 by another statement, 2 none
    iterations: Extent
    distance: Extent
    count: Extent
    stride: Extent

    def chosen(self, condition: Mask, other: _Cost) -> _Cost:
        """These where the condition holds, the other ones elsewhere."""
        return _Cost(*(where(condition, a, b) for a, b in zip(vars(self).values(), vars(other).values())))

    def row(self) -> Row:
        """The features, in the order of `feature_names.ACCESS`."""
        kinds = [self.kind == kind for kind in range(3)]
        numbers = [self.bytes, self.unique, self.lines, self.unique_lines]
        reuse = [*(self.reuse == kind for kind in range(3)), self.iterations, self.distance, self.count]
        divisor = where(self.count > 0.5, self.count, 0.5)
        return [*kinds, *numbers, *reuse, *(number / divisor for number in numbers), self.stride]


def access_features(nest: ArrayNest, touched: Touches, line: int) -> list[Row]:
    """The 18 features of each of the first five accesses, those of most lines first."""
    accesses = nest.statement.accesses
    costs = [_cost(nest, number, access, touched, line) for number, access in enumerate(accesses)]
    for done in range(min(SLOTS, len(costs) - 1)):
        for number in range(len(costs) - 1, done, -1):
            before, after = costs[number - 1], costs[number]
            more = (after.lines == before.lines) & (after.bytes > before.bytes)
            swap = (after.lines > before.lines) | more
            costs[number - 1 : number + 1] = after.chosen(swap, before), before.chosen(swap, after)
    return [cost.row() for cost in costs[:SLOTS]]


def _cost(nest: ArrayNest, number: int, access: Access, touched: Touches, line: int) -> _Cost:
    total, widths = nest.inside[0], nest.widths[0][number]
    steps = [index_stride(nest.statement, access, loop.key) for loop in nest.loops]
    passed, stride, last = _strides(nest, steps)
    unique = nest.bytes[0][number]
    lines = maximum(total / passed * minimum(1.0, stride * access.item / line), 1.0)
    unique_lines = maximum(unique / minimum(_contiguous(access, widths), line), 1.0)
    moves = [present & depends for present, (depends, _) in zip(nest.present, steps)]
    reuse, iterations, distance, count = _reuse(nest, access, moves, touched)
    traffic = (total * access.item, unique, lines, unique_lines)
    return _Cost(access.kind, *traffic, reuse, iterations, distance, count, last)


def _strides(nest: ArrayNest, steps: list[tuple[Mask, Extent]]) -> tuple[Extent, Extent, Extent]:
    """Iterations passed before a loop moves the access, its stride there, and that of the innermost loop."""
    passed, stride = nest.inside[0], 0
    for first, last, runs in _neighbours(nest, [depends for depends, _ in steps]):
        depends = steps[first][0]
        passed = where(runs & depends, nest.inside[last + 1], passed)
        for present, (_, step) in zip(nest.present[first : last + 1], steps[first : last + 1]):
            stride = where(present & depends, step, stride)
    return passed, stride, where(passed == 1, stride, 0)


def _neighbours(nest: ArrayNest, facts: Sequence[Mask]) -> list[tuple[int, int, Mask]]:
    """Loops next to each other of which the same is known: first, last, and where any of them is present.

    Whichever of them is the innermost one present, the same loops that are present lie inside of it.
    """
    found: list[tuple[int, int, Mask]] = []
    for position, (fact, present) in enumerate(zip(facts, nest.present)):
        if found and isinstance(fact, bool) and fact is facts[position - 1]:
            first = found.pop()[0]
            found.append((first, position, nest.inside[first] > nest.inside[position + 1]))
        else:
            found.append((position, position, present))
    return found


def _contiguous(access: Access, widths: tuple[Extent, ...]) -> Extent:
    """Bytes that lie next to each other in a region."""
    run: Extent = access.item
    whole: Mask = True
    for extent, size in zip(reversed(widths), reversed(access.shape)):
        run = run * where(whole, extent, 1)
        whole = whole & (extent >= size)
    return run


def _reuse(
    nest: ArrayNest, access: Access, moves: list[Mask], touched: Touches
) -> tuple[Extent, Extent, Extent, Extent]:
    """Loop reuse, serial reuse or none as 0, 1 or 2; then distance in iterations and in bytes, and the count."""
    by_statement, iterations, distance, count = False, 0, 0, 0
    nearest = _bytes_inside(nest, touched)
    for first, last, runs in _neighbours(nest, [False if moved is False else None for moved in moves]):
        loop, moved = nest.loops[last], moves[last]
        touch = touched[loop.key][access.buffer]
        serial = moved & (touch.count > 1)
        iterations = where(serial, touch.least / access.item / loop.extent, iterations)
        distance = where(serial, loop_bytes(touched, loop.key) / loop.extent, distance)
        count = where(serial, touch.count - 1, count)
        again = runs & negation(moved)
        iterations = where(again, nest.inside[last + 1], iterations)
        distance = where(again, nearest[last], distance)
        for each, present in zip(nest.loops[first : last + 1], nest.present[first : last + 1]):
            count = where(present & negation(moved), each.extent, count)
        by_statement = (by_statement & negation(again)) | serial
    return where(by_statement, 1, where(count > 0, 0, 2)), iterations, distance, count


def _bytes_inside(nest: ArrayNest, touched: Touches) -> list[Extent]:
    """For each loop, the bytes touched in one of its iterations: those of the next loop inside that runs."""
    nearest: list[Extent] = [sum(each.item for each in nest.statement.accesses)]
    for loop, present in zip(reversed(nest.loops[1:]), reversed(nest.present[1:])):
        nearest.insert(0, where(present, loop_bytes(touched, loop.key), nearest[0]))
    return nearest
