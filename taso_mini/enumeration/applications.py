"""Which operators can be applied to which terms.

Paper: TASO §2.2. A term of n operators takes arguments whose closures together have n - 1 nodes. Either one argument
needs all of these nodes and the other is an input or lies inside that closure, or both need fewer and share exactly so
many that their union has n - 1.

With `last`, only terms whose inputs are in order are made (see `TermTable.in_order`). Smaller ones are parts of other
graphs and need all names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.joins import CHUNK, blocks, contains, sharing_blocks, sizes, union
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.tensor_types import arity
from taso_mini.enumeration.term_table import NONE, PAD, TermTable

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


def join_all(parts: list[Applications], width: int) -> Applications:
    """Return applications one after the other."""
    if not parts:
        empty = np.zeros(0, dtype=np.int32)
        return Applications(empty.astype(np.uint8), empty, empty, np.zeros((0, width), dtype=np.int32))
    return Applications(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("template", "first", "second", "below"))
    )


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
            a, b = (tensors_of(table, table.level(n)) for n in (p, q))
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
            yield Applications(
                np.full(len(chosen), number, dtype=np.uint8),
                chosen.astype(np.int32),
                np.full(len(chosen), NONE, dtype=np.int32),
                table.closure[table.node[chosen]],
            )


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


def every_application(table: TermTable, size: int, *, last: bool) -> Iterator[Applications]:
    """Yield all applications that give terms of one size, from arguments whose values are kept."""
    if size == 1:
        yield constants(table)
    tensors = tensors_of(table, table.level(size - 1))
    for low in range(0, len(tensors), CHUNK // 32):
        yield join_all(list(upon(table, tensors[low : low + CHUNK // 32], last=last)), table.width)
    yield from across(table, size, last=last)
