"""Exact numbers with true relu and max: the test that neither rounding nor a surrogate function can fool.

A number is stored as an int64 multiple of 1 / unit. Inputs are small integers; averages divide, and the unit is chosen
so that every division in a rule comes out even. Where it does not, or where a number grows too large, the arithmetic
refuses with ArithmeticError instead of rounding.

>>> exact = ExactNumbers(9)
>>> thirds = exact.window_mean(exact.draw(np.random.default_rng(0), (4, 3)))
>>> thirds / exact.unit
array([2.33333333, 1.        , 0.33333333, 0.66666667])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taso_mini.arithmetic import Array
from taso_mini.terms import Term, subterms

_LARGEST = 2.0**62  # of any intermediate result


class ExactNumbers:
    """Multiples of 1 / unit in int64, with true relu, max and mean."""

    def __init__(self, unit: int = 1, *, most: int = 3) -> None:
        """Draw integers from -most to most, 0 left out."""
        self.unit, self.most = unit, most

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return small integers other than 0."""
        size = rng.integers(1, self.most + 1, size=shape, dtype=np.int64)
        return np.asarray(size * (2 * rng.integers(0, 2, size=shape) - 1) * self.unit)

    def fraction(self, shape: tuple[int, ...], parts: int) -> Array:
        """Return a tensor of which each element is 1 / parts."""
        return self._divide(np.full(shape, self.unit, dtype=np.int64), parts)

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        return np.asarray(a + b)

    def mul(self, a: Array, b: Array) -> Array:
        """Return a * b, element by element."""
        self._check(a, b, 1)
        return self._divide(a * b, self.unit)

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix product of two 2-D arrays."""
        self._check(a, b, a.shape[1])
        return self._divide(a @ b, self.unit)

    def relu(self, a: Array) -> Array:
        """Return max(a, 0)."""
        return np.maximum(a, 0)

    def window_mean(self, windows: Array) -> Array:
        """Return the mean over the last axis."""
        return self._divide(windows.sum(axis=-1), windows.shape[-1])

    def window_max(self, windows: Array, inside: Array) -> Array:
        """Return the maximum over the last axis of the values inside the image."""
        return np.asarray(np.where(inside, windows, np.iinfo(np.int64).min).max(axis=-1))

    def equal(self, a: Array, b: Array) -> bool:
        """Whether all numbers are the same."""
        return a.shape == b.shape and bool((a == b).all())

    def _divide(self, a: Array, by: int) -> Array:
        if by == 1:
            return a
        result, rest = np.divmod(a, by)
        if rest.any():
            raise ArithmeticError(f"a multiple of 1/{self.unit} divided by {by} is not one; take a larger unit")
        return np.asarray(result)

    def _check(self, a: Array, b: Array, terms: int) -> None:
        """Raise ArithmeticError unless a sum of so many products fits in int64."""
        largest = float(np.abs(a).max(initial=0)) * float(np.abs(b).max(initial=0)) * terms
        if largest > _LARGEST:
            raise ArithmeticError(f"products of up to {largest:.1e} do not fit in 64 bits; draw smaller numbers")


def exact_for(roots: Sequence[Term]) -> ExactNumbers:
    """Return exact numbers whose unit all averages of some terms divide, in any order and nested.

    >>> from taso_mini.rules_text import parse_term
    >>> pool = "avg_pool({}, kernel=(3, 2), padding=(0, 0, 0, 0), strides=(1, 1))"
    >>> exact_for([parse_term(pool.format(pool.format("x")), {"x": "image"})]).unit
    36
    """
    unit = 1
    for root in roots:
        divisors = 1
        for node in subterms(root):
            window = node.param("kernel") if node.operator in ("avg_pool", "Cpool") else None
            if isinstance(window, tuple):
                divisors *= window[0] * window[1]
        unit = int(np.lcm(unit, divisors))
    return ExactNumbers(unit, most=2 if unit > 1 else 3)
