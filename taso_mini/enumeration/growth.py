"""Grow the table of terms by one operator at a time.

Paper: TASO §2.2. Terms are evaluated in batches of one operator and one pair of types. A term that equals an input or a
tensor of its own closure computes a value twice and is dropped, as in Algorithm 1; it is reported as a *reduction*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.applications import Applications, every_application, join_all
from taso_mini.enumeration.surrogates import Array, apply
from taso_mini.enumeration.term_table import NONE, PAD, TermTable

BATCH = 2048  # terms evaluated at once; their values stay in the cache


@dataclass
class Terms:
    """Evaluated nodes: their applications, and per output a type and a fingerprint (NONE and 0 for missing ones).

    `reductions` are the nodes that were dropped because they compute a value twice, as rows (template, argument,
    argument, output, tensor of its own closure or input that it equals).
    """

    applications: Applications
    types: Array
    fingerprints: Array
    reductions: Array


def segments(table: TermTable, todo: Applications) -> Iterator[Array]:
    """Yield the rows of batches of one operator and one pair of argument types."""
    count = len(table.types.known) + 1
    kinds = [np.where(one == NONE, count - 1, table.type[one]).astype(np.int64) for one in (todo.first, todo.second)]
    inputs = len(table.space.inputs)
    convolution = np.array([one.operator == "conv" for one in table.space.templates], dtype=bool)[todo.template]
    # convolutions with one input as kernel are one matrix product
    alone = np.where(convolution & (todo.second < inputs), todo.second + 1, 0)
    code = ((todo.template.astype(np.int64) * count + kinds[0]) * count + kinds[1]) * (inputs + 1) + alone
    order = np.argsort(code, kind="stable")
    ends = np.flatnonzero(np.diff(code[order])) + 1
    for rows in np.split(order, ends):
        for low in range(0, len(rows), BATCH):
            yield rows[low : low + BATCH]


def compute(table: TermTable, todo: Applications, rows: Array) -> tuple[tuple[int, ...], list[Array]]:
    """Evaluate one batch; return the result types and the values of the outputs."""
    number = int(todo.template[rows[0]])
    operands = [one[rows] for one in (todo.first, todo.second) if one[rows[0]] != NONE]
    kinds = [int(table.type[one[0]]) for one in operands]
    results = table.types.results(number, *kinds, *[NONE] * (2 - len(kinds)))
    arrays = [table.values(kind, table.row[one]) for kind, one in zip(kinds, operands, strict=True)]
    given = tuple(table.types.known[kind] for kind in kinds)
    values = apply(table.space.templates[number], table.surrogates, given, *arrays)
    return results, [value if len(value) == len(rows) else np.repeat(value, len(rows), axis=0) for value in values]


def no_reductions() -> Array:
    """Return no rows of reductions."""
    return np.zeros((0, 5), dtype=np.int32)


def evaluate(table: TermTable, todo: Applications) -> Terms:
    """Compute the fingerprints of new nodes and drop those that compute a value twice."""
    types = np.full((len(todo), 2), NONE, dtype=np.int32)
    prints = np.zeros((len(todo), 2), dtype=np.uint64)
    for rows in segments(table, todo):
        results, values = compute(table, todo, rows)
        for slot, (kind, value) in enumerate(zip(results, values, strict=True)):
            types[rows, slot] = kind
            prints[rows, slot] = table.fingerprints(kind, value)
    twice, reductions = _computed_twice(table, todo, types, prints)
    kept = np.flatnonzero(~twice)
    return Terms(todo.take(kept), types[kept], prints[kept], reductions)


def _computed_twice(table: TermTable, todo: Applications, types: Array, prints: Array) -> tuple[Array, Array]:
    inputs = len(table.space.inputs)
    twice = (types[:, 1] != NONE) & (prints[:, 0] == prints[:, 1])
    reductions = [no_reductions()]

    def note(rows: Array, slot: int, tensors: Array) -> None:
        twice[rows] = True
        columns = (todo.template[rows], todo.first[rows], todo.second[rows], np.full(len(rows), slot), tensors)
        reductions.append(np.stack(columns, axis=1).astype(np.int32))

    order = np.argsort(table.fingerprint[:inputs])
    for slot in (0, 1):
        own = prints[:, slot]
        place = order[np.minimum(np.searchsorted(table.fingerprint[:inputs][order], own), inputs - 1)]
        rows = np.flatnonzero((types[:, slot] != NONE) & (table.fingerprint[place] == own))
        note(rows, slot, place[rows])
        for column in todo.below.T:
            inner = np.flatnonzero((column != PAD) & (types[:, slot] != NONE))
            for output in (0, 1):
                inner = inner[table.outputs[column[inner]] > output]
                tensors = table.first[column[inner]] + output
                equal = table.fingerprint[tensors] == own[inner]
                note(inner[equal], slot, tensors[equal])
    return twice, np.concatenate(reductions)


def append(table: TermTable, new: Terms, size: int, *, keep_values: bool, representatives: bool = False) -> None:
    """Enter evaluated nodes of one size into the table.

    Args:
        table: all terms of smaller sizes.
        new: the nodes.
        size: their size.
        keep_values: whether they will be arguments of terms whose values are computed from the table.
        representatives: let only the first tensor of each value be an argument.
    """
    todo, count, start = new.applications, len(new.applications), len(table.template)
    number = np.arange(start, start + count, dtype=np.int32)
    closure = todo.below.copy()
    closure[:, size - 1] = number
    outputs = (1 + (new.types[:, 1] != NONE)).astype(np.uint8)
    mask = np.zeros(count, dtype=np.int64)
    for one in (todo.first, todo.second):
        mask |= np.where(one == NONE, 0, table.mask[table.node[one]])
    first = (len(table.node) + np.cumsum(outputs) - outputs).astype(np.int32)
    owner = np.repeat(number, outputs)
    slot = (np.arange(len(owner)) - np.repeat(first - len(table.node), outputs)).astype(np.uint8)
    row = np.full(len(owner), NONE, dtype=np.int32)
    for name, part in {
        "template": todo.template,
        "arguments": np.stack([todo.first, todo.second], axis=1),
        "first": first,
        "outputs": outputs,
        "size": np.full(count, size, dtype=np.uint8),
        "mask": mask,
        "closure": closure,
        "node": owner,
        "slot": slot,
        "row": row,
        "type": new.types[owner - start, slot],
        "fingerprint": new.fingerprints[owner - start, slot],
        "usable": np.ones(len(owner), dtype=bool),
    }.items():
        setattr(table, name, np.concatenate([getattr(table, name), part]))
    table.level_ends.append(len(table.template))
    if representatives:
        table.usable[:] = False
        table.usable[np.unique(table.fingerprint, return_index=True)[1]] = True
    if keep_values:
        keep(table, number)


def keep(table: TermTable, nodes: Array) -> None:
    """Compute and keep the values of some nodes' tensors."""
    first, second = table.arguments[nodes].T
    todo = Applications(table.template[nodes], first, second, table.closure[nodes])
    for rows in segments(table, todo):
        for output, (kind, value) in enumerate(zip(*compute(table, todo, rows), strict=True)):
            table.row[table.first[nodes[rows]] + output] = table.keep(kind, value)


def evaluate_all(table: TermTable, parts: Iterable[Applications]) -> Terms:
    """Evaluate applications as they come and return the terms together."""
    done = [evaluate(table, part) for part in parts if len(part)]
    width = table.width
    return Terms(
        join_all([one.applications for one in done], width),
        np.concatenate([np.zeros((0, 2), dtype=np.int32), *(one.types for one in done)]),
        np.concatenate([np.zeros((0, 2), dtype=np.uint64), *(one.fingerprints for one in done)]),
        np.concatenate([no_reductions(), *(one.reductions for one in done)]),
    )


def grow(table: TermTable, size: int, *, last: bool, keep_values: bool, representatives: bool = False) -> Array:
    """Add all terms of one size; return the reductions found.

    >>> from taso_mini.enumeration.space import published
    >>> table = TermTable(published(), seed=0, width=2)
    >>> _ = grow(table, 1, last=False, keep_values=True)
    >>> _ = grow(table, 2, last=True, keep_values=False)
    >>> [len(table.level(size)) for size in (0, 1, 2)]
    [20, 228, 1605]
    """
    new = evaluate_all(table, every_application(table, size, last=last))
    append(table, new, size, keep_values=keep_values, representatives=representatives)
    return new.reductions
