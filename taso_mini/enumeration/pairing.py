"""Pair the graphs of equal outputs by grouping, for spaces of which `meeting.meet` would try too many joins.

Paper: TASO §2.2; the way there is ours. `meet` takes every graph and joins the partners of its outputs, one after the
other, which multiplies the sizes of the outputs' classes. Here nothing is tried that cannot fit:

1. Two graphs that both hang together are found by sorting all of them by the value of their outputs. Those of one value
   are put together by their operators on inputs, and only sets without a common one are paired.
2. A graph that falls apart is several smaller ones, its *components*, which also were found. For each way to share out
   the outputs of a graph that hangs together, components are looked up by value, and only those with as many operators
   as the other outputs leave room for.

A rule neither side of which hangs together is several rules side by side, except, from four operators on, a few that
chain two smaller rules; it is not looked for. The pairs are those of `meet`, as a test says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.arrays import lengths, starts
from taso_mini.enumeration.forms import Pairs, by_value, once
from taso_mini.enumeration.graph_sets import all_different, graph_fingerprints, masks, sinks
from taso_mini.enumeration.joins import CHUNK, blocks, common, expand, sizes, union
from taso_mini.enumeration.roles import NEVER, Roles, leaf_numbers
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD, TermTable, mix

Tell = Callable[[str, int, int], None]
BLOCK = CHUNK // 4  # graphs whose other sides are looked for at once


def pair_graphs(table: TermTable, roles: Roles, graphs: Array, *, tell: Tell | None = None) -> Pairs:
    """Return the pairs of graphs with equal outputs that share no operator on inputs alone, each once.

    Args:
        table: the terms.
        roles: which of them can be outputs.
        graphs: those that hang together, as `connected` returns them.
        tell: is told how many graphs are done, and how many pairs there are so far.
    """
    said = tell or (lambda step, done, total: None)
    own = table.in_order(masks(table, graphs))
    small = graphs[sizes(graphs) < table.width]
    graphs, others = graphs[own], graphs[~own]
    outputs, values = outputs_of(table, graphs)
    # a graph with inputs in order hardly ever equals one that has other inputs, but where it does the pair counts
    other_values = outputs_of(table, others)[1]
    more = np.isin(other_values, values)
    found = list(
        _together(
            table,
            np.concatenate([graphs, others[more]]),
            np.concatenate([values, other_values[more]]),
            len(graphs),
            said,
        )
    )
    several = np.flatnonzero(outputs[:, 1] != PAD)
    components = find_components(table, roles, small)
    count = sum(map(len, found))
    for low in range(0, len(several), BLOCK):
        rows = several[low : low + BLOCK]
        found.append(_apart(table, roles, components, graphs[rows], outputs[rows]))
        count += len(found[-1])
        said(f"pairing graphs with some that fall apart, {count:,} pairs so far", low + len(rows), len(several))
    return once(
        Pairs(
            *(
                np.concatenate([getattr(part, name) for part in found])
                for name in ("source", "target", "outputs", "results")
            )
        )
    )


def outputs_of(table: TermTable, graphs: Array) -> tuple[Array, Array]:
    """Return the outputs of each graph, ordered by value, and 64 bits of their values together."""
    outputs, values = [np.zeros((0, table.width + 1), dtype=np.int32)], [np.zeros(0, dtype=np.uint64)]
    for low in range(0, len(graphs), BLOCK):
        outputs.append(by_value(table, sinks(table, graphs[low : low + BLOCK]), table.width + 1))
        values.append(graph_fingerprints(table, outputs[-1]))
    return np.concatenate(outputs), np.concatenate(values)


def _together(table: TermTable, graphs: Array, values: Array, own: int, tell: Tell) -> Iterator[Pairs]:
    """Yield the pairs of equal graphs that are both given, one of them among the first `own`."""
    yield Pairs(graphs[:0], graphs[:0], *[np.zeros((0, table.width + 1), dtype=np.int32)] * 2)
    order = np.argsort(values, kind="stable")
    count = lengths(starts(values[order]), len(order))
    order = order[np.repeat(count > 1, count)]
    value, leaf_set = values[order], leaf_numbers(table, graphs[order])
    by_leaves = np.lexsort((leaf_set, value))
    order, value, leaf_set = order[by_leaves], value[by_leaves], leaf_set[by_leaves]
    sets = starts(value, leaf_set)
    in_set = lengths(sets, len(order))
    leaves = table.leaves(graphs[order[sets]])
    groups = starts(value[sets])
    in_group = lengths(groups, len(sets))
    after = np.arange(1, len(sets) + 1)
    many = np.repeat(groups + in_group, in_group) - after  # sets of the same value behind each
    found = 0
    for low, high in blocks(many):
        i, j = expand(after[low:high], many[low:high])
        i += low
        apart = ~(leaves[i] & leaves[j]).any(axis=1)
        i, j = i[apart], j[apart]
        each = in_set[i] * in_set[j]
        for start, end in blocks(each):
            which, place = expand(np.zeros(end - start, dtype=np.int64), each[start:end])
            which += start
            one = order[sets[i[which]] + place // in_set[j[which]]]
            other = order[sets[j[which]] + place % in_set[j[which]]]
            keep = (one < own) | (other < own)
            one, other = graphs[one[keep]], graphs[other[keep]]
            yield Pairs(one, other, outputs_of(table, one)[0], outputs_of(table, other)[0])
            found += len(one)
        tell(f"pairing graphs that hang together, {found:,} pairs so far", high, len(sets))


@dataclass
class Components:
    """Small graphs that hang together, by value and then by size.

    Attributes:
        rows, leaves: the graphs, and their operators on inputs as bits.
        values: the different values of their outputs, sorted.
        ends: where the graphs of each value and of at most so many operators end, (values, width); in column 0 is
            where the value's graphs begin.
    """

    rows: Array
    leaves: Array
    values: Array
    ends: Array


def find_components(table: TermTable, roles: Roles, graphs: Array) -> Components:
    """Sort the graphs that can be a part of a graph that falls apart."""
    keep = [np.zeros(0, dtype=bool)]
    for low in range(0, len(graphs), BLOCK):
        outputs = sinks(table, graphs[low : low + BLOCK])
        keep.append(((roles.least[np.where(outputs == PAD, 0, outputs)] < NEVER) | (outputs == PAD)).all(axis=1))
    graphs = graphs[np.concatenate(keep)]
    value, size = outputs_of(table, graphs)[1], sizes(graphs)
    order = np.lexsort((size, value))
    graphs, value, size = graphs[order], value[order], size[order]
    begins = starts(value)
    which = np.repeat(np.arange(len(begins)), lengths(begins, len(value)))
    counts = np.bincount(which * table.width + size, minlength=len(begins) * table.width)
    ends = begins[:, None] + np.cumsum(counts.reshape(-1, table.width), axis=1)
    return Components(graphs, table.leaves(graphs), value[begins], ends)


@dataclass
class _States:
    """Other sides under construction: whose they are, what they hold, and the outputs still to come as bits."""

    owner: Array
    other: Array
    left: Array


def _joined(parts: list[_States]) -> _States:
    return _States(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("owner", "other", "left")))


def _apart(table: TermTable, roles: Roles, components: Components, graphs: Array, outputs: Array) -> Pairs:
    """Return the pairs of a graph and one that falls apart."""
    present = outputs != PAD
    safe = np.where(present, outputs, 0)
    parts = np.where(present, mix(table.fingerprint[safe]), np.uint64(0))
    least = np.where(present, roles.least[safe], 0).astype(np.int64)
    leaves = table.leaves(graphs)
    states = _States(
        np.arange(len(graphs)),
        np.full((len(graphs), table.width), PAD, dtype=np.int32),
        (present << np.arange(outputs.shape[1])).sum(axis=1),
    )
    owners, others = [states.owner[:0]], [states.other[:0]]
    first = True
    while len(states.owner) and len(components.values):
        grown = [_States(states.owner[:0], states.other[:0], states.left[:0])]
        for left in np.unique(states.left).tolist():
            rows = np.flatnonzero(states.left == left)
            for chosen in _choices(left, whole=not first):
                grown.append(_extended(table, components, states, rows, left, chosen, parts, least, leaves))
        states = _joined(grown)
        done = states.left == 0
        owners.append(states.owner[done])
        others.append(states.other[done])
        states = _States(states.owner[~done], states.other[~done], states.left[~done])
        first = False
    owner, other = np.concatenate(owners), np.concatenate(others)
    different = all_different(table, other)
    owner, other = owner[different], other[different]
    return Pairs(graphs[owner], other, outputs[owner], outputs_of(table, other)[0])


def _choices(left: int, *, whole: bool) -> Iterator[int]:
    """Yield the sets of outputs, as bits, that hold the first one left; without `whole` not all of them.

    >>> list(_choices(0b110, whole=True))
    [2, 6]
    """
    for chosen in range(1, left + (1 if whole else 0)):
        if chosen & left == chosen and chosen & -chosen == left & -left:
            yield chosen


def _extended(
    table: TermTable,
    components: Components,
    states: _States,
    rows: Array,
    left: int,
    chosen: int,
    parts: Array,
    least: Array,
    leaves: Array,
) -> _States:
    """Return states with a component that has the chosen outputs added, where one fits."""
    places = [place for place in range(parts.shape[1]) if chosen >> place & 1]
    later = [place for place in range(parts.shape[1]) if (left & ~chosen) >> place & 1]
    value = parts[states.owner[rows]][:, places].sum(axis=1, dtype=np.uint64)
    at = np.minimum(np.searchsorted(components.values, value), len(components.values) - 1)
    hit = components.values[at] == value
    rows, at = rows[hit], at[hit]
    room = table.width - sizes(states.other[rows])
    if later:
        room -= least[states.owner[rows]][:, later].max(axis=1)
    begins = components.ends[at, 0]
    many = components.ends[at, np.clip(room, 0, table.width - 1)] - begins
    found = [_States(states.owner[:0], states.other[:0], states.left[:0])]
    for low, high in blocks(many):
        which, component = expand(begins[low:high], many[low:high])
        row = rows[which + low]
        keep = ~(leaves[states.owner[row]] & components.leaves[component]).any(axis=1)
        row, component = row[keep], component[keep]
        keep = common(states.other[row], components.rows[component]) == 0
        row, component = row[keep], component[keep]
        found.append(
            _States(
                states.owner[row],
                union(states.other[row], components.rows[component], table.width),
                np.full(len(row), left & ~chosen),
            )
        )
    return _joined(found)
