"""Index arithmetic in a canonical form: sums of multiples, their bounds, and proofs of comparisons.

`Affine` is a constant plus coefficients of atoms. An atom is a variable or something that is not linear (a floor
division, a remainder, a load). Equal sums cancel, whatever their brackets were: `(i0 * 8 + i1) - i0 * 8` is `i1`.
`simplify` turns expressions into this form and back.

`ranges` gives the inclusive interval of each variable, as {"i0": (0, 15)}; a variable without one is unbounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Union

from runtime.expr import Binary, Cast, Const, Expr, Select, Var

Ranges = Mapping[str, tuple[int, int]]
Interval = tuple[Union[int, float], Union[int, float]]

EVERYTHING: Interval = (-math.inf, math.inf)


class Affine:
    """const + Σ terms[atom] · atom, with no zero coefficients. Treat as immutable."""

    __slots__ = ("const", "terms")

    def __init__(self, const: int = 0, terms: dict[Expr, int] | None = None) -> None:
        self.const = const
        self.terms: dict[Expr, int] = terms or {}

    def plus(self, other: Affine, factor: int = 1) -> Affine:
        """self + factor · other."""
        terms = dict(self.terms)
        for atom, coefficient in other.terms.items():
            total = terms.get(atom, 0) + coefficient * factor
            if total:
                terms[atom] = total
            else:
                terms.pop(atom, None)
        return Affine(self.const + other.const * factor, terms)

    def times(self, factor: int) -> Affine:
        """self · factor."""
        if factor == 1:
            return self
        return Affine(self.const * factor, {a: c * factor for a, c in self.terms.items()} if factor else None)

    def plus_const(self, value: int) -> Affine:
        """self + value."""
        return Affine(self.const + value, self.terms) if value else self

    def to_expr(self) -> Expr:
        """The expression, positive terms first in order of appearance, the constant last unless only it is positive."""
        result: Expr | None = None
        const = self.const
        if const > 0 and all(coefficient < 0 for coefficient in self.terms.values()):
            result, const = Const(const), 0
        for atom, coefficient in sorted(self.terms.items(), key=lambda item: item[1] < 0):
            term = atom if abs(coefficient) == 1 else Binary("*", atom, Const(abs(coefficient)))
            if result is None:
                result = term if coefficient > 0 else Binary("*", atom, Const(coefficient))
            else:
                result = Binary("+" if coefficient > 0 else "-", result, term)
        if result is None:
            return Const(const)
        if const:
            result = Binary("+" if const > 0 else "-", result, Const(abs(const)))
        return result


def affine_bounds(form: Affine, ranges: Ranges) -> Interval:
    """The inclusive interval of an affine form."""
    low: int | float = form.const
    high: int | float = form.const
    for atom, coefficient in form.terms.items():
        least, most = interval(atom, ranges)
        if coefficient > 0:
            low, high = low + coefficient * least, high + coefficient * most
        else:
            low, high = low + coefficient * most, high + coefficient * least
    return low, high


def interval(expr: Expr, ranges: Ranges) -> Interval:
    """The inclusive interval of an integer expression, term by term: tight when no variable occurs twice.

    Atoms are such expressions, since their operands are canonical; `simplify.bounds` takes any expression.
    """
    if isinstance(expr, Var):
        return ranges.get(expr.name, EVERYTHING)
    if isinstance(expr, Const):
        return int(expr.value), int(expr.value)
    if isinstance(expr, Select):
        a, b = interval(expr.then, ranges), interval(expr.otherwise, ranges)
        return min(a[0], b[0]), max(a[1], b[1])
    if isinstance(expr, Cast) and expr.dtype.startswith("int") and not expr.value.dtype.startswith("float"):
        return interval(expr.value, ranges)
    if not isinstance(expr, Binary) or expr.op not in _INTERVALS:
        return (0, 1) if expr.dtype == "bool" else EVERYTHING
    return _INTERVALS[expr.op](interval(expr.a, ranges), interval(expr.b, ranges))


def _times(a: Interval, b: Interval) -> Interval:
    if math.inf in (-a[0], a[1], -b[0], b[1]):
        return EVERYTHING
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def _divided(a: Interval, b: Interval) -> Interval:
    divisor = b[0]
    if divisor != b[1] or divisor <= 0:
        return EVERYTHING
    return floor_divide(a[0], divisor), floor_divide(a[1], divisor)


def _remainder(a: Interval, b: Interval) -> Interval:
    divisor = b[0]
    if divisor != b[1] or divisor <= 0:
        return EVERYTHING
    return a if a[0] >= 0 and a[1] < divisor else (0, divisor - 1)


_INTERVALS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "+": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "-": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "*": _times,
    "//": _divided,
    "%": _remainder,
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
}


def floor_divide(value: int | float, divisor: int | float) -> int | float:
    """value // divisor, where infinities stay themselves."""
    return value if math.isinf(value) else value // divisor


def divide_terms(form: Affine, divisor: int) -> tuple[Affine, Affine]:
    """form = divisor · first + second, where no coefficient of second is a multiple of the divisor."""
    quotient, remainder = divmod(form.const, divisor)
    whole = {atom: c // divisor for atom, c in form.terms.items() if c % divisor == 0}
    rest = {atom: c for atom, c in form.terms.items() if c % divisor}
    return Affine(quotient, whole), Affine(remainder, rest)


def decide(op: str, difference: Affine, ranges: Ranges) -> bool | None:
    """Whether `difference op 0` always holds (True), never holds (False), or neither can be shown (None)."""
    low, high = affine_bounds(difference, ranges)
    if op == "<":
        return True if high < 0 else False if low >= 0 else None
    if op == "<=":
        return True if high <= 0 else False if low > 0 else None
    if op in (">", ">="):
        opposite = decide("<=" if op == ">" else "<", difference, ranges)
        return None if opposite is None else not opposite
    if low > 0 or high < 0:
        return op == "!="
    return op == "==" if low == high == 0 else None
