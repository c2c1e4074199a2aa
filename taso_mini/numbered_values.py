"""Values of terms for very many assignments of shapes: what depends on some of the leaves only is computed once.

A leaf has one random array per shape. An operator that does not need all leaves, such as one of the two convolutions in
`conv(x, w1) + conv(x, w2)`, is computed once for the shapes of the leaves that it needs, and looked up for all
assignments that differ elsewhere. Results are exactly those of `operator_set.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from taso_mini.arithmetic import Arithmetic, Array, FiniteField
from taso_mini.operator_set import OPERATORS
from taso_mini.shape_search import ShapeSearch
from taso_mini.shape_table import ShapeTable
from taso_mini.terms import Term, subterms

_REMEMBERED = 8192  # results kept per operator, a few kilobytes each at most

Compute = Callable[[Sequence[int]], Array]


class SmallField(FiniteField):
    """Integers modulo a prime below 2**23, held in double precision: products and sums of 128 of them are exact there.

    A false equation of degree D passes at one instance with probability at most D / modulus, a millionth or less; an
    axiom is tried at thousands.
    """

    def __init__(self) -> None:
        """Compute modulo the largest prime below 2**23."""
        super().__init__(8388593)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return uniform residues other than 0."""
        return super().draw(rng, shape).astype(np.float64)

    def fraction(self, shape: tuple[int, ...], parts: int) -> Array:
        """Return a tensor of which each element is the inverse of `parts`."""
        return super().fraction(shape, parts).astype(np.float64)

    def matmul(self, a: Array, b: Array) -> Array:
        """Return a @ b mod p."""
        if a.shape[1] > 128:
            return super().matmul(a.astype(np.int64), b.astype(np.int64)).astype(np.float64)
        return np.asarray((a @ b) % self.modulus)

    def relu(self, a: Array) -> Array:
        """Return a hash of 22 bits of each element; 0 stays 0."""
        mixed = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(42)).astype(np.float64)


class NumberedValues:
    """Random values for the leaves of searches that share a table of shapes."""

    def __init__(self, arithmetic: Arithmetic, table: ShapeTable, rng: np.random.Generator) -> None:
        """Draw leaves from `rng` when they are first needed."""
        self._arithmetic, self._table, self._rng = arithmetic, table, rng
        self._drawn: dict[tuple[Term, int], Array] = {}

    def comparison(
        self, search: ShapeSearch, left: Term, right: Term, *, trees: bool = True
    ) -> Callable[[Sequence[int]], bool]:
        """Return a function that compares two roots of the search for shape numbers as `search.numbered` yields them.

        Roots are equal when they have the same value and, with `trees`, the same split trees; their dims must agree.
        """
        slots, computes = search.slots, self.computes(search, left, right)
        first, second, one, other = slots[left], slots[right], computes[left], computes[right]

        def equal(known: Sequence[int]) -> bool:
            return (not trees or known[first] == known[second]) and bool((one(known) == other(known)).all())

        return equal

    def computes(self, search: ShapeSearch, *roots: Term) -> dict[Term, Compute]:
        """Return for each subterm of some roots the function that gives its value for shape numbers."""
        computes: dict[Term, Compute] = {}
        for node in subterms(*roots):
            if node.is_variable:
                computes[node] = self._leaf(node, search.slots[node])
                continue
            plain = self._operator(node, search, computes)
            below = tuple(search.slots[leaf] for leaf in subterms(node) if not leaf.args)
            computes[node] = plain if len(below) == len(search.leaves) else _remembered(plain, below)
        return computes

    def _leaf(self, leaf: Term, slot: int) -> Compute:
        drawn, table, arithmetic, rng = self._drawn, self._table, self._arithmetic, self._rng

        def compute(known: Sequence[int]) -> Array:
            key = leaf, known[slot]
            if key not in drawn:
                drawn[key] = arithmetic.draw(rng, table.shapes[known[slot]].dims)
            return drawn[key]

        return compute

    def _operator(self, node: Term, search: ShapeSearch, computes: dict[Term, Compute]) -> Compute:
        value, params, arithmetic, shapes = (
            OPERATORS[node.operator].value,
            dict(node.params),
            self._arithmetic,
            self._table.shapes,
        )
        arguments = [computes[argument] for argument in node.args]
        places = [search.slots[argument] for argument in node.args] or [search.slots[node]]

        def compute(known: Sequence[int]) -> Array:
            return value(
                arithmetic,
                [shapes[known[place]] for place in places],
                *[argument(known) for argument in arguments],
                **params,
            )

        return compute


def _remembered(plain: Compute, below: tuple[int, ...]) -> Compute:
    """Return the function with its results remembered by the shapes of the leaves it needs."""
    results: dict[tuple[int, ...], Array] = {}

    def compute(known: Sequence[int]) -> Array:
        key = tuple([known[slot] for slot in below])
        found = results.get(key)
        if found is None:
            if len(results) >= _REMEMBERED:
                results.clear()
            found = results[key] = plain(known)
        return found

    return compute
