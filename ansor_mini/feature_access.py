"""What a statement's accesses to its buffers cost, in all programs at once: lines, reuse and stride.

Paper: Ansor App. B

The array form of `features._access`: every walk over the loops, inner to outer, carries a mask of the programs for
which it has not come to an end.
"""

from __future__ import annotations

import numpy as np

from ansor_mini.feature_names import ACCESS, SLOTS
from ansor_mini.feature_nests import ArrayNest, Mask, Touches
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import Access
from ansor_mini.regions import Extent

_BYTES, _LINES, _REUSE, _STRIDE = 3, 5, 7, 17


def access_features(nest: ArrayNest, touched: Touches, line: int, out: np.ndarray) -> None:
    """Write the five slots [5 · 18, programs], most lines first."""
    programs = out.shape[1]
    accesses = nest.statement.accesses
    rows = np.zeros((len(accesses), len(ACCESS), programs))
    totals = [_total(touched, loop.key) for loop in nest.loops]
    for number, access in enumerate(accesses):
        _access(nest, number, access, touched, totals, line, rows[number])
    slots = out.reshape(SLOTS, len(ACCESS), programs)
    count = min(len(accesses), SLOTS)
    order = np.lexsort((-rows[:, _BYTES], -rows[:, _LINES]), axis=0)[:count]
    slots[:count] = np.take_along_axis(rows, order[:, None, :], 0)


def _total(touched: Touches, key: tuple[str, str]) -> Extent:
    """Bytes of all buffers touched in one run of a loop."""
    return sum(touch.most for touch in touched[key].values())


def _access(
    nest: ArrayNest, number: int, access: Access, touched: Touches, totals: list[Extent], line: int, row: np.ndarray
) -> None:
    total, widths = nest.inside[0], nest.widths[0][number]
    steps = [index_stride(nest.statement, access, loop.key) for loop in nest.loops]
    row[access.kind] = 1
    row[_BYTES] = total * access.item
    row[_BYTES + 1] = nest.bytes[0][number]
    passed, stride, last = _walk_strides(nest, steps, row.shape[1])
    row[_LINES] = np.maximum(total / passed * np.minimum(1.0, stride * access.item / line), 1.0)
    row[_LINES + 1] = np.maximum(row[_BYTES + 1] / np.minimum(_contiguous(access, widths), line), 1.0)
    moves = [present & depends for present, (depends, _) in zip(nest.present, steps)]
    _reuse(nest, access, moves, touched, totals, row[_REUSE : _REUSE + 6])
    count = row[_REUSE + 5]
    none = count <= 0.5
    divisor = np.where(none, 0.5, count)
    row[_REUSE + 6 : _STRIDE] = row[_BYTES:_REUSE] / divisor
    row[_STRIDE] = last


def _walk_strides(
    nest: ArrayNest, steps: list[tuple[Mask, Extent]], programs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterations passed before a loop moves the access, its stride there, and that of the innermost loop."""
    open_ = np.ones(programs, dtype=bool)  # no loop that moves it has been met
    first = np.ones(programs, dtype=bool)  # no loop has been met
    passed, stride, last = np.ones(programs), np.zeros(programs), np.zeros(programs)
    for loop, present, (depends, step) in zip(reversed(nest.loops), reversed(nest.present), reversed(steps)):
        if depends is not False:
            hit = open_ & present & depends
            np.copyto(stride, step, where=hit)
            np.copyto(last, step, where=hit & first)
            open_ &= ~hit
        np.multiply(passed, loop.extent, out=passed, where=open_)
        first &= ~present if isinstance(present, np.ndarray) else not present
        if not open_.any():
            break
    return passed, stride, last


def _contiguous(access: Access, widths: tuple[Extent, ...]) -> Extent:
    """Bytes that lie next to each other in a region."""
    run: Extent = access.item
    whole: Mask = True
    for extent, size in zip(reversed(widths), reversed(access.shape)):
        run = run * np.where(whole, extent, 1)
        whole = whole & (extent >= size)
        if not np.any(whole):
            break
    return run


def _reuse(
    nest: ArrayNest, access: Access, moves: list[Mask], touched: Touches, totals: list[Extent], row: np.ndarray
) -> None:
    """One-hot of loop reuse, serial reuse and none; then distance in iterations and in bytes, and the count."""
    open_ = np.ones(row.shape[1], dtype=bool)
    nearest: Extent = float(sum(each.item for each in nest.statement.accesses))
    for position in range(len(nest.loops) - 1, -1, -1):
        loop, present, moved = nest.loops[position], nest.present[position], moves[position]
        touch = touched[loop.key][access.buffer]
        hit = open_ & present & ~moved if isinstance(moved, np.ndarray) else open_ & present & (not moved)
        if hit.any():
            row[0] += hit
            np.copyto(row[3], nest.inside[position + 1], where=hit)
            np.copyto(row[4], nearest, where=hit)
            np.copyto(row[5], loop.extent, where=hit)
            open_ &= ~hit
        if touch.count > 1:
            hit = open_ & present
            row[1] += hit
            np.copyto(row[3], touch.least // access.item / loop.extent, where=hit)
            np.copyto(row[4], totals[position] / loop.extent, where=hit)
            np.copyto(row[5], touch.count - 1, where=hit)
            open_ &= ~hit
        nearest = np.where(present, totals[position], nearest)
        if not open_.any():
            break
    row[2] = open_
