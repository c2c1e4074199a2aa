"""All graphs that hang together through operators and whose outputs can be met by another graph's.

Paper: TASO §2.2; the way there is ours. A graph is the union of the closures of its outputs, so the graphs are found by
joining closures that share operators, one after the other. Larger graphs than the largest size are never made, and of
those of the largest size only the ones with inputs in order: all others are renamings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from taso_mini.enumeration.arrays import kept, unique_rows
from taso_mini.enumeration.graph_sets import all_different, masks, sinks
from taso_mini.enumeration.joins import CHUNK, sharing_blocks, sizes, union
from taso_mini.enumeration.roles import NEVER, Roles
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD, TermTable

Tell = Callable[[str, int, int], None]


def connected(table: TermTable, roles: Roles, *, folder: str | None = None, tell: Tell | None = None) -> Array:
    """Return the graphs that hang together: the largest with inputs in order, smaller ones with all names.

    Args:
        table: the terms.
        roles: which of them can be outputs.
        folder: where finished rounds are kept.
        tell: is told how many joins of a round are done.
    """
    inputs = len(table.space.inputs)
    nodes = np.arange(inputs, len(table.template))
    first = table.first[nodes]
    last = first + table.outputs[nodes] - 1
    found = [_that_can_be_met(table, roles, table.closure[nodes[roles.alone[first] & roles.alone[last]]])]
    beside = nodes[(roles.least[first] < NEVER) & (roles.least[last] < NEVER) & (table.size[nodes] < table.width)]
    closures = [table.closure[beside[table.size[beside] == size]] for size in range(table.width)]
    frontier, number = np.concatenate(closures), 2
    while len(frontier):
        larger = kept(folder, f"graphs-{number}", partial(_round, table, frontier, closures, number, tell))["graphs"]
        found.append(_that_can_be_met(table, roles, larger))
        frontier, number = larger[sizes(larger) < table.width], number + 1
    return unique_rows(np.concatenate(found))


def _that_can_be_met(table: TermTable, roles: Roles, rows: Array) -> Array:
    """Return the rows all of whose outputs have partners, small ones where there are several outputs."""
    met = [np.zeros(0, dtype=bool)]
    for low in range(0, len(rows), CHUNK // 4):
        outputs = sinks(table, rows[low : low + CHUNK // 4])
        present = outputs != PAD
        safe = np.where(present, outputs, 0)
        several = ((roles.least[safe] < NEVER) | ~present).all(axis=1)
        met.append(np.where(present.sum(axis=1) == 1, roles.alone[safe[:, 0]], several))
    return rows[np.concatenate(met)]


def _round(
    table: TermTable, graphs: Array, closures: list[Array], number: int, tell: Tell | None
) -> Mapping[str, Array]:
    """Return the graphs made of the given ones and one closure more."""
    found, made = [np.zeros((0, table.width), dtype=np.int32)], 0
    for done, total, blocks in _joins(table, graphs, closures):
        for rows in blocks:
            rows = unique_rows(rows)
            found.append(rows[all_different(table, rows)])
            made += len(found[-1])
        if tell is not None:
            tell(f"joining {number} terms to graphs, {made:,} so far", done, total)
    return {"graphs": unique_rows(np.concatenate(found))}


def _joins(table: TermTable, graphs: Array, closures: list[Array]) -> Iterator[tuple[int, int, Iterator[Array]]]:
    """Yield (number, count, blocks of unions) for all ways in which a graph and a closure can share operators."""
    count, width = sizes(graphs), table.width
    groups = {p: graphs[count == p] for p in range(2, width)}
    ways = [
        (p, q, p + q - whole)
        for p in range(2, width)
        for q in range(2, width)
        for whole in range(max(p, q) + 1, min(p + q - 1, width) + 1)
        if len(groups[p]) and len(closures[q])
    ]
    for done, (p, q, shared) in enumerate(ways, start=1):
        yield done, len(ways), _unions(table, groups[p], closures[q], (p, q), shared)


def _unions(table: TermTable, graphs: Array, closures: Array, places: tuple[int, int], shared: int) -> Iterator[Array]:
    """Yield the unions of graphs and closures, of so many nodes each, that share so many."""
    p, q = places
    used, more = masks(table, graphs), masks(table, closures)

    def in_order(i: Array, j: Array) -> Array:
        return table.in_order(used[i] | more[j])

    keep = in_order if p + q - shared == table.width else None
    for i, j in sharing_blocks(graphs[:, :p], closures[:, :q], shared, keep=keep):
        yield union(graphs[i], closures[j], table.width)
