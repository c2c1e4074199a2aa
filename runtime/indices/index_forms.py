"""Facts about integer index expressions: their range, how they step with one variable, what they are multiples of.

All facts are sound and may be weak: "unknown" is always allowed as an answer. Variables' ranges come as a mapping from
name to extent (a variable runs over 0 .. extent - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from operator import is_

from runtime.expr import Binary, Const, Expr, Number, Select, Var
from runtime.expr_tree import children, free_variables, rebuild, substitute
from runtime.indices import affine
from runtime.indices.affine import Interval


def fold(expr: Expr) -> Expr:
    """Fold integer constants and drop neutral operands, bottom up.

    >>> print(fold((Var("i") * 1 + 0) * 4 + (Const(2) + 3)))
    i * 4 + 5
    >>> print(fold(Var("i") + 3 + (-3)))
    i
    """
    if isinstance(expr, (Var, Const)) or getattr(expr, "folded", False):
        return expr
    parts = children(expr)
    folded_parts = tuple([fold(part) for part in parts])
    if not all(map(is_, folded_parts, parts)):
        expr = rebuild(expr, folded_parts)
    return _fold_top(expr)


def _fold_top(expr: Expr) -> Expr:
    """Fold an expression whose parts are folded."""
    replacement = _fold_node(expr)
    if replacement is None:
        object.__setattr__(expr, "folded", True)
        return expr
    return replacement


def _fold_node(node: Expr) -> Expr | None:
    if not isinstance(node, Binary):
        if isinstance(node, Select) and isinstance(node.condition, Const):
            return node.then if node.condition.value else node.otherwise
        return None
    a, b, op = node.a, node.b, node.op
    number = b if isinstance(b, Const) else a
    if not isinstance(number, Const) or number.dtype not in ("int32", "int64", "bool"):
        return None
    if isinstance(a, Const) and isinstance(b, Const):
        value = _CONSTANT_RESULT[op](a.value, b.value) if op not in ("//", "%") or b.value else None
        return None if value is None else Const(value, node.dtype)
    if isinstance(b, Const):
        if (op in ("+", "-") and b.value == 0) or (op in ("*", "//") and b.value == 1):
            return a
        if (op == "*" and b.value == 0) or (op == "%" and b.value == 1):
            return Const(0, node.dtype)
        if op == "and":
            return a if b.value else b
        if op == "or":
            return b if b.value else a
        if op == "+" and isinstance(a, Binary) and a.op == "+" and isinstance(a.b, Const):
            total = Binary("+", a.a, Const(a.b.value + b.value, b.dtype))
            folded = _fold_node(total)
            return total if folded is None else folded
    if isinstance(a, Const):
        if op == "+" and a.value == 0:
            return b
        if op == "*" and a.value in (0, 1):
            return b if a.value else a
        if op == "and":
            return b if a.value else a
        if op == "or":
            return a if a.value else b
    return None


_CONSTANT_RESULT: dict[str, Callable[..., Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "min": min,
    "max": max,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
}


def interval(expr: Expr, extents: Mapping[str, int]) -> Interval:
    """Bounds (lowest, highest) of an integer expression; infinite where unknown.

    >>> interval(Var("i") * 4 - Var("j"), {"i": 3, "j": 2})
    (-1, 8)
    """
    return affine.interval(expr, {name: (0, extent - 1) for name, extent in extents.items()})


def multiple_of(expr: Expr) -> int:
    """A number that divides every value of the expression; 0 means the value is always 0.

    >>> multiple_of(Var("i") * 32 + Var("j") * 48)
    16
    """
    if isinstance(expr, Const):
        return abs(int(expr.value))
    if isinstance(expr, Binary) and expr.op in ("+", "-"):
        return math.gcd(multiple_of(expr.a), multiple_of(expr.b))
    if isinstance(expr, Binary) and expr.op == "*":
        return multiple_of(expr.a) * multiple_of(expr.b)
    if isinstance(expr, Binary) and expr.op == "%":
        return math.gcd(multiple_of(expr.a), multiple_of(expr.b))
    if isinstance(expr, Binary) and expr.op == "//" and isinstance(expr.b, Const) and expr.b.value > 0:
        whole = multiple_of(expr.a)
        return whole // int(expr.b.value) if whole % int(expr.b.value) == 0 else 1
    return 1


def step(expr: Expr, var: str, extent: int) -> int | None:
    """By how much the expression grows when `var` grows by 1, or None when that is not one number.

    Knows that a short run of `var` may stay inside one block of a division or remainder:

    >>> v = Var("v0") * 16 + Var("v1")
    >>> step(v // 32, "v1", 16), step(v % 32, "v1", 16), step(v // 8, "v1", 16)
    (0, 1, None)
    """
    if var not in free_variables(expr):
        return 0
    if isinstance(expr, Var):
        return 1
    if not isinstance(expr, Binary):
        return None
    a, b = step(expr.a, var, extent), step(expr.b, var, extent)
    if a is None or b is None:
        return None
    if expr.op == "+":
        return a + b
    if expr.op == "-":
        return a - b
    if expr.op == "*":
        if b == 0 and isinstance(expr.b, Const):
            return a * int(expr.b.value)
        return b * int(expr.a.value) if a == 0 and isinstance(expr.a, Const) else None
    if expr.op in ("//", "%") and isinstance(expr.b, Const) and expr.b.value > 0 and a >= 0:
        block = int(expr.b.value)
        base = fold(substitute(expr.a, {var: Const(0)}))
        if a * (extent - 1) < math.gcd(multiple_of(base), block):
            return 0 if expr.op == "//" else a
    return None


def flat_step(indices: tuple[Expr, ...], shape: tuple[int, ...], var: str, extent: int) -> int | None:
    """`step` of the row-major position of an element.

    >>> flat_step((Var("i"), Var("j") * 2), (4, 8), "j", 4)
    2
    """
    total, stride = 0, 1
    for index, length in zip(reversed(indices), reversed(shape)):
        moved = step(index, var, extent)
        if moved is None:
            return None
        total += moved * stride
        stride *= length
    return total


def flat_index(indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Expr:
    """The row-major position of an element.

    >>> print(flat_index((Var("i"), Var("j")), (4, 8)))
    i * 8 + j
    """
    terms: list[Expr] = []
    stride = 1
    for index, extent in zip(reversed(indices), reversed(shape)):
        folded = fold(index)
        terms.append(folded if stride == 1 else _fold_top(Binary("*", folded, Const(stride, index.dtype))))
        stride *= extent
    total = terms.pop() if terms else Const(0)
    for term in reversed(terms):
        total = _fold_top(Binary("+", total, term))
    return total


def divide(expr: Expr, divisor: int) -> Expr:
    """The quotient of an expression that is a multiple of the divisor, without a division where that shows.

    >>> print(divide(Var("i") * 32 + Var("j") * 16, 16))
    i * 2 + j
    """
    if isinstance(expr, Const):
        return Const(int(expr.value) // divisor, expr.dtype)
    if isinstance(expr, Binary) and expr.op in ("+", "-"):
        return Binary(expr.op, divide(expr.a, divisor), divide(expr.b, divisor))
    if isinstance(expr, Binary) and expr.op == "*" and isinstance(expr.b, Const) and expr.b.value % divisor == 0:
        return fold(expr.a * (int(expr.b.value) // divisor))
    return expr if divisor == 1 else Binary("//", expr, Const(divisor, expr.dtype))
