"""Graphs as sorted rows of nodes, and the enumeration of all of them.

Paper: TASO §2.2, Algorithm 1. The paper visits every order in which a graph can be written down. A row of sorted node
numbers is that graph once, and `ordered_graphs` says how many visits it stands for:

    (ways to order its operators) x (ways to name its inputs, product over the families of C(inputs, used))

which recovers the paper's count exactly. The rules are found without this enumeration (see `meeting`); it is the
check that nothing is missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from taso_mini.enumeration.joins import CHUNK, blocks, expand, sharing_blocks, union
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import NONE, PAD, TermTable, mix


def tensors(table: TermTable, rows: Array) -> Array:
    """Return the tensors that the nodes of each row compute, (rows, 2 * width), PAD where there is none."""
    safe = np.where(rows == PAD, 0, rows)
    first = np.where(rows == PAD, PAD, table.first[safe])
    second = np.where((rows == PAD) | (table.outputs[safe] < 2), PAD, table.first[safe] + 1)
    return np.concatenate([first, second], axis=1)


def sinks(table: TermTable, rows: Array) -> Array:
    """Return each row's outputs, the tensors that no node of the row takes, sorted and filled up with PAD."""
    parts = []
    for low in range(0, len(rows), CHUNK // 8):
        part = rows[low : low + CHUNK // 8]
        found = tensors(table, part)
        taken = table.arguments[np.where(part == PAD, 0, part)]
        taken[part == PAD] = NONE
        taken = taken.reshape(len(part), -1)
        for column in taken.T:
            found[found == column[:, None]] = PAD
        parts.append(np.sort(found, axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, 2 * rows.shape[1]), dtype=np.int32)


def masks(table: TermTable, rows: Array) -> Array:
    """Return the inputs that each row uses, as bits."""
    total = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        total |= np.where(column == PAD, 0, table.mask[np.where(column == PAD, 0, column)])
    return total


def all_different(table: TermTable, rows: Array) -> Array:
    """Return whether no two tensors of a row are equal; other rows are no graphs."""
    found = tensors(table, rows)
    prints = np.sort(np.where(found == PAD, 0, table.fingerprint[np.where(found == PAD, 0, found)]), axis=1)
    same: Array = ((prints[:, 1:] == prints[:, :-1]) & (prints[:, 1:] != 0)).any(axis=1)
    return ~same


def graph_fingerprints(table: TermTable, outputs: Array) -> Array:
    """Return the fingerprint of each row of outputs: the sum of the outputs' scrambled fingerprints."""
    parts = mix(table.fingerprint[np.where(outputs == PAD, 0, outputs)])
    result: Array = np.where(outputs == PAD, np.uint64(0), parts).sum(axis=1, dtype=np.uint64)
    return result


def larger(table: TermTable, rows: Array, size: int, *, last: bool) -> Iterator[Array]:
    """Yield all graphs of `size` operators, block by block, from `rows`, all those of `size - 1`.

    A graph is its last node added to the rest, so each comes once. With `last`, only those with inputs in order.
    """
    width = table.width
    highest = np.where(rows == PAD, NONE, rows).max(axis=1)
    used = masks(table, rows)
    for above in range(1, size + 1):
        nodes = np.arange(*table.level_ends[above - 1 : above + 1])
        if above == 1:
            low = np.searchsorted(nodes, highest + 1)
            counts = np.where(highest >= nodes[-1], 0, len(nodes) - low)
            found = _ranges(low, counts)
        else:
            below = np.where(table.closure[nodes] == nodes[:, None], PAD, table.closure[nodes])
            below = np.sort(below, axis=1)[:, : max(above - 1, 1)]
            found = sharing_blocks(rows[:, : size - 1], below, above - 1)
        for i, j in found:
            keep = nodes[j] > highest[i]
            if last:
                keep &= table.in_order(used[i] | table.mask[nodes[j]])
            i, top = i[keep], nodes[j[keep]]
            made = union(rows[i], top[:, None].astype(np.int32), width)
            yield made[all_different(table, made)]


def _ranges(starts: Array, counts: Array) -> Iterator[tuple[Array, Array]]:
    """Yield what `expand` gives, block by block."""
    for low, high in blocks(counts):
        which, place = expand(starts[low:high], counts[low:high])
        yield which + low, place


def every_graph(table: TermTable) -> Iterator[tuple[int, Array]]:
    """Yield (size, rows) of all graphs with inputs in order, up to the table's size.

    The table must hold all terms of each size, the last one with inputs in order.
    """
    rows = np.full((1, table.width), PAD, dtype=np.int32)
    for size in range(1, table.width + 1):
        last = size == table.width
        kept = []
        for block in larger(table, rows, size, last=last):
            yield size, block[table.in_order(masks(table, block))]
            if not last:
                kept.append(block)
        rows = np.concatenate(kept) if kept else rows


def orderings(table: TermTable, rows: Array) -> Array:
    """Return in how many orders each row's operators can be written down.

    An operator comes after its arguments, and the first operand of a concatenation before the second.
    """
    count = rows.shape[1]
    before = np.zeros(rows.shape, dtype=np.int64)
    safe = np.where(rows == PAD, 0, rows)
    owners = np.where(table.arguments[safe] == NONE, NONE, table.node[table.arguments[safe]])
    owners[rows == PAD] = NONE
    concat = [i for i, one in enumerate(table.space.templates) if one.operator == "concat"]
    joined = np.isin(table.template[safe], concat) & (rows != PAD)
    for place in range(count):
        here = rows[:, place, None]
        for argument in (0, 1):
            before |= (owners[:, :, argument] == here).astype(np.int64) << place
        for other in range(count):  # `other` is the second operand of a concatenation whose first is at `place`
            ordered = joined & (owners[:, :, 0] == here) & (owners[:, :, 1] == rows[:, other, None])
            earlier = ordered.any(axis=1) & (place != other)
            before[:, other] |= earlier.astype(np.int64) << place
    present = ((rows != PAD).astype(np.int64) << np.arange(count)).sum(axis=1)
    ways = np.zeros((len(rows), 1 << count), dtype=np.int64)
    ways[:, 0] = 1
    for subset in range(1, 1 << count):
        for place in range(count):
            if subset >> place & 1:
                rest = subset & ~(1 << place)
                ways[:, subset] += np.where(before[:, place] & ~rest, 0, ways[:, rest])
    return ways[np.arange(len(rows)), present]


def namings(table: TermTable, rows: Array) -> Array:
    """Return how many graphs with other inputs each row with inputs in order stands for."""
    used = masks(table, rows)
    total = np.ones(len(rows), dtype=np.int64)
    families: dict[int, int] = {}
    for one, bit in zip(table.space.inputs, table.space.bits, strict=True):
        families[one.family] = families.get(one.family, 0) | bit
    for bits in families.values():
        count = bin(bits).count("1")
        taken = sum(((used & (1 << i)) != 0).astype(np.int64) for i in range(bits.bit_length()) if bits >> i & 1)
        total *= np.array([math.comb(count, k) for k in range(count + 1)])[taken]
    return total


def ordered_graphs(table: TermTable, rows: Array) -> int:
    """Return how many graphs Algorithm 1 visits for these rows."""
    return int((orderings(table, rows) * namings(table, rows)).sum())


def equal_pairs(table: TermTable, rows: Array, outputs: Array) -> tuple[Array, Array]:
    """Return every pair (i < j) of rows with equal fingerprints."""
    prints = graph_fingerprints(table, outputs)
    order = np.argsort(prints, kind="stable")
    ordered = prints[order]
    end = np.searchsorted(ordered, ordered, side="right")
    after = np.arange(len(order)) + 1
    which, place = expand(after, end - after)
    i, j = order[which], order[place]
    return np.minimum(i, j), np.maximum(i, j)


def share_leaf(table: TermTable, one: Array, other: Array) -> Array:
    """Return whether each row of `one` shares an operator on inputs alone with the same row of `other`."""
    result: Array = (table.leaves(one) & table.leaves(other)).any(axis=1)
    return result
