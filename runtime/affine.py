"""Index arithmetic in a canonical form: simplification, interval bounds, and proofs of guards.

An integer expression becomes `Affine`: a constant plus coefficients of atoms. An atom is a variable or something that
is not linear (a floor division, a remainder, a load). Equal sums therefore cancel, whatever their brackets were:
`(i0 * 8 + i1) - i0 * 8` is `i1`, and with 0 <= i1 < 8 also `(i0 * 8 + i1) // 8` is `i0`.

`ranges` gives the inclusive interval of each variable, as {"i0": (0, 15)}; a variable without one is unbounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Union

from runtime.expr import COMPARISONS, Binary, Call, Cast, Const, Expr, Load, Select, Var, children, rebuild

Ranges = Mapping[str, tuple[int, int]]
Interval = tuple[Union[int, float], Union[int, float]]

EVERYTHING: Interval = (-math.inf, math.inf)
TRUE, FALSE = Const(True, "bool"), Const(False, "bool")


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
        """The expression, positive terms first in order of appearance, the constant last."""
        result: Expr | None = None
        for atom, coefficient in sorted(self.terms.items(), key=lambda item: item[1] < 0):
            term = atom if abs(coefficient) == 1 else Binary("*", atom, Const(abs(coefficient)))
            if result is None:
                result = term if coefficient > 0 else Binary("*", atom, Const(coefficient))
            else:
                result = Binary("+" if coefficient > 0 else "-", result, term)
        if result is None:
            return Const(self.const)
        if self.const:
            result = Binary("+" if self.const > 0 else "-", result, Const(abs(self.const)))
        return result


def bounds(expr: Expr, ranges: Ranges) -> Interval:
    """The inclusive interval of an integer expression; infinite where nothing is known.

    >>> i, j = Var("i"), Var("j")
    >>> bounds((i * 8 + j) // 4, {"i": (0, 3), "j": (0, 7)})
    (0, 7)
    """
    return affine_bounds(Simplifier(ranges).affine(expr), ranges)


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """An equal expression in canonical form, with what `ranges` decides decided.

    >>> i, j = Var("i"), Var("j")
    >>> print(simplify((i * 8 + j - i * 4) // 4, {"i": (0, 3), "j": (0, 3)}))
    i
    >>> print(simplify((i + j < 7) & (i >= 1), {"i": (0, 3), "j": (0, 3)}))
    i >= 1
    """
    return Simplifier(ranges).value(expr)


def affine_bounds(form: Affine, ranges: Ranges) -> Interval:
    """The inclusive interval of an affine form."""
    low: int | float = form.const
    high: int | float = form.const
    for atom, coefficient in form.terms.items():
        least, most = _atom_bounds(atom, ranges)
        if coefficient > 0:
            low, high = low + coefficient * least, high + coefficient * most
        else:
            low, high = low + coefficient * most, high + coefficient * least
    return low, high


def _atom_bounds(atom: Expr, ranges: Ranges) -> Interval:
    if isinstance(atom, Var):
        return ranges.get(atom.name, EVERYTHING)
    if isinstance(atom, Select):
        a, b = bounds(atom.then, ranges), bounds(atom.otherwise, ranges)
        return min(a[0], b[0]), max(a[1], b[1])
    if isinstance(atom, Binary) and isinstance(atom.b, Const) and atom.op in ("//", "%") and atom.b.value > 0:
        divisor = int(atom.b.value)
        low, high = bounds(atom.a, ranges)
        if atom.op == "%":
            return (low, high) if 0 <= low and high < divisor else (0, divisor - 1)
        return _floor(low, divisor), _floor(high, divisor)
    if isinstance(atom, Binary) and atom.op in ("min", "max"):
        a, b = bounds(atom.a, ranges), bounds(atom.b, ranges)
        pick = min if atom.op == "min" else max
        return pick(a[0], b[0]), pick(a[1], b[1])
    if isinstance(atom, Binary) and atom.op == "*":
        a, b = bounds(atom.a, ranges), bounds(atom.b, ranges)
        if math.inf in (-a[0], a[1], -b[0], b[1]):
            return EVERYTHING
        corners = [x * y for x in a for y in b]
        return min(corners), max(corners)
    return EVERYTHING


def _floor(value: int | float, divisor: int) -> int | float:
    return value if math.isinf(value) else value // divisor


class Simplifier:
    """Simplification under given ranges; lowering adds what variables and loads stand for.

    values: affine forms to put in for variables. rewrite_load: called with a load's buffer and its index forms; gives
    the new load.
    """

    def __init__(
        self,
        ranges: Ranges,
        values: Mapping[str, Affine] | None = None,
        rewrite_load: Callable[[Load, list[Affine]], Expr] | None = None,
    ) -> None:
        self.ranges = ranges
        self.values = values or {}
        self.rewrite_load = rewrite_load

    def affine(self, expr: Expr) -> Affine:
        """The affine form of an int32 expression."""
        if isinstance(expr, Var):
            known = self.values.get(expr.name)
            return known if known is not None else Affine(0, {expr: 1})
        if isinstance(expr, Const):
            return Affine(int(expr.value))
        if isinstance(expr, Binary):
            return self._affine_binary(expr.op, self.affine(expr.a), self.affine(expr.b))
        simple = self._generic(expr)
        return self.affine(simple) if isinstance(simple, (Const, Binary)) else Affine(0, {simple: 1})

    def _affine_binary(self, op: str, a: Affine, b: Affine) -> Affine:
        if op == "+":
            return a.plus(b)
        if op == "-":
            return a.plus(b, -1)
        if op == "*":
            if not b.terms:
                return a.times(b.const)
            if not a.terms:
                return b.times(a.const)
        elif op in ("min", "max"):
            low, high = affine_bounds(a.plus(b, -1), self.ranges)
            if high <= 0:
                return a if op == "min" else b
            if low >= 0:
                return b if op == "min" else a
        elif not b.terms and b.const > 0:
            return self.floordiv(a, b.const) if op == "//" else self.mod(a, b.const)
        return Affine(0, {Binary(op, a.to_expr(), b.to_expr()): 1})

    def floordiv(self, form: Affine, divisor: int) -> Affine:
        """form // divisor, for a positive divisor."""
        if divisor == 1:
            return form
        whole, rest = _divide_terms(form, divisor)
        low, high = affine_bounds(rest, self.ranges)
        if _floor(low, divisor) == _floor(high, divisor):
            return whole.plus_const(int(_floor(low, divisor)))
        common = math.gcd(divisor, *rest.terms.values())
        if common > 1:
            # (g·x + r) // (g·d) == (x + r // g) // d
            rest = Affine(rest.const // common, {a: c // common for a, c in rest.terms.items()})
            divisor //= common
            if divisor == 1:
                return whole.plus(rest)
        first, _, step = self._low_part(rest, divisor)
        if step > 1:
            return whole.plus(self.floordiv(first, divisor // step))
        inner = rest.to_expr()
        if isinstance(inner, Binary) and inner.op == "//" and isinstance(inner.b, Const):
            divisor *= int(inner.b.value)
            inner = inner.a
        return whole.plus(Affine(0, {Binary("//", inner, Const(divisor)): 1}))

    def mod(self, form: Affine, divisor: int) -> Affine:
        """form % divisor, for a positive divisor."""
        _, rest = _divide_terms(form, divisor)
        low, high = affine_bounds(rest, self.ranges)
        quotient = _floor(low, divisor)
        if quotient == _floor(high, divisor):
            return rest.plus_const(-int(quotient) * divisor)
        common = math.gcd(divisor, rest.const, *rest.terms.values())
        if common > 1:
            # g·x % (g·d) == g · (x % d)
            smaller = Affine(rest.const // common, {a: c // common for a, c in rest.terms.items()})
            return self.mod(smaller, divisor // common).times(common)
        first, second, step = self._low_part(rest, divisor)
        if step > 1:
            return self.mod(first, divisor // step).times(step).plus(second)
        return Affine(0, {Binary("%", rest.to_expr(), Const(divisor)): 1})

    def _low_part(self, form: Affine, divisor: int) -> tuple[Affine, Affine, int]:
        """form = step · first + second with 0 <= second < step, for the largest step > 1 that divides the divisor.

        Then form // divisor is first // (divisor / step). The step is 1 when there is none.
        """
        for step in sorted({math.gcd(divisor, c) for c in form.terms.values()}, reverse=True):
            high, low = _divide_terms(form, step)
            bottom, top = affine_bounds(low, self.ranges)
            if step > 1 and bottom >= 0 and top < step:
                return high, low, step
        return form, Affine(), 1

    def value(self, expr: Expr) -> Expr:
        """An equal expression of any dtype."""
        if isinstance(expr, (Var, Const)) and expr.dtype != "int32":
            return expr
        if isinstance(expr, Binary):
            if expr.op in ("and", "or"):
                return _logic(expr.op, self.value(expr.a), self.value(expr.b))
            kind = expr.a.dtype
            if kind == "int32":
                if expr.op in COMPARISONS:
                    return self.comparison(expr.op, self.affine(expr.a), self.affine(expr.b))
                return self.affine(expr).to_expr()
        elif isinstance(expr, Var):
            return self.affine(expr).to_expr()
        return self._generic(expr)

    def _generic(self, expr: Expr) -> Expr:
        """Simplify the children; decide selects; rewrite loads."""
        if isinstance(expr, Load) and self.rewrite_load is not None:
            return self.rewrite_load(expr, [self.affine(index) for index in expr.indices])
        if isinstance(expr, Select):
            condition = self.value(expr.condition)
            if isinstance(condition, Const):
                return self.value(expr.then if condition.value else expr.otherwise)
            return Select(condition, self.value(expr.then), self.value(expr.otherwise))
        if not isinstance(expr, (Binary, Call, Cast, Load)):
            return expr
        old = children(expr)
        new = tuple(self.value(part) for part in old)
        return expr if all(a is b for a, b in zip(new, old)) else rebuild(expr, new)

    def comparison(self, op: str, a: Affine, b: Affine) -> Expr:
        """`a op b`, decided or in a normal form: variables left, constant right, `<` or `>=`."""
        difference = a.plus(b, -1)
        verdict = decide(op, difference, self.ranges)
        if verdict is not None:
            return TRUE if verdict else FALSE
        terms, const = difference.terms, difference.const
        if op in ("==", "!="):
            return Binary(op, Affine(0, terms).to_expr(), Const(-const))
        limit = -const + (1 if op in ("<=", ">") else 0)
        less = op in ("<", "<=")
        if all(coefficient < 0 for coefficient in terms.values()):
            # -x < c is x >= 1 - c
            terms, limit, less = {atom: -c for atom, c in terms.items()}, 1 - limit, not less
        return Binary("<" if less else ">=", Affine(0, terms).to_expr(), Const(limit))


def _divide_terms(form: Affine, divisor: int) -> tuple[Affine, Affine]:
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


def _logic(op: str, a: Expr, b: Expr) -> Expr:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Const):
            return other if bool(one.value) == (op == "and") else one
    return Binary(op, a, b)
