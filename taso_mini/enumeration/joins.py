"""Joins of closures: sorted rows of node numbers, filled up with PAD.

>>> a = np.array([[1, 5, PAD], [2, 6, PAD]], dtype=np.int32)
>>> union(a, a[::-1], 4).tolist() == [[1, 2, 5, 6], [1, 2, 5, 6]]
True
>>> sharing(a, np.array([[1, 7, PAD]], dtype=np.int32), 1)
(array([0]), array([0]))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD

CHUNK = 1 << 20  # rows handled at once


def union(a: Array, b: Array, width: int) -> Array:
    """Return the union of each row of `a` with the same row of `b`, `width` places wide.

    A union that does not fit is cut; compare `sizes` of a wider one first.
    """
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    both[:, 1:][both[:, 1:] == both[:, :-1]] = PAD
    both = np.sort(both, axis=1)
    if both.shape[1] < width:
        filler = np.full((len(both), width - both.shape[1]), PAD, dtype=both.dtype)
        return np.concatenate([both, filler], axis=1)
    return both[:, :width]


def sizes(rows: Array) -> Array:
    """Return how many nodes each row holds."""
    return (rows != PAD).sum(axis=1)


def contains(rows: Array, nodes: Array) -> Array:
    """Return whether each row holds the node given for it."""
    return (rows == nodes[:, None]).any(axis=1)


def common(a: Array, b: Array) -> Array:
    """Return how many nodes each row of `a` shares with the same row of `b`."""
    total = np.zeros(len(a), dtype=np.int64)
    for column in b.T:
        total += contains(a, column) & (column != PAD)
    return total


def _subsets(rows: Array, size: int) -> tuple[Array, Array]:
    """Return every subset of `size` nodes of each row as one number, and the row it comes from."""
    keys, owners = [], []
    for places in itertools.combinations(range(rows.shape[1]), size):
        part = rows[:, places]
        full = np.flatnonzero(part[:, -1] != PAD) if size else np.arange(len(rows))
        key = np.zeros(len(full), dtype=np.uint64)
        for column in part[full].T:  # exact for two nodes; a hash beyond, whose accidents the caller's test drops
            key = key * np.uint64(0x100000001B3 if size > 2 else 1 << 32) + column.astype(np.uint64)
        keys.append(key)
        owners.append(full)
    return np.concatenate(keys), np.concatenate(owners)


def expand(starts: Array, counts: Array) -> tuple[Array, Array]:
    """Return, for ranges `starts[i]` to `starts[i] + counts[i]`, the number i and the place, range after range.

    >>> expand(np.array([3, 9]), np.array([2, 1]))
    (array([0, 0, 1]), array([3, 4, 9]))
    """
    which = np.repeat(np.arange(len(starts)), counts)
    before = np.cumsum(counts) - counts
    return which, np.arange(int(counts.sum())) - before[which] + starts[which]


def sharing_blocks(
    a: Array, b: Array, count: int, *, keep: Callable[[Array, Array], Array] | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield the pairs (row of `a`, row of `b`) that share exactly `count` nodes, block by block.

    With `keep`, only those for which it returns true; it is asked first, so what it drops costs little.
    """
    keys_a, owner_a = _subsets(a, count)
    keys_b, owner_b = _subsets(b, count)
    order = np.argsort(keys_b, kind="stable")
    keys_b, owner_b = keys_b[order], owner_b[order]
    start = np.searchsorted(keys_b, keys_a, side="left")
    many = np.searchsorted(keys_b, keys_a, side="right") - start
    for low, high in blocks(many):
        which, place = expand(start[low:high], many[low:high])
        i, j = owner_a[low:high][which], owner_b[place]
        if keep is not None:
            wanted = keep(i, j)
            i, j = i[wanted], j[wanted]
        exact = common(a[i], b[j]) == count
        yield i[exact], j[exact]


def sharing(a: Array, b: Array, count: int) -> tuple[Array, Array]:
    """Return the pairs (row of `a`, row of `b`) that share exactly `count` nodes."""
    found = list(sharing_blocks(a, b, count))
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate([i for i, _ in found]), np.concatenate([j for _, j in found])


def blocks(counts: Array, limit: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges whose counts add up to about `limit`."""
    total = np.cumsum(counts)
    low = 0
    while low < len(counts):
        base = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, base + limit, side="right")))
        yield low, high
        low = high
