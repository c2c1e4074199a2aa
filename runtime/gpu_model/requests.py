"""What the loads and stores of one warp cost the load/store unit, from the addresses its lanes really use.

The address of every lane at every iteration of a group is computed, at a few sample points of all other loops; so
divisions, remainders and odd strides need no case of their own.

1. A thread's accesses to neighbouring addresses, aligned to 16 bytes, are one request where the compiler may join them:
   always in shared memory, in global memory along vectorised loops only.
2. A request to shared memory takes as many cycles as words meet in one bank, and half as many as a lane has words.
3. A request to global memory takes a cycle for four 32-byte sectors, and one for every 128-byte line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.expr import ITEM_SIZE, Buffer, Expr
from runtime.expr_tree import free_variables
from runtime.gpu_model.sites import Site
from runtime.indices.index_grid import Grid
from runtime.loop_nest import VECTORIZE

WARP = 32
SECTOR, LINE, BANKS, WORD, WIDEST = 32, 128, 32, 4, 16  # bytes, but for the number of banks
SAMPLES = (0.0, 0.55)  # where in their ranges the loops around a group are looked at
MOST_POINTS = 256  # iterations of a group that are looked at


@dataclass(frozen=True)
class Requests:
    """One access in one group, for a warp: requests, cycles of the load/store unit, and bytes of its sectors."""

    count: float
    cycles: float
    sector_bytes: float


def warp_requests(site: Site, buffer: Buffer, indices: Sequence[Expr]) -> Requests:
    """The mean over the sample points of what an access costs a warp in one group of its site."""
    found = [_at(site, buffer, indices, where) for where in SAMPLES]
    return Requests(*(float(np.mean([getattr(r, name) for r in found])) for name in Requests.__dataclass_fields__))


def _at(site: Site, buffer: Buffer, indices: Sequence[Expr], where: float) -> Requests:
    addresses = _addresses(site, buffer, indices, where)
    if addresses is None:  # the address comes from memory: every lane goes its own way
        shared = buffer.scope == "shared"
        return Requests(site.points, site.points * WARP / (4 if shared else 1), site.points * WARP * SECTOR)
    item = ITEM_SIZE[buffer.dtype]
    rows = np.unique(addresses, axis=0)  # [different accesses, lanes]
    rows, item = _joined(rows, item, buffer, site, indices)
    # Accesses that differ by whole lines cost the same.
    rows, counts = np.unique(rows - rows.min(axis=1, keepdims=True) // LINE * LINE, axis=0, return_counts=True)
    if buffer.scope == "shared":
        return Requests(counts.sum(), float(counts @ _shared_cycles(rows, item)), 0.0)
    sectors, lines = _different(rows // SECTOR), _different(rows // LINE)
    cycles = np.maximum(sectors / 4, lines)
    return Requests(counts.sum(), float(counts @ cycles), float(counts @ sectors) * SECTOR)


def _addresses(site: Site, buffer: Buffer, indices: Sequence[Expr], where: float) -> np.ndarray | None:
    """Byte addresses in the buffer, int64 [iterations of the group, lanes]; None when they come from memory."""
    extents, axes = _space(site, frozenset().union(*map(free_variables, indices)), where)
    grid = Grid(extents, axes)
    try:
        place = np.zeros(grid.shape, dtype=np.int64)
        for index, extent in zip(indices, buffer.shape):
            place = place * extent + grid.values(index)
    except (TypeError, KeyError):
        return None
    return place.reshape(-1, extents["lane"]) * ITEM_SIZE[buffer.dtype]


def _space(site: Site, used: frozenset[str], where: float) -> tuple[Mapping[str, int], Mapping[str, np.ndarray]]:
    """The grid of the group's loops and the lanes, and the values of all loops on it."""
    extents: dict[str, int] = {}
    points = 1
    for loop, count in reversed(site.grouped):
        if loop.var.name in used:
            extents[loop.var.name] = count = min(count, max(1, MOST_POINTS // points))
            points *= count
    extents = dict(reversed(extents.items()))
    extents["lane"] = min(WARP, site.threads)
    rank = len(extents)
    axes = {
        name: np.arange(extent, dtype=np.int64).reshape((-1,) + (1,) * (rank - 1 - position))
        for position, (name, extent) in enumerate(extents.items())
    }
    for loop in site.loops:
        name = loop.var.name
        if name not in axes:
            axes[name] = np.asarray(int(where * (loop.extent - 1)), dtype=np.int64)
        elif any(loop is piece and count < loop.extent for piece, count in site.grouped):
            start = int(where * (loop.extent - 1))
            axes[name] = axes[name] + start - start % extents[name]
    if site.thread is not None:
        warps = max(1, site.thread.extent // WARP)
        axes[site.thread.var.name] = axes["lane"] + WARP * int(where * (warps - 1))
    return extents, axes


def _joined(rows: np.ndarray, item: int, buffer: Buffer, site: Site, indices: Sequence[Expr]) -> tuple[np.ndarray, int]:
    """Accesses of each thread to aligned neighbours as one, of up to 16 bytes; with the bytes that a lane moves."""
    vectorised = {loop.var.name for loop, _ in site.grouped if loop.kind == VECTORIZE}
    if buffer.scope != "shared" and not (indices and vectorised & free_variables(indices[-1])):
        return rows, item
    while item < WIDEST and len(rows) > 1:
        even, odd = rows[0::2], rows[1::2]
        if len(even) != len(odd) or (even % (2 * item)).any() or (odd != even + item).any():
            break
        rows, item = even, 2 * item
    return rows, item


def _different(rows: np.ndarray) -> np.ndarray:
    """How many different numbers each row holds.

    >>> _different(np.array([[3, 1, 3], [2, 2, 2]])).tolist()
    [2, 1]
    """
    return 1 + (np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1)


def _shared_cycles(rows: np.ndarray, item: int) -> np.ndarray:
    """Cycles of requests to shared memory: as many as words meet in one bank, half as many as a lane has.

    >>> lanes = np.arange(32)
    >>> _shared_cycles(np.array([lanes * 4, lanes * 8, lanes * 128]), 4).tolist()
    [1.0, 2.0, 32.0]
    """
    words = (rows[:, :, None] + np.arange(0, max(item, WORD), WORD)).reshape(len(rows), -1) // WORD
    words.sort(axis=1)
    first = np.diff(words, axis=1, prepend=-1) != 0  # of equal words one is read, for all lanes
    cells = np.arange(len(rows))[:, None] * BANKS + words % BANKS
    degree = np.bincount(cells[first], minlength=len(rows) * BANKS).reshape(-1, BANKS).max(axis=1)
    return np.maximum(degree, item / (2 * WORD)).astype(np.float64)
