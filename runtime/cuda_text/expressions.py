"""Expressions as CUDA C text for one thread.

Elements of global memory are written with one row-major position, those of a block's and a thread's own arrays with one
index per dimension, so that checks see an index that leaves its row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.c_text.expressions import SHORT, ScalarText, c_name, literal
from runtime.cuda_text import tensor_expressions
from runtime.cuda_text.tensor_expressions import CUDA_TYPES
from runtime.expr import NARROW_FLOATS, Binary, Buffer, Call, Const, Expr, Var

__all__ = ["CUDA_TYPES", "CudaText", "cuda_literal", "cuda_name"]

_RESERVED = set(
    "bool true false class new delete this template typename namespace using try catch throw public private protected "
    "virtual operator friend explicit export mutable and or not xor min max half float2 float4 int2 int4 double2 "
    "longlong2 threadIdx blockIdx blockDim gridDim warpSize isinf isnan norm signbit dim3 uint".split()
)
_WARP_CALL = re.compile(r"warp_(add|mul|min|max)")


def cuda_name(name: str) -> str:
    """A name of the nest as an identifier of CUDA C."""
    text = c_name(name)
    return f"{text}_" if text in _RESERVED or text in CUDA_TYPES.values() else text


def cuda_literal(value: float, dtype: str) -> str:
    """A constant as CUDA C text.

    >>> cuda_literal(0.5, "float32"), cuda_literal(float("-inf"), "float32"), cuda_literal(True, "bool")
    ('0.5f', '-__builtin_inff()', 'true')
    """
    if dtype == "bool":
        return "true" if value else "false"
    return literal(value, dtype)


class CudaText(tensor_expressions.CudaText):
    """Prints expressions for one element; `extents` are those of the loops around."""

    def __init__(self, extents: Mapping[str, int]) -> None:
        super().__init__(extents, frozenset())

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """CUDA C text of an expression, in brackets where an operator of this precedence around it needs them."""
        if isinstance(expr, Var):
            return expr.name if "." in expr.name else cuda_name(expr.name)  # a member of a vector, or a variable
        if isinstance(expr, Const) and expr.dtype not in NARROW_FLOATS:
            text = cuda_literal(expr.value, expr.dtype)
            return f"({text})" if precedence and text.startswith("-") else text
        return super().text(expr, precedence)

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """One element of a buffer as an lvalue."""
        name = cuda_name(buffer.name)
        if buffer.scope == "global":
            return f"{name}[{self.offset(buffer, indices)}]"
        if not indices:
            return name
        return name + "".join(f"[{self.text(index)}]" for index in indices)

    def binary(self, expr: Binary, precedence: int) -> str:
        """An operator; the smaller and larger of two floats are one instruction."""
        if expr.op in ("min", "max") and expr.dtype.startswith("float"):
            name = f"f{expr.op}{'f' if expr.dtype == 'float32' else ''}"
            return f"{name}({self.text(expr.a)}, {self.text(expr.b)})"
        return ScalarText.binary(self, expr, precedence)

    def call(self, expr: Call) -> str:
        """An intrinsic, or a combination of the values of a warp's lanes."""
        if _WARP_CALL.fullmatch(expr.name):
            return f"{expr.name}_{SHORT[expr.dtype]}({self.text(expr.args[0])})"
        return ScalarText.call(self, expr)
