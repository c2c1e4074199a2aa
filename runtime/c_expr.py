"""Expressions as C text, for one element and for a vector of lanes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from runtime.expr import COMPARISONS, Binary, Buffer, Call, Cast, Const, Expr, Load, Select, Var
from runtime.index_forms import flat_index, interval

C_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t", "bool": "_Bool"}
SHORT = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "b8"}
_PRECEDENCE = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6} | dict.fromkeys(COMPARISONS, 4)
_C_OPERATOR = {"and": "&&", "or": "||", "//": "/"}
_LIBM = {"exp", "log", "sqrt", "tanh", "erf", "floor", "ceil", "pow"}
# Words that may not name anything in the emitted text.
_RESERVED = set(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm main "
    "workspace lane int32_t int64_t exp log sqrt tanh erf floor ceil pow abs expf logf sqrtf tanhf erff floorf ceilf "
    "powf fabs fabsf fmod fmodf gamma j0 j1 jn y0 y1 yn signgam".split()
)


def c_name(name: str) -> str:
    """A C identifier for a name of the nest, the same one each time."""
    text = re.sub(r"\W", "_", name)
    reserved = text in _RESERVED or text.startswith("_") or re.fullmatch(r"\w+_[fib]\d+(x\d+u?)?|[fi]\d+x\d+u?", text)
    return f"{text}_" if reserved or text[:1].isdigit() else text


def literal(value: float, dtype: str) -> str:
    """A constant as C text."""
    if dtype == "bool":
        return "1" if value else "0"
    if dtype.startswith("int"):
        if dtype == "int64":
            return f"{int(value)}ll"
        return "(-2147483647 - 1)" if value == -(2**31) else str(int(value))
    suffix = "f" if dtype == "float32" else ""
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}__builtin_inf{suffix}()"
    return f'__builtin_nan{suffix}("")' if math.isnan(value) else f"{float(value)!r}{suffix}"


class ScalarText:
    """Prints expressions for one element; `extents` are those of the loops around."""

    def __init__(self, extents: Mapping[str, int]) -> None:
        self.extents = extents

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """C text of an expression, in brackets where an operator of this precedence around it needs them."""
        if isinstance(expr, Var):
            return c_name(expr.name)
        if isinstance(expr, Const):
            text = literal(expr.value, expr.dtype)
            return f"({text})" if precedence and text.startswith("-") else text
        if isinstance(expr, Load):
            return self.element(expr.buffer, expr.indices)
        if isinstance(expr, Cast):
            return f"(({C_TYPES[expr.dtype]}){self.text(expr.value, 8)})"
        if isinstance(expr, Select):
            return f"({self.text(expr.condition, 1)} ? {self.text(expr.then, 1)} : {self.text(expr.otherwise, 1)})"
        if isinstance(expr, Call):
            return self.call(expr)
        if isinstance(expr, Binary):
            return self.binary(expr, precedence)
        raise TypeError(f"not an expression: {expr!r}")

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """One element of a buffer as an lvalue."""
        return f"{c_name(buffer.name)}[{self.offset(buffer, indices)}]"

    def offset(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The row-major position of an element; 64 bits wide when the buffer needs that."""
        text = self.text(flat_index(indices, buffer.shape))
        if buffer.size < 2**31:
            return text
        stride, terms = buffer.size, []
        for index, extent in zip(indices, buffer.shape):
            stride //= extent
            terms.append(f"(int64_t){self.text(index, 8)} * {stride}")
        return " + ".join(terms)

    def call(self, expr: Call) -> str:
        """An intrinsic: libm's, or a helper of the prelude."""
        args = ", ".join(self.text(arg) for arg in expr.args)
        if expr.name in _LIBM and expr.dtype in ("float32", "float64"):
            return f"{expr.name}{'f' if expr.dtype == 'float32' else ''}({args})"
        return f"{expr.name}_{SHORT[expr.dtype]}({args})"

    def binary(self, expr: Binary, precedence: int) -> str:
        """An operator; floor division and remainder become C's where the operands cannot be negative."""
        op, dtype = expr.op, expr.a.dtype
        if op in ("min", "max"):
            return f"{op}_{SHORT[dtype]}({self.text(expr.a)}, {self.text(expr.b)})"
        if op in ("//", "%") and not self._truncation_is_floor(expr):
            name = "floordiv" if op == "//" else "floormod"
            return f"{name}_{SHORT[dtype]}({self.text(expr.a)}, {self.text(expr.b)})"
        level = _PRECEDENCE[op]
        # gcc warns about `a && b || c`, and equality binds looser than `<`: bracket comparisons and logic inside logic.
        left = level + 1 if level == 4 else level
        text = f"{self.text(expr.a, left)} {_C_OPERATOR.get(op, op)} {self.text(expr.b, level + 1)}"
        return f"({text})" if level < precedence else text

    def _truncation_is_floor(self, expr: Binary) -> bool:
        if expr.a.dtype.startswith("float"):
            return False
        return interval(expr.a, self.extents)[0] >= 0 and interval(expr.b, self.extents)[0] > 0
