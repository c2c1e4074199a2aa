"""Instructions that an expression takes, by the unit that executes them."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.expr import COMPARISONS, LOGICAL, Binary, Call, Cast, Expr, Load, Select
from runtime.expr_tree import children

# Instructions (and how many of them go to the special function unit) of what is not one instruction.
CALLS = {
    "exp": (3, 1), "log": (4, 1), "sqrt": (8, 1), "tanh": (12, 2), "erf": (24, 1), "sigmoid": (12, 2),
    "abs": (1, 0), "floor": (1, 1), "ceil": (1, 1), "pow": (24, 2),
}  # fmt: skip
DIVISION = (9, 1)  # of floats
INTEGER_DIVISION = 4  # by a constant: multiply, shift, correct


@dataclass(frozen=True)
class Operations:
    """fused: multiply-adds, multiplications and additions. other: all else that is issued. special: those of `other`
    that the special function unit executes.
    """

    fused: float = 0.0
    other: float = 0.0
    special: float = 0.0

    def __add__(self, more: Operations) -> Operations:
        return Operations(self.fused + more.fused, self.other + more.other, self.special + more.special)


def operations(expr: Expr) -> Operations:
    """Instructions to compute the value of an expression, its loads and their indices left out.

    >>> from runtime.expr import Buffer, Var
    >>> A, i = Buffer("A", (4,)), Var("i")
    >>> operations(A[i] + A[i + 1] * A[i])
    Operations(fused=1.0, other=0.0, special=0.0)
    """
    if isinstance(expr, Load):
        return Operations()
    below = Operations()
    for part in children(expr):
        below = below + operations(part)
    if isinstance(expr, Call):
        issued, special = CALLS[expr.name]
        return below + Operations(0.0, issued, special)
    if isinstance(expr, (Select, Cast)):
        return below + Operations(0.0, 1.0)
    if not isinstance(expr, Binary):
        return below
    return below + _binary(expr)


def _binary(expr: Binary) -> Operations:
    if expr.op in COMPARISONS or expr.op in LOGICAL or expr.op in ("min", "max"):
        return Operations(0.0, 1.0)
    if expr.op in ("//", "%"):
        return Operations(0.0, INTEGER_DIVISION)
    if expr.op == "/":
        return Operations(0.0, *DIVISION)
    if not expr.dtype.startswith("float"):
        return Operations(0.0, 1.0)
    # An addition next to a multiplication is fused with it, which is counted already.
    if expr.op in ("+", "-") and any(isinstance(part, Binary) and part.op == "*" for part in (expr.a, expr.b)):
        return Operations()
    return Operations(1.0)
