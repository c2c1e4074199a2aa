"""Choices of a leaf's shape by the lengths that must agree with what stands beside it.

To draw or to enumerate shapes that fit, `shape_search` tries choices, and nearly all are misfits: a sum wants equal
shapes, a concatenation equal lengths but on one axis, a matrix product equal inner lengths. `AGREEING` says which
lengths of an operator's arguments must be the same; an `Index` then finds the choices that may fit by one look-up.
What it leaves is still tried by the operator's own shape rule: the table is a speed-up, and an operator may be missing.

>>> from taso_mini.rules_text import parse_term
>>> product = parse_term("matmul(x, y)", {"x": "matrix", "y": "matrix"})
>>> index = Index([(2, 3), (3, 4), (2, 5)], keys(product)[1])
>>> index.at(keys(product)[0]((7, 2)))  # which right factors fit a left one of 7 x 2
[0, 2]
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from taso_mini.terms import Term

Dims = tuple[int, ...]
Key = Callable[[Dims], Hashable]


def _whole(dims: Dims) -> Hashable:
    return dims


def _first(dims: Dims) -> Hashable:
    return dims[:1]


def _second(dims: Dims) -> Hashable:
    return dims[1:2]


# The lengths of each argument that must be the same in all; None: an argument that says nothing.
AGREEING: Mapping[str, tuple[Key | None, ...]] = {
    "add": (_whole, _whole),
    "mul": (_whole, _whole),
    "matmul": (_second, _first),
    "scale": (_second, _first),
    "bias": (_second, _first),
    "scale_kernel": (_first, _first),
    "conv_bias": (None, _first, _first),
}


def keys(node: Term) -> tuple[Key | None, ...]:
    """Return what of each argument's dims must be the same in all arguments."""
    if node.operator == "concat":
        axis = node.param("axis")
        assert isinstance(axis, int)
        return (lambda dims: dims[:axis] + dims[axis + 1 :],) * 2
    return AGREEING.get(node.operator, (None,) * len(node.args))


class Index:
    """The places of choices in their list, by one key."""

    def __init__(self, choices: Sequence[Dims], key: Key) -> None:
        """Sort the choices by their keys."""
        self._length = len(choices)
        self._places: dict[Hashable, list[int]] = {}
        self._masks: dict[Hashable, np.ndarray] = {}
        for place, dims in enumerate(choices):
            self._places.setdefault(key(dims), []).append(place)

    def at(self, key: Hashable) -> list[int]:
        """Return the places of the choices with a key."""
        return self._places.get(key, [])

    def mask(self, key: Hashable) -> np.ndarray:
        """Return for every choice whether it has the key."""
        found = self._masks.get(key)
        if found is None:
            found = self._masks[key] = np.zeros(self._length, dtype=bool)
            found[self.at(key)] = True
        return found
