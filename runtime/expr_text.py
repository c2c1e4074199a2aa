"""Expressions printed as the Python text that would build them again; `loop_nest_text` reads it back.

>>> from runtime.expr import Buffer, maximum
>>> i, A = Var("i"), Buffer("A", (8,))
>>> print((i + 1) * 2 - (i - 1), maximum(A[i], 0) * 2)
(i + 1) * 2 - (i - 1) max(A[i], 0.0) * 2.0
"""

from __future__ import annotations

from runtime.expr import Binary, Call, Cast, Const, Expr, Load, Select, Var

_PRECEDENCE = {"or": 1, "and": 2, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4}
_PRECEDENCE |= {"+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6}


def show(expr: Expr, precedence: int = 0) -> str:
    """Print as Python text, with only the brackets it needs.

    Constants whose dtype the reader could not guess are printed with it: `int64(3)`, `float64(0.5)`.
    """
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Const):
        text = repr(float(expr.value) if "float" in expr.dtype else expr.value)
        if expr.dtype in ("int64", "float64", "float16", "bfloat16"):
            return f"{expr.dtype}({text})"
        return f"({text})" if precedence and text.startswith("-") else text
    if isinstance(expr, Load):
        return f"{expr.buffer.name}[{', '.join(show(index) for index in expr.indices) or '()'}]"
    if isinstance(expr, Call):
        return f"{expr.name}({', '.join(show(arg) for arg in expr.args)})"
    if isinstance(expr, Cast):
        return f"cast({expr.dtype}, {show(expr.value)})"
    if isinstance(expr, Select):
        return f"select({show(expr.condition)}, {show(expr.then)}, {show(expr.otherwise)})"
    if isinstance(expr, Binary):
        if expr.op in ("min", "max"):
            return f"{expr.op}({show(expr.a)}, {show(expr.b)})"
        level = _PRECEDENCE[expr.op]
        text = f"{show(expr.a, level)} {expr.op} {show(expr.b, level + 1)}"
        return f"({text})" if level < precedence or (level == 4 and precedence == 4) else text
    raise TypeError(f"not an expression: {expr!r}")
