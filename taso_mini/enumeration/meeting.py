"""Find the pairs of equal graphs by meeting in the middle, without enumerating all graphs.

Paper: TASO §2.2; the way there is ours.

1. Group tensors by value. Two members of a class are *partners* when they share no operator on inputs alone (§4 would
   drop the pair); a tensor is useful when it has a partner. Every output of both sides of a rule is useful.
2. Build only the graphs whose outputs are useful and whose operators hang together: a node with its closure, then
   several that share operators. A rule neither side of which hangs together is several rules side by side, except, from
   four operators on, a few that chain two smaller rules.
3. For each such graph join the partners of its outputs, one output after the other; drop a join as soon as it has too
   many operators or shares one on inputs with the graph; keep it if exactly the joined tensors are its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.forms import Pairs, by_value, once
from taso_mini.enumeration.graph_sets import all_different, masks, sinks
from taso_mini.enumeration.joins import CHUNK, blocks, expand, sharing_blocks, sizes, union
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD, TermTable


@dataclass
class Partners:
    """For each tensor, the tensors of equal value that share no leaf operator with it.

    Attributes:
        start, count: where each tensor's partners begin in `others`, and how many there are.
        others: partners, tensor after tensor.
        classes: number of different values.
    """

    start: Array
    count: Array
    others: Array
    classes: int


def find_partners(table: TermTable) -> Partners:
    """Group the tensors by value and pair the members of each class."""
    inputs = len(table.space.inputs)
    order = np.argsort(table.fingerprint[inputs:], kind="stable") + inputs
    prints = table.fingerprint[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = prints[1:] != prints[:-1]
    begins = np.flatnonzero(new)
    lengths = np.diff(np.append(begins, len(order)))
    several = lengths > 1
    members = order[np.repeat(several, lengths)].astype(np.int32)
    lengths = lengths[several]
    leaves = table.leaves(table.closure[table.node[members]])
    class_start = np.repeat(np.cumsum(lengths) - lengths, lengths)
    class_length = np.repeat(lengths, lengths)
    one, other = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
    for low, high in blocks(class_length):
        which, place = expand(class_start[low:high], class_length[low:high])
        keep = ~(leaves[which + low] & leaves[place]).any(axis=1)
        one.append(members[which[keep] + low])
        other.append(members[place[keep]])
    owner, others = np.concatenate(one), np.concatenate(other)
    by_owner = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=len(table.node))
    return Partners(np.cumsum(count) - count, count, others[by_owner], len(begins))


def connected_graphs(table: TermTable, partners: Partners) -> Array:
    """Return the graphs that hang together, whose outputs are useful and whose inputs are in order."""
    useful = partners.count > 0
    inputs = len(table.space.inputs)
    roots = np.arange(inputs, len(table.template))
    last = table.first[roots] + table.outputs[roots] - 1
    roots = roots[useful[table.first[roots]] & useful[last]]
    found = [table.closure[roots]]
    small = [table.closure[roots[table.size[roots] == size]] for size in range(table.width)]
    frontier = np.concatenate(small)
    while len(frontier):
        larger = [np.zeros((0, table.width), dtype=np.int32)]
        for rows in _joined(table, frontier, small):
            larger.append(rows[all_different(table, rows)])
        frontier = np.unique(np.concatenate(larger), axis=0)
        found.append(frontier)
        frontier = frontier[sizes(frontier) < table.width]
    rows = np.concatenate(found)
    rows = rows[table.in_order(masks(table, rows))]
    outputs = sinks(table, rows)
    every = (useful[np.where(outputs == PAD, 0, outputs)] | (outputs == PAD)).all(axis=1)
    return np.unique(rows[every], axis=0)


def _joined(table: TermTable, graphs: Array, small: list[Array]) -> Iterator[Array]:
    """Yield the unions of a graph and a closure that share operators and fit, each with something the other lacks."""
    count = sizes(graphs)
    for p in range(2, table.width):
        some = graphs[count == p]
        for q in range(2, table.width):
            for whole in range(max(p, q) + 1, table.width + 1):
                shared = p + q - whole
                if shared < 1 or not len(some) or not len(small[q]):
                    continue
                for i, j in sharing_blocks(some[:, :p], small[q][:, :q], shared):
                    rows = union(some[i], small[q][j], table.width)
                    if whole == table.width:
                        rows = rows[table.in_order(masks(table, rows))]
                    yield rows


def meet(table: TermTable, partners: Partners, graphs: Array) -> Pairs:
    """Return the pairs (graph, other graph with equal outputs) that share no leaf operator."""
    most = table.width + 1
    outputs = by_value(table, sinks(table, graphs), most)
    parts = [_meet(table, partners, graphs[:0], outputs[:0])]
    first = np.where(outputs[:, 0] == PAD, 0, partners.count[outputs[:, 0] % len(partners.count)])
    for low, high in blocks(first, CHUNK // 4):
        parts.append(_meet(table, partners, graphs[low:high], outputs[low:high]))
    joined = Pairs(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("source", "target", "outputs", "results")
        )
    )
    return once(joined)


def _meet(table: TermTable, partners: Partners, graphs: Array, outputs: Array) -> Pairs:
    leaves = table.leaves(graphs)
    owner = np.arange(len(graphs))
    other = np.full((len(graphs), table.width), PAD, dtype=np.int32)
    chosen = np.full(outputs.shape, PAD, dtype=np.int32)
    for place in range(outputs.shape[1]):
        wanted = outputs[owner, place]
        open_rows = wanted != PAD
        if not open_rows.any():
            break
        counts = np.where(open_rows, partners.count[np.where(open_rows, wanted, 0)], 1)
        grown = []
        for low, high in blocks(counts):
            which, at = expand(
                np.where(open_rows, partners.start[np.where(open_rows, wanted, 0)], 0)[low:high], counts[low:high]
            )
            which += low
            tensor = np.where(open_rows[which], partners.others[at], PAD)
            below = table.closure[table.node[np.where(tensor == PAD, 0, tensor)]]  # none for inputs
            wide = union(other[which], below, 2 * table.width)
            keep = (sizes(wide) <= table.width) & ~(table.leaves(below) & leaves[owner[which]]).any(axis=1)
            picked = chosen[which[keep]]
            picked[:, place] = tensor[keep]
            grown.append((owner[which[keep]], wide[keep][:, : table.width], picked))
        owner, other, chosen = (np.concatenate([part[i] for part in grown]) for i in range(3))
    exact = (np.sort(chosen, axis=1) == sinks(table, other)[:, : outputs.shape[1]]).all(axis=1)
    exact &= (sinks(table, other)[:, outputs.shape[1] :] == PAD).all(axis=1) & all_different(table, other)
    owner, other, chosen = owner[exact], other[exact], chosen[exact]
    return Pairs(graphs[owner], other, outputs[owner], chosen)
