"""The table of all terms: one row per operator application (node) and one per tensor, as arrays.

A node is an operator template with argument tensors; a split gives two tensors. Input tensors are nodes without an
operator, numbered first. Nodes are appended in the order of their size, the number of operators in their *closure* (all
nodes they need, themselves included), so node numbers are a topological order and a graph is a sorted row of them.

Values are kept for the terms that arguments are taken from; fingerprints for all.
"""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from taso_mini.enumeration.space import Space
from taso_mini.enumeration.surrogates import SURROGATES, Array, reduced
from taso_mini.enumeration.tensor_types import TensorType, contiguous, result_types
from taso_mini.shapes import Shape

PAD = np.int32(2**31 - 1)  # fills a closure's unused places; sorts last
NONE = -1


def mix(bits: Array) -> Array:
    """Return a non-linear one-to-one function of 64-bit numbers (uint64), so that a sum of results forgets nothing.

    >>> int(mix(np.array([1], dtype=np.uint64))[0])
    6238072747940578789
    """
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class Types:
    """Tensor types by number, and the types that operators give, looked up for whole arrays."""

    def __init__(self, space: Space) -> None:
        """Start without any types."""
        self.space = space
        self.known: list[TensorType] = []
        self._numbers: dict[TensorType, int] = {}
        self._results: dict[int, Array] = {}
        self._several: dict[tuple[int, int, int], tuple[int, ...]] = {}

    def number(self, one: TensorType) -> int:
        """Return the type's number."""
        if one not in self._numbers:
            self._numbers[one] = len(self.known)
            self.known.append(one)
        return self._numbers[one]

    def results(self, template: int, first: int, second: int) -> tuple[int, ...]:
        """Return the numbers of the result types; `first` and `second` are NONE for missing arguments."""
        key = (template, first, second)
        if key not in self._several:
            given = [self.known[one] for one in (first, second) if one != NONE]
            found = result_types(
                self.space.templates[template], *given, pools_keep_channels=self.space.pools_keep_channels
            )
            self._several[key] = tuple(map(self.number, found))
        return self._several[key]

    def defined(self, template: int, first: Array, second: Array) -> Array:
        """Return where a binary operator is defined, for arrays of type numbers."""
        table = self._results.get(template)
        count = max(int(first.max(initial=0)), int(second.max(initial=0))) + 1
        if table is None or len(table) < count:
            grown = np.full((2 * count, 2 * count), -1, dtype=np.int8)
            if table is not None:
                grown[: len(table), : len(table)] = table
            table = self._results[template] = grown
        answer = table[first, second]
        if (answer < 0).any():
            asked = np.zeros(table.shape, dtype=bool)
            asked[first, second] = True
            for a, b in np.argwhere(asked & (table < 0)):
                table[a, b] = bool(self.results(template, int(a), int(b)))
            answer = table[first, second]
        return answer > 0


@dataclass(eq=False)
class TermTable:
    """All terms up to some size.

    Attributes:
        space, seed: what is enumerated, and the seed of the inputs' values and of the fingerprints.
        width: places in a closure, the largest number of operators.
        template, arguments, first, outputs, size, mask, closure: one row per node; the template's number, the two
            argument tensors (NONE for missing), the node's first tensor, how many it has, the size, the used inputs as
            bits, and the sorted closure.
        node, slot, type, fingerprint, row, usable: one row per tensor; its node, which output it is, the type's
            number, 64 bits of its value, where its value is kept (NONE: nowhere) and whether it may be an argument.
        level_ends: number of nodes after each level.
    """

    space: Space
    seed: int
    width: int
    template: Array = field(init=False)
    arguments: Array = field(init=False)
    first: Array = field(init=False)
    outputs: Array = field(init=False)
    size: Array = field(init=False)
    mask: Array = field(init=False)
    closure: Array = field(init=False)
    node: Array = field(init=False)
    slot: Array = field(init=False)
    type: Array = field(init=False)
    fingerprint: Array = field(init=False)
    row: Array = field(init=False)
    usable: Array = field(init=False)
    level_ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Enter the inputs as nodes of size 0."""
        self.surrogates = SURROGATES[self.space.surrogates]
        self.types = Types(self.space)
        self._values: dict[int, Array] = {}
        self._used: dict[int, int] = {}
        self._hashes: dict[int, tuple[Array, np.uint64]] = {}
        count = len(self.space.inputs)
        number = np.arange(count, dtype=np.int32)
        self.template = np.full(count, 255, dtype=np.uint8)
        self.arguments = np.full((count, 2), NONE, dtype=np.int32)
        self.first, self.node = number.copy(), number.copy()
        self.outputs, self.size = np.ones(count, dtype=np.uint8), np.zeros(count, dtype=np.uint8)
        self.mask = np.array(self.space.bits, dtype=np.int64)
        self.closure = np.full((count, self.width), PAD, dtype=np.int32)
        self.slot, self.usable = np.zeros(count, dtype=np.uint8), np.ones(count, dtype=bool)
        rng = np.random.default_rng([self.seed, 0])
        types, prints, rows = [], [], []
        for one in self.space.inputs:
            kind = self.types.number(contiguous(Shape(one.dims)))
            value = rng.integers(-(2**30), 2**30, size=(1, *one.dims), dtype=np.int32) | (not one.dims)
            types.append(kind)
            prints.append(self.fingerprints(kind, value)[0])
            rows.append(self.keep(kind, value)[0])
        self.type, self.row = np.array(types, dtype=np.int32), np.array(rows, dtype=np.int32)
        self.fingerprint = np.array(prints, dtype=np.uint64)
        self.level_ends.append(count)

    def copy(self) -> TermTable:
        """Return a table that can grow on its own; the arrays, never changed in place, are shared."""
        other = copy(self)
        other.level_ends = list(self.level_ends)
        return other

    @property
    def leaf_start(self) -> int:
        """The first node of size 1; they end at `level_ends[1]`."""
        return self.level_ends[0]

    def level(self, size: int) -> Array:
        """Return the nodes of one size; size 0 are the inputs."""
        return np.arange(self.level_ends[size - 1] if size else 0, self.level_ends[size])

    def fingerprints(self, kind: int, values: Array) -> Array:
        """Return 64 bits for each value (batch, *dims) of a type."""
        if kind not in self._hashes:
            one = self.types.known[kind]
            salt = hashlib.blake2b(repr((one.dims, one.shape.trees, one.strides)).encode(), digest_size=8).digest()
            number = int.from_bytes(salt, "little")
            rng = np.random.default_rng([self.seed, 1, number])
            weights = rng.integers(0, 2**63, size=one.elements, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            self._hashes[kind] = weights.view(np.int64), np.uint64(number)
        weights, salt_number = self._hashes[kind]
        rank = values.ndim - 1
        flat = reduced(values, rank).reshape(len(values), -1).astype(np.int64)
        return mix((flat @ weights).view(np.uint64) + salt_number)

    def keep(self, kind: int, values: Array) -> Array:
        """Store values (batch, *dims) of a type; return their rows."""
        used, store = self._used.get(kind, 0), self._values.get(kind)
        flat = values.reshape(len(values), -1)
        if store is None or used + len(flat) > len(store):
            grown = np.empty((max(used + len(flat), used * 3 // 2), flat.shape[1]), dtype=np.int32)
            if store is not None:
                grown[:used] = store[:used]
            store = self._values[kind] = grown
        store[used : used + len(flat)] = flat
        self._used[kind] = used + len(flat)
        return np.arange(used, used + len(flat), dtype=np.int32)

    def stored(self) -> dict[int, int]:
        """Return how many values of each type are kept, for `forget`."""
        return dict(self._used)

    def forget(self, stored: dict[int, int]) -> None:
        """Drop the values kept since `stored`."""
        self._used = {kind: stored.get(kind, 0) for kind in self._used}

    def values(self, kind: int, rows: Array) -> Array:
        """Return the kept values at some rows, (batch, *dims); a batch of one where all rows are the same."""
        if len(rows) > 1 and (rows == rows[0]).all():
            rows = rows[:1]
        return self._values[kind][rows].reshape(len(rows), *self.types.known[kind].dims)

    def leaves(self, closure: Array) -> Array:
        """Return closures (rows, width) as sets of leaf nodes in bits, (rows, words)."""
        start, end = self.leaf_start, self.level_ends[1]
        words = (end - start + 63) // 64
        bits = np.zeros((len(closure), words), dtype=np.uint64)
        for column in closure.T:
            leaf = np.flatnonzero((column >= start) & (column < end))
            place = column[leaf] - start
            bits[leaf, place >> 6] |= np.uint64(1) << (place & 63).astype(np.uint64)
        return bits

    def in_order(self, mask: Array) -> Array:
        """Whether the used inputs of each family are its first ones: all other graphs are renamings."""
        return (mask & (mask + self.space.lowest)) == 0
