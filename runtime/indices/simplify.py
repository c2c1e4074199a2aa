"""Simplification of expressions in the ranges of their variables.

Integer parts go through the canonical form of `affine`; comparisons and selects that the ranges decide are decided;
floating-point arithmetic is left as it is. With 0 <= i1 < 8, `(i0 * 8 + i1) // 8` is `i0` and `i0 * 8 + i1 < 64` needs
no more than i0 < 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from runtime.expr import COMPARISONS, Binary, Call, Cast, Const, Expr, Load, Select, Var
from runtime.expr_tree import children, rebuild
from runtime.indices.affine import Affine, Interval, Ranges, affine_bounds, decide, divide_terms, floor_divide

TRUE, FALSE = Const(True, "bool"), Const(False, "bool")


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


def affine_form(expr: Expr) -> Affine:
    """The affine form of an integer expression when nothing is known of its variables; found once for each node."""
    found = getattr(expr, "form", None)
    if found is None:
        found = Simplifier({}).affine(expr)
        object.__setattr__(expr, "form", found)
    return found


def place_form(indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Affine:
    """The row-major position of an element as an affine form.

    >>> print(place_form((Var("i") + 1, Var("j")), (4, 8)).to_expr())
    i * 8 + j + 8
    """
    strides = [1]
    for extent in reversed(shape[1:]):
        strides.append(strides[-1] * extent)
    form = Affine()
    for index, stride in zip(indices, reversed(strides)):
        form = form.plus(affine_form(index), stride)
    return form


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
            if isinstance(expr.b, Const) and expr.op in ("+", "*"):
                form, number = self.affine(expr.a), int(expr.b.value)
                return form.plus_const(number) if expr.op == "+" else form.times(number)
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
        whole, rest = divide_terms(form, divisor)
        low, high = affine_bounds(rest, self.ranges)
        if floor_divide(low, divisor) == floor_divide(high, divisor):
            return whole.plus_const(int(floor_divide(low, divisor)))
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
        _, rest = divide_terms(form, divisor)
        low, high = affine_bounds(rest, self.ranges)
        quotient = floor_divide(low, divisor)
        if quotient == floor_divide(high, divisor):
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

    def recombine(self, form: Affine) -> Affine:
        """Put quotients and remainders of one divisor together again: x // n * n + x % n is x."""
        for atom, coefficient in form.terms.items():
            if not (isinstance(atom, Binary) and atom.op == "%" and isinstance(atom.b, Const)):
                continue
            inner, divisor = self.affine(atom.a), int(atom.b.value)
            quotient = self.floordiv(inner, divisor)
            rest = form.plus(quotient, -coefficient * divisor).plus(Affine(0, {atom: -coefficient}))
            if len(rest.terms) == len(form.terms) - 1 - len(quotient.terms):
                return self.recombine(rest.plus(inner, coefficient))
        return form

    def _low_part(self, form: Affine, divisor: int) -> tuple[Affine, Affine, int]:
        """form = step · first + second with 0 <= second < step, for the largest step > 1 that divides the divisor.

        Then form // divisor is first // (divisor / step). The step is 1 when there is none.
        """
        for step in sorted({math.gcd(divisor, c) for c in form.terms.values()}, reverse=True):
            high, low = divide_terms(form, step)
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


def _logic(op: str, a: Expr, b: Expr) -> Expr:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Const):
            return other if bool(one.value) == (op == "and") else one
    return Binary(op, a, b)
