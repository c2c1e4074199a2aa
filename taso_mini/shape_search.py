"""Find shapes of the variables and constants for which terms are defined.

A rule or an axiom speaks about all shapes for which its sides are defined. `ShapeSearch` finds them among given
choices, all in order or one at random, by backtracking over the leaves (variables, then constants, whose shape is open
like a variable's). Three things make it fast enough for a million instances: shapes are interned in a `ShapeTable`, so
that a shape rule is applied once to the same arguments and looked up afterwards; the choices of a leaf that fit the
arguments beside it are remembered as a list, so that misfits are not tried again; and a `shape_index` leaves out most
misfits untried.

>>> from taso_mini.rules_text import parse_term
>>> product = parse_term("matmul(x, y)", {"x": "matrix", "y": "matrix"})
>>> choices = {"x": [Shape((2, 3))], "y": [Shape((2, 2)), Shape((3, 4))]}
>>> [found["y"].dims for found in ShapeSearch([product], choices).all()]
[(3, 4)]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from taso_mini.shape_index import Index, Key, keys
from taso_mini.shape_table import UNDEFINED, Results, ShapeTable
from taso_mini.shapes import Shape
from taso_mini.terms import Term, bind_parameters, subterms

Assignment = dict[str, Shape]


@dataclass
class _Agreement:
    """What must be the same in a leaf's shape and in one that is known before it."""

    slot: int
    key: Key
    index: Index

    def wanted(self, known: Sequence[int], shapes: Sequence[Shape]) -> Hashable:
        """Return the key that the leaf's shape must have."""
        return self.key(shapes[known[self.slot]].dims)


@dataclass
class _Filter:
    """An operator on a leaf and on what is known before it: which choices fit, remembered by the known arguments."""

    results: Results
    others: tuple[int, ...]
    places: tuple[int | None, ...]  # where each argument stands in `others`; None: the leaf itself
    agreement: _Agreement | None
    fitting: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def fit(self, choices: Sequence[int], known: Sequence[int], shapes: Sequence[Shape]) -> list[int]:
        """Return the choices for which the operator is defined."""
        given = tuple([known[slot] for slot in self.others])
        found = self.fitting.get(given)
        if found is None:
            if self.agreement is not None:
                wanted = self.agreement.wanted(known, shapes)
                choices = [choices[place] for place in self.agreement.index.at(wanted)]
            found = self.fitting[given] = [
                number
                for number in choices
                if self.results[tuple([number if place is None else given[place] for place in self.places])]
                != UNDEFINED
            ]
        return found


@dataclass
class _Level:
    """What becomes known with one leaf: its choices, the operators that test a choice at once, and the later ones."""

    leaf: int
    choices: list[int]
    direct: list[_Filter] = field(default_factory=list)
    agreements: list[_Agreement] = field(default_factory=list)
    later: list[tuple[int, Results, tuple[int, ...]]] = field(default_factory=list)
    alike: list[tuple[int, int]] = field(default_factory=list)


def leaf_name(leaf: Term) -> str:
    """Return the key under which the shape of a variable (its name) or of a constant (its text) is given."""
    return leaf.name if leaf.is_variable else str(leaf)


def leaves(*roots: Term) -> tuple[Term, ...]:
    """Return the variables in order of first use, then the constants, whose shapes follow from what stands beside them.

    >>> from taso_mini.rules_text import parse_term
    >>> print(*leaves(parse_term("matmul(Imatmul(), x)", {"x": "matrix"})))
    x Imatmul()
    """
    found = [node for node in subterms(*roots) if not node.args]
    return tuple(sorted(found, key=lambda leaf: not leaf.is_variable))


class ShapeSearch:
    """The assignments of shapes to leaves for which all roots are defined.

    Args:
        roots: terms that must be defined.
        choices: the shapes that each leaf may have, by its name (a constant's text with parameters bound).
        params: values of parameter variables.
        alike: pairs of roots whose dims must be the same.
        table: shapes known from earlier searches.
    """

    def __init__(
        self,
        roots: Sequence[Term],
        choices: Mapping[str, Sequence[Shape]],
        params: Mapping[str, Hashable] | None = None,
        *,
        alike: Sequence[tuple[Term, Term]] = (),
        table: ShapeTable | None = None,
    ) -> None:
        """Order the leaves, and the operators after the last leaf that they need."""
        self.table = table or ShapeTable()
        bound = {root: bind_parameters(root, params or {}) for root in roots}
        self.leaves = leaves(*bound.values())
        inner = [node for node in subterms(*bound.values()) if node.args]
        self.slots = {node: slot for slot, node in enumerate([*self.leaves, *inner])}
        self._levels = [self._level(leaf, choices) for leaf in self.leaves]
        depth = {leaf: level for level, leaf in enumerate(self.leaves)}
        for node in inner:
            depth[node] = max(depth[argument] for argument in node.args)
            self._levels[depth[node]].later.append(
                (self.slots[node], self.table.results(node), tuple(self.slots[a] for a in node.args))
            )
        for level, leaf in zip(self._levels, self.leaves, strict=True):
            self._find_direct(
                level,
                leaf,
                [
                    node
                    for node in inner
                    if leaf in node.args and max(depth[argument] for argument in node.args) == depth[leaf]
                ],
            )
        for one, other in alike:
            first, second = bound[one], bound[other]
            self._levels[max(depth[first], depth[second])].alike.append((self.slots[first], self.slots[second]))

    def _level(self, leaf: Term, choices: Mapping[str, Sequence[Shape]]) -> _Level:
        numbers = self.table.numbers(choices[leaf_name(leaf)])
        if not leaf.is_variable:
            results = self.table.results(leaf)
            numbers = [number for number in numbers if results[(number,)] != UNDEFINED]
        return _Level(self.slots[leaf], numbers)

    def _find_direct(self, level: _Level, leaf: Term, nodes: Sequence[Term]) -> None:
        """Note the operators on the leaf itself and on what is known before it."""
        later = {slot for slot, _, _ in level.later}
        for node in nodes:
            others = tuple(dict.fromkeys(self.slots[argument] for argument in node.args if argument is not leaf))
            if not later.intersection(others):
                places = tuple(None if a is leaf else others.index(self.slots[a]) for a in node.args)
                agreement = self._agreement(level, leaf, node)
                level.direct.append(_Filter(self.table.results(node), others, places, agreement))
                level.agreements += [agreement] if agreement else []

    def _agreement(self, level: _Level, leaf: Term, node: Term) -> _Agreement | None:
        """Return what must be the same in the leaf and in another argument of the node, if that is known to be so."""
        telling = [(argument, key) for argument, key in zip(node.args, keys(node), strict=True) if key is not None]
        own = next((key for argument, key in telling if argument is leaf), None)
        other = next(((argument, key) for argument, key in telling if argument is not leaf), None)
        if own is None or other is None:
            return None
        choices = [self.table.shapes[number].dims for number in level.choices]
        return _Agreement(self.slots[other[0]], other[1], Index(choices, own))

    def _fitting(self, level: _Level, known: list[int]) -> list[int]:
        """Return the leaf's choices for which the operators that test it at once are defined."""
        if not level.direct:
            return level.choices
        first, *others = [operator.fit(level.choices, known, self.table.shapes) for operator in level.direct]
        for fits in others:
            if fits is not first:
                allowed = set(fits)
                first = [number for number in first if number in allowed]
        return first

    def _defined(self, level: _Level, known: list[int]) -> bool:
        """Compute what becomes known with the leaf; whether all of it is defined and alike where it must be."""
        for slot, results, arguments in level.later:
            result = results[tuple([known[argument] for argument in arguments])]
            if result == UNDEFINED:
                return False
            known[slot] = result
        shapes = self.table.shapes
        for one, other in level.alike:
            if known[one] != known[other] and shapes[known[one]].dims != shapes[known[other]].dims:
                return False
        return True

    def numbered(self) -> Iterator[list[int]]:
        """Yield every assignment as the shape numbers of all subterms, by `slots`; one list, overwritten."""
        known = [UNDEFINED] * len(self.slots)
        levels = self._levels

        def search(depth: int) -> Iterator[list[int]]:
            level = levels[depth]
            last = depth + 1 == len(levels)
            for choice in self._fitting(level, known):
                known[level.leaf] = choice
                if self._defined(level, known):
                    if last:
                        yield known
                    else:
                        yield from search(depth + 1)

        return search(0)

    def assignment(self, known: Sequence[int]) -> Assignment:
        """Return the leaves' shapes by name."""
        return {leaf_name(leaf): self.table.shapes[known[slot]] for slot, leaf in enumerate(self.leaves)}

    def all(self) -> Iterator[Assignment]:
        """Yield every assignment, in the order of the choices."""
        for known in self.numbered():
            yield self.assignment(known)

    def sample(self, rng: np.random.Generator, *, tries: int = 3000) -> Assignment | None:
        """Return a random assignment, or None when there is none or it is not found in so many tries of one shape."""
        known = [UNDEFINED] * len(self.slots)
        left = tries  # misfits that are not tried count as tried, so that an index changes no draw

        def search(depth: int) -> bool:
            nonlocal left
            if depth == len(self._levels):
                return True
            level = self._levels[depth]
            order, after = rng.permutation(len(level.choices)), 0
            for place in self._promising(level, known, order):
                left -= place - after + 1
                after = place + 1
                if left < 0:
                    return False
                known[level.leaf] = level.choices[order[place]]
                if self._defined(level, known) and search(depth + 1):
                    return True
            left -= len(order) - after
            return False

        return self.assignment(known) if search(0) else None

    def _promising(self, level: _Level, known: Sequence[int], order: np.ndarray) -> Sequence[int]:
        """Return the places in an order of the choices of those that may fit."""
        if not level.agreements:
            return range(len(order))
        shapes = self.table.shapes
        may, *others = [one.index.mask(one.wanted(known, shapes)) for one in level.agreements]
        for mask in others:
            may = may & mask
        places: list[int] = may[order].nonzero()[0].tolist()
        return places


def assignments(
    roots: Sequence[Term], choices: Mapping[str, Sequence[Shape]], params: Mapping[str, Hashable] | None = None
) -> Iterator[Assignment]:
    """Yield every choice of one shape per leaf for which all roots are defined, in the order of the choices."""
    return ShapeSearch(roots, choices, params).all()
