"""What a statement's accesses to its buffers cost, in all programs of a structure at once: lines, reuse and stride.

Paper: Ansor App. B

The symbolic form of `features._access`. A walk over the loops, inner to outer, that stops at the first loop with some
property becomes a fold from the outermost loop inwards: where a loop has the property, its values replace those found
further out.
"""

from __future__ import annotations

from typing import Any

from ansor_mini.feature_names import SLOTS
from ansor_mini.feature_nests import ArrayNest, Mask, Touches, loop_bytes, negation
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import Access
from ansor_mini.feature_tape import where
from ansor_mini.regions import Extent, maximum, minimum

_BYTES, _LINES = 3, 5

Row = list[Any]


def access_features(nest: ArrayNest, touched: Touches, line: int) -> list[Row]:
    """The 18 features of each of the first five accesses, those of most lines first."""
    accesses = nest.statement.accesses
    rows = [_access(nest, number, access, touched, line) for number, access in enumerate(accesses)]
    for done in range(min(SLOTS, len(rows) - 1)):
        for number in range(len(rows) - 1, done, -1):
            before, after = rows[number - 1], rows[number]
            swap = (after[_LINES] > before[_LINES]) | (
                (after[_LINES] == before[_LINES]) & (after[_BYTES] > before[_BYTES])
            )
            rows[number - 1] = [where(swap, b, a) for a, b in zip(before, after)]
            rows[number] = [where(swap, a, b) for a, b in zip(before, after)]
    return rows[:SLOTS]


def _access(nest: ArrayNest, number: int, access: Access, touched: Touches, line: int) -> Row:
    total, widths = nest.inside[0], nest.widths[0][number]
    steps = [index_stride(nest.statement, access, loop.key) for loop in nest.loops]
    passed, stride, last = _strides(nest, steps)
    unique = nest.bytes[0][number]
    numbers = [
        total * access.item,
        unique,
        maximum(total / passed * minimum(1.0, stride * access.item / line), 1.0),
        maximum(unique / minimum(_contiguous(access, widths), line), 1.0),
    ]
    moves = [present & depends for present, (depends, _) in zip(nest.present, steps)]
    reuse = _reuse(nest, access, moves, touched)
    divisor = where(reuse[5] > 0.5, reuse[5], 0.5)
    return [*(int(access.kind == kind) for kind in range(3)), *numbers, *reuse, *(n / divisor for n in numbers), last]


def _strides(nest: ArrayNest, steps: list[tuple[Mask, Extent]]) -> tuple[Extent, Extent, Extent]:
    """Iterations passed before a loop moves the access, its stride there, and that of the innermost loop."""
    passed, stride, last = 1, 0, 0
    for loop, present, (depends, step) in zip(nest.loops, nest.present, steps):
        hit = present & depends
        passed = where(hit, 1, passed if depends is True else loop.extent * passed)
        stride = where(hit, step, stride)
        last = where(present, where(depends, step, 0), last)
    return passed, stride, last


def _contiguous(access: Access, widths: tuple[Extent, ...]) -> Extent:
    """Bytes that lie next to each other in a region."""
    run: Extent = access.item
    whole: Mask = True
    for extent, size in zip(reversed(widths), reversed(access.shape)):
        run = run * where(whole, extent, 1)
        whole = whole & (extent >= size)
    return run


def _reuse(nest: ArrayNest, access: Access, moves: list[Mask], touched: Touches) -> Row:
    """One-hot of loop reuse, serial reuse and none; then distance in iterations and in bytes, and the count."""
    by_loop, by_statement, iterations, distance, count = False, False, 0, 0, 0
    nearest = _bytes_inside(nest, touched)
    for position, (loop, present, moved) in enumerate(zip(nest.loops, nest.present, moves)):
        touch = touched[loop.key][access.buffer]
        serial = moved & (touch.count > 1)
        iterations = where(serial, touch.least / access.item / loop.extent, iterations)
        distance = where(serial, loop_bytes(touched, loop.key) / loop.extent, distance)
        count = where(serial, touch.count - 1, count)
        again = present & negation(moved)
        iterations = where(again, nest.inside[position + 1], iterations)
        distance = where(again, nearest[position], distance)
        count = where(again, loop.extent, count)
        by_loop = (by_loop & negation(serial)) | again
        by_statement = (by_statement & negation(again)) | serial
    return [by_loop, by_statement, negation(by_loop | by_statement), iterations, distance, count]


def _bytes_inside(nest: ArrayNest, touched: Touches) -> list[Extent]:
    """For each loop, the bytes touched in one of its iterations: those of the next loop inside that runs."""
    nearest: list[Extent] = [sum(each.item for each in nest.statement.accesses)]
    for loop, present in zip(reversed(nest.loops[1:]), reversed(nest.present[1:])):
        nearest.insert(0, where(present, loop_bytes(touched, loop.key), nearest[0]))
    return nearest
