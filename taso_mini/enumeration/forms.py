"""Normal forms of candidate rules, as 64-bit numbers for whole arrays of pairs.

Paper: TASO §4. Two candidates are one rule when they differ only in the names of the inputs, the order of the outputs,
of commutative operands, or of the two sides. Each side names the other's inputs too, so the pair is named jointly:

1. Colour every input by the number of the whole pair with that input marked.
2. Give the first name to the input of the least colour, and colour the others again; inputs of equal colour play the
   same part, so either may go first.
3. When every input has a name, the pair's number is its normal form.

`aware` keeps inputs of different shapes apart; otherwise an equation of images and the same one of matrices are one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.joins import CHUNK
from taso_mini.enumeration.space import Space
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import NONE, PAD, TermTable, mix

_MARK = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Pairs:
    """Candidate rules: two graphs with equal outputs.

    Attributes:
        source, target: sorted rows of nodes, filled up with PAD.
        outputs: the outputs of the source, filled up with PAD, and
        results: those of the target, in the same order.
    """

    source: Array
    target: Array
    outputs: Array
    results: Array

    def __len__(self) -> int:
        """How many."""
        return len(self.source)

    def take(self, rows: Array) -> Pairs:
        """Return some of them."""
        return Pairs(self.source[rows], self.target[rows], self.outputs[rows], self.results[rows])


def by_value(table: TermTable, outputs: Array, width: int) -> Array:
    """Return outputs ordered by fingerprint and cut to `width` places: equal graphs then agree place by place."""
    safe = np.where(outputs == PAD, 0, outputs)
    keys = np.where(outputs == PAD, np.uint64(2**64 - 1), table.fingerprint[safe])
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(outputs, order, axis=1)[:, :width]


def once(pairs: Pairs) -> Pairs:
    """Return each unordered pair once, the smaller row first, in row order."""
    differ = pairs.source != pairs.target
    place = differ.argmax(axis=1)
    at = np.arange(len(pairs)), place
    turned = pairs.source[at] > pairs.target[at]
    ordered = Pairs(
        *(
            np.where(turned[:, None], b, a)
            for a, b in (
                (pairs.source, pairs.target),
                (pairs.target, pairs.source),
                (pairs.outputs, pairs.results),
                (pairs.results, pairs.outputs),
            )
        )
    )
    _, rows = np.unique(np.concatenate([ordered.source, ordered.target], axis=1), axis=0, return_index=True)
    return ordered.take(rows)


class LocalPairs:
    """Pairs with inputs and tensors numbered within each pair, ready to be named and compared.

    Places of a pair: its inputs (0 to `inputs - 1`), then two tensors for every node of the source, then of the target.
    """

    def __init__(self, table: TermTable, pairs: Pairs) -> None:
        """Look up where each node's arguments are in its pair."""
        self.space: Space = table.space
        count, width = len(pairs), pairs.source.shape[1]
        rows = np.concatenate([pairs.source, pairs.target], axis=1)
        safe = np.where(rows == PAD, 0, rows)
        self.templates = np.where(rows == PAD, NONE, table.template[safe].astype(np.int64))
        arguments = np.where((rows == PAD)[:, :, None], NONE, table.arguments[safe])
        number = len(table.space.inputs)
        used = np.zeros((count, number), dtype=bool)
        for argument in arguments.reshape(count, 4 * width).T:
            given = np.flatnonzero((argument >= 0) & (argument < number))
            used[given, argument[given]] = True
        self.inputs = int(used.sum(axis=1).max(initial=0))
        place_of_input = np.cumsum(used, axis=1) - 1
        self.names = np.full((count, self.inputs), NONE, dtype=np.int64)  # the input at each place
        owner, which = np.nonzero(used)
        self.names[owner, place_of_input[owner, which]] = which
        node_place = {}
        for side in (0, 1):
            for column in range(side * width, (side + 1) * width):
                node_place[column] = rows[:, column]
        self.arguments = np.full(arguments.shape, NONE, dtype=np.int64)
        for column in range(2 * width):
            for index in (0, 1):
                self.arguments[:, column, index] = self._local(
                    table, arguments[:, column, index], node_place, place_of_input, column // width, width
                )
        self.outputs, self.results = (
            np.stack(
                [
                    self._local(table, np.where(one == PAD, NONE, one), node_place, place_of_input, side, width)
                    for one in outputs.T
                ],
                axis=1,
            )
            for side, outputs in enumerate((pairs.outputs, pairs.results))
        )

    def _local(
        self,
        table: TermTable,
        tensors: Array,
        node_place: dict[int, Array],
        place_of_input: Array,
        side: int,
        width: int,
    ) -> Array:
        """Return the places of some tensors, one per pair, on a side."""
        number = len(self.space.inputs)
        result = np.full(len(tensors), NONE, dtype=np.int64)
        given = np.flatnonzero((tensors >= 0) & (tensors < number))
        result[given] = place_of_input[given, tensors[given]]
        inner = np.flatnonzero(tensors >= number)
        owner, slot = table.node[tensors[inner]], table.slot[tensors[inner]].astype(np.int64)
        for column in range(side * width, (side + 1) * width):
            here = node_place[column][inner] == owner
            result[inner[here]] = self.inputs + 2 * column + slot[here]
        return result

    def take(self, rows: Array) -> LocalPairs:
        """Return some of the pairs."""
        other = object.__new__(LocalPairs)
        other.space, other.inputs = self.space, self.inputs
        for name in ("templates", "names", "arguments", "outputs", "results"):
            setattr(other, name, getattr(self, name)[rows])
        return other

    def merged(self, keep: Array, drop: Array) -> LocalPairs:
        """Return the pairs with the input at place `drop` replaced by the one at place `keep`, row by row."""
        other = self.take(np.arange(len(self.templates)))
        other.arguments = np.where(self.arguments == drop[:, None, None], keep[:, None, None], self.arguments)
        other.outputs, other.results = (
            np.where(one == drop[:, None], keep[:, None], one) for one in (self.outputs, self.results)
        )
        other.names = self.names.copy()
        other.names[np.arange(len(drop)), drop] = NONE
        return other

    def numbers(self, labels: Array) -> Array:
        """Return the number of each pair, given a label for each input."""
        templates = self.space.templates
        operators = mix(np.array([*range(len(templates)), -1], dtype=np.int64).view(np.uint64) + _MARK)
        commutative = np.array([one.operator in ("add", "mul") for one in templates] + [False])
        count, columns = self.templates.shape
        values = np.zeros((count, self.inputs + 2 * columns + 1), dtype=np.uint64)  # the last place is NONE's
        values[:, : self.inputs] = labels
        rows = np.arange(count)
        for column in range(columns):
            template = self.templates[:, column]
            one, other = (mix(values[rows, self.arguments[:, column, i]]) for i in (0, 1))
            both = np.where(commutative[template], one + other, one * np.uint64(3) + other * np.uint64(5))
            value = mix(both + operators[template])
            values[:, self.inputs + 2 * column] = value
            values[:, self.inputs + 2 * column + 1] = mix(value + np.uint64(1))
        ends = [
            np.take_along_axis(values, np.where(one == NONE, values.shape[1] - 1, one), axis=1)
            for one in (self.outputs, self.results)
        ]
        present = self.outputs != NONE
        total = np.zeros(count, dtype=np.uint64)
        for first, second in (ends, ends[::-1]):
            matched = np.where(present, mix(mix(first) * np.uint64(3) + mix(second) * np.uint64(7)), np.uint64(0))
            total += mix(matched.sum(axis=1, dtype=np.uint64))
        return mix(total)


def normal_forms(local: LocalPairs, *, aware: bool) -> Array:
    """Return the normal form of each pair as a number."""
    parts = [
        _normal_forms(local.take(np.arange(low, min(low + CHUNK // 16, len(local.templates)))), aware)
        for low in range(0, len(local.templates), CHUNK // 16)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def skeletons(local: LocalPairs) -> Array:
    """Return a number for each pair that does not depend on which inputs are the same."""
    parts = [np.zeros(0, dtype=np.uint64)]
    for low in range(0, len(local.templates), CHUNK // 16):
        part = local.take(np.arange(low, min(low + CHUNK // 16, len(local.templates))))
        parts.append(part.numbers(np.zeros(part.names.shape, dtype=np.uint64)))
    return np.concatenate(parts)


def _normal_forms(local: LocalPairs, aware: bool) -> Array:
    families = np.array([one.family if aware else 0 for one in local.space.inputs] + [-1], dtype=np.int64)
    base = mix(families[local.names].view(np.uint64) * _MARK)
    labels, named = base.copy(), local.names == NONE
    rows = np.arange(len(base))
    for rank in range(local.inputs):
        colours = np.full(base.shape, np.uint64(2**64 - 1))
        for place in range(local.inputs):
            marked = labels.copy()
            marked[:, place] = mix(marked[:, place] + _MARK)
            found = local.numbers(marked) >> np.uint64(1)
            colours[:, place] = np.where(named[:, place], colours[:, place], found)
        chosen = colours.argmin(axis=1)
        open_rows = ~named[rows, chosen]
        at = rows[open_rows], chosen[open_rows]
        labels[at] = mix(base[at] + np.uint64(rank + 1))
        named[at] = True
    return local.numbers(labels)
