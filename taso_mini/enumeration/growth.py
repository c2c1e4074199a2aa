"""Grow the table of terms by one operator at a time.

Paper: TASO §2.2. A term of n operators takes arguments whose closures together have n - 1 nodes. Either one argument
needs all of these nodes and the other is an input or lies inside that closure, or both need fewer and share exactly so
many that their union has n - 1. Terms are evaluated in batches of one operator and one pair of types.

A term that equals an input or a tensor of its own closure computes a value twice and is dropped, as in Algorithm 1;
it is reported as a *reduction*. Terms of the last size are made only with inputs in order (see
`TermTable.in_order`): smaller ones are parts of other graphs and need all names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.joins import CHUNK, blocks, contains, sharing_blocks, sizes, union
from taso_mini.enumeration.surrogates import Array, apply
from taso_mini.enumeration.tensor_types import arity
from taso_mini.enumeration.term_table import NONE, PAD, TermTable

BATCH = 2048  # terms evaluated at once; their values stay in the cache
COMMUTATIVE = ("add", "mul")


@dataclass
class Applications:
    """Operators to apply: template, argument tensors (NONE: missing) and the closure of the arguments."""

    template: Array
    first: Array
    second: Array
    below: Array

    def __len__(self) -> int:
        """How many."""
        return len(self.template)

    def take(self, rows: Array) -> Applications:
        """Return some of them."""
        return Applications(self.template[rows], self.first[rows], self.second[rows], self.below[rows])


@dataclass
class Terms:
    """Evaluated nodes: their applications, and per output a type and a fingerprint (0 where there is none).

    `reductions` are the (application, output, equal tensor) triples of nodes that were dropped.
    """

    applications: Applications
    types: Array
    fingerprints: Array
    reductions: list[tuple[int, int, int, int, int]]


def join_all(parts: list[Applications], width: int) -> Applications:
    """Return applications one after the other."""
    if not parts:
        empty = np.zeros(0, dtype=np.int32)
        return Applications(empty.astype(np.uint8), empty, empty, np.zeros((0, width), dtype=np.int32))
    return Applications(*(np.concatenate([getattr(part, name) for part in parts])
                          for name in ("template", "first", "second", "below")))


def tensors_of(table: TermTable, nodes: Array) -> Array:
    """Return the tensors of some nodes that may be arguments."""
    found = np.concatenate([table.first[nodes], table.first[nodes[table.outputs[nodes] == 2]] + 1])
    return found[table.usable[found]]


def constants(table: TermTable) -> Applications:
    """Return the operators without arguments."""
    number = [i for i, one in enumerate(table.space.templates) if arity(one) == 0]
    none = np.full(len(number), NONE, dtype=np.int32)
    return Applications(np.array(number, dtype=np.uint8), none, none, np.full((len(number), table.width), PAD))


def upon(table: TermTable, tensors: Array, *, last: bool) -> Iterator[Applications]:
    """Yield what can be applied to tensors of one size, the other argument lying inside their closures."""
    if last:
        yield from _unary(table, tensors[table.in_order(table.mask[table.node[tensors]])])
    else:
        yield from _unary(table, tensors)
    inputs = np.arange(len(table.space.inputs), dtype=np.int32)
    if len(tensors) and table.size[table.node[tensors[0]]] == 0:
        first, second = np.meshgrid(tensors, inputs, indexing="ij")
        pairs = first.ravel(), second.ravel()
        yield _binary(table, *(one[pairs[0] <= pairs[1]] for one in pairs), last=last)
        return
    yield _binary(table, np.repeat(tensors, len(inputs)), np.tile(inputs, len(tensors)), last=last)
    nodes = table.closure[table.node[tensors]]
    for column in nodes.T:
        for slot in (0, 1):
            present = column != PAD
            present[present] = table.outputs[column[present]] > slot
            other = table.first[column[present]] + slot
            first = tensors[present]
            # both halves of one split take turns as `first`, and so does a tensor with itself
            keep = table.usable[other] & ((table.node[other] != table.node[first]) | (first <= other))
            yield _binary(table, first[keep], other[keep], last=last)


def across(table: TermTable, size: int, *, last: bool, part: tuple[int, int] = (0, 1)) -> Iterator[Applications]:
    """Yield what can be applied to two smaller terms whose closures together have `size - 1` nodes.

    Args:
        table: all terms up to `size - 1`, with values up to `size - 2`.
        size: of the new terms.
        last: keep only terms with inputs in order.
        part: (number, count): the part of the pairs to yield.
    """
    number, count = part
    for p in range(1, size - 1):
        for q in range(1, p + 1):
            shared = p + q - (size - 1)
            if shared < 0:
                continue
            a, b = (tensors_of(table, np.arange(*table.level_ends[n - 1 : n + 1])) for n in (p, q))
            a = a[number::count]
            every = np.full(len(a), len(b))
            if shared == 0:
                pairs = ((np.repeat(a[low:high], len(b)), np.tile(b, high - low)) for low, high in blocks(every))
            else:
                rows = table.closure[table.node[a]][:, :p], table.closure[table.node[b]][:, :q]
                pairs = ((a[i], b[j]) for i, j in sharing_blocks(*rows, shared))
            for first, second in pairs:
                keep = first < second if p == q else np.ones(len(first), dtype=bool)
                found = _binary(table, first[keep], second[keep], last=last)
                fits = sizes(found.below) == size - 1 if shared == 0 else np.ones(len(found), dtype=bool)
                yield found.take(fits)


def _unary(table: TermTable, tensors: Array) -> Iterator[Applications]:
    inputs = table.size[table.node[tensors]] == 0
    for number, template in enumerate(table.space.templates):
        if arity(template) != 1:
            continue
        chosen = tensors[inputs] if template.operator == "enlarge" else tensors
        present = np.unique(table.type[chosen])
        allowed = [kind for kind in present if table.types.results(number, int(kind), NONE)]
        chosen = chosen[np.isin(table.type[chosen], allowed)]
        if len(chosen):
            yield Applications(np.full(len(chosen), number, dtype=np.uint8), chosen.astype(np.int32),
                               np.full(len(chosen), NONE, dtype=np.int32), table.closure[table.node[chosen]])


def _binary(table: TermTable, first: Array, second: Array, *, last: bool) -> Applications:
    """Return every binary operator on unordered pairs of tensors, where it is defined."""
    if last:
        keep = table.in_order(table.mask[table.node[first]] | table.mask[table.node[second]])
        first, second = first[keep], second[keep]
    parts = []
    turned = [(first, second), (second, first)]
    kinds = [(table.type[x], table.type[y]) for x, y in turned]
    same = first == second
    for number, template in enumerate(table.space.templates):
        if arity(template) != 2:
            continue
        for turn in range(1 if template.operator in COMMUTATIVE else 2):
            fits = table.types.defined(number, *kinds[turn])
            if turn or template.operator != "conv":
                fits &= ~same
            rows = np.flatnonzero(fits)
            x, y = (one[rows] for one in turned[turn])
            rows = rows[_allowed(table, template.operator, x, y)]
            if len(rows):
                parts.append((number, *(one[rows] for one in turned[turn])))
    if not parts:
        return join_all([], table.width)
    x, y = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    templates = np.repeat(np.array([part[0] for part in parts], dtype=np.uint8), [len(part[1]) for part in parts])
    below = union(table.closure[table.node[x]], table.closure[table.node[y]], table.width)
    return Applications(templates, x.astype(np.int32), y.astype(np.int32), below)


def _allowed(table: TermTable, operator: str, x: Array, y: Array) -> Array:
    """Return where the operands are ones that the published generator tries."""
    inputs = len(table.space.inputs)
    if operator == "conv":
        kernels = [i for i, one in enumerate(table.space.inputs) if one.name[0] in "wkrcd"]
        return ~np.isin(x, kernels)
    if operator == "matmul":
        return table.fingerprint[x] != table.fingerprint[y]
    if operator == "concat":  # the first operand was computed earlier
        later = contains(table.closure[table.node[x]], table.node[y])
        ordered = np.where(table.node[x] == table.node[y], x < y, ~later)
        return np.where(y < inputs, x < y, ordered)
    return np.ones(len(x), dtype=bool)


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


def _computed_twice(table: TermTable, todo: Applications, types: Array,
                    prints: Array) -> tuple[Array, list[tuple[int, int, int, int, int]]]:
    inputs = len(table.space.inputs)
    twice = (types[:, 1] != NONE) & (prints[:, 0] == prints[:, 1])
    reductions: list[tuple[int, int, int, int, int]] = []

    def note(rows: Array, slot: int, tensors: Array) -> None:
        twice[rows] = True
        reductions.extend(zip(todo.template[rows].tolist(), todo.first[rows].tolist(), todo.second[rows].tolist(),
                              [slot] * len(rows), tensors.tolist(), strict=True))

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
    return twice, reductions


def append(table: TermTable, new: Terms, size: int, *, keep_values: bool) -> None:
    """Enter evaluated nodes into the table, and their values if they will be arguments."""
    todo, count, start = new.applications, len(new.applications), len(table.template)
    number = np.arange(start, start + count, dtype=np.int32)
    closure = todo.below.copy()
    closure[:, size - 1] = number
    outputs = (1 + (new.types[:, 1] != NONE)).astype(np.uint8)
    mask = np.zeros(count, dtype=np.int64)
    for one in (todo.first, todo.second):
        mask |= np.where(one == NONE, 0, table.mask[table.node[one]])
    first = len(table.node) + np.cumsum(outputs) - outputs
    owner = np.repeat(number, outputs)
    slot = (np.arange(len(owner)) - np.repeat(first - len(table.node), outputs)).astype(np.uint8)
    row = np.full(len(owner), NONE, dtype=np.int32)
    if keep_values:
        for rows in segments(table, todo):
            for output, (kind, value) in enumerate(zip(*compute(table, todo, rows), strict=True)):
                row[first[rows] - len(table.node) + output] = table.keep(kind, value)
    for name, part in {
        "template": todo.template, "arguments": np.stack([todo.first, todo.second], axis=1),
        "first": first.astype(np.int32), "outputs": outputs, "size": np.full(count, size, dtype=np.uint8),
        "mask": mask, "closure": closure, "node": owner, "slot": slot, "row": row,
        "type": new.types[owner - start, slot], "fingerprint": new.fingerprints[owner - start, slot],
        "usable": np.ones(len(owner), dtype=bool),
    }.items():
        setattr(table, name, np.concatenate([getattr(table, name), part]))
    table.level_ends.append(len(table.template))


def grow(table: TermTable, size: int, *, last: bool, keep_values: bool) -> list[tuple[int, int, int, int, int]]:
    """Add all terms of one size; return the reductions found."""
    parts = [constants(table)] if size == 1 else []
    tensors = tensors_of(table, np.arange(*table.level_ends[size - 2 : size] if size > 1 else (0, table.level_ends[0])))
    for low in range(0, len(tensors), CHUNK // 32):
        parts += upon(table, tensors[low : low + CHUNK // 32], last=last)
    parts += across(table, size, last=last)
    new = evaluate(table, join_all(parts, table.width))
    append(table, new, size, keep_values=keep_values)
    return new.reductions
