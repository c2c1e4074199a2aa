"""Expressions, elements of buffers and shared addresses as the text of a Tensor Core kernel."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.c_text.expressions import ScalarText, c_name, literal
from runtime.expr import ITEM_SIZE, Binary, Buffer, Call, Cast, Const, Expr
from runtime.indices.index_forms import divide, flat_index, fold, multiple_of

CHUNK_BYTES = 16  # what one lane copies, and one row of an 8 x 8 matrix of `ldmatrix`
CUDA_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long", "bool": "bool"}
# bfloat16 is moved as bits: only the Tensor Core computes with it.
CUDA_TYPES |= {"float16": "half", "bfloat16": "unsigned short"}
_FUNCTIONS = {"exp": "expf", "log": "logf", "sqrt": "sqrtf", "tanh": "tanhf", "erf": "erff", "abs": "fabsf"}
_FUNCTIONS |= {"floor": "floorf", "ceil": "ceilf", "pow": "powf"}


def chunk_elements(dtype: str) -> int:
    """Elements in 16 bytes."""
    return CHUNK_BYTES // ITEM_SIZE[dtype]


def zero(dtype: str) -> str:
    """The zero of a dtype."""
    return {"float16": "__float2half(0.0f)", "bfloat16": "0"}.get(dtype) or literal(0, dtype)


class CudaText(ScalarText):
    """Prints expressions for one element.

    fragments: how the element of a fragment that is being stored is written, by buffer name.
    swizzled: names of the shared buffers whose chunks are permuted. padded: elements added to each row, by name.
    by_element: those of the swizzled that four neighbouring rows of eight elements are read from at once.
    """

    def __init__(self, extents: Mapping[str, int], swizzled: frozenset[str]) -> None:
        super().__init__(extents, {})
        self.swizzled = swizzled
        self.padded: dict[str, int] = {}
        self.by_element: frozenset[str] = frozenset()
        self.fragments: dict[str, str] = {}

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """CUDA text of an expression."""
        if isinstance(expr, Const) and expr.dtype in ("float16", "bfloat16"):
            if expr.value == 0:
                return zero(expr.dtype)
            value = literal(float(expr.value), "float32")
            return f"__float2half({value})" if expr.dtype == "float16" else f"to_bfloat16({value})"
        if isinstance(expr, Cast):
            return self.cast(expr)
        return super().text(expr, precedence)

    def cast(self, expr: Cast) -> str:
        """A conversion; the 16-bit types have functions for theirs."""
        value, old = self.text(expr.value), expr.value.dtype
        if expr.dtype == old:
            return value
        if expr.dtype == "float16":
            return f"__float2half({value})"
        if expr.dtype == "bfloat16":
            return f"to_bfloat16({value})"
        if old == "float16":
            return f"__half2float({value})"
        if old == "bfloat16":
            return f"__uint_as_float((unsigned){self.text(expr.value, 9)} << 16)"
        return f"(({CUDA_TYPES[expr.dtype]}){self.text(expr.value, 9)})"

    def binary(self, expr: Binary, precedence: int) -> str:
        """An operator; minimum and maximum of floats are CUDA's."""
        if expr.op in ("min", "max"):
            name = f"f{expr.op}f" if expr.dtype == "float32" else expr.op
            return f"{name}({self.text(expr.a)}, {self.text(expr.b)})"
        return super().binary(expr, precedence)

    def call(self, expr: Call) -> str:
        """An intrinsic of float32."""
        args = [self.text(arg) for arg in expr.args]
        if expr.name == "sigmoid":
            return f"(1.0f / (1.0f + expf(-({args[0]}))))"
        return f"{_FUNCTIONS[expr.name]}({', '.join(args)})"

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """One element of a buffer as an lvalue."""
        if buffer.scope == "fragment":
            return self.fragments[buffer.name]
        if buffer.scope == "shared":
            return f"{c_name(buffer.name)}[{self.shared_offset(buffer, indices)}]"
        return super().element(buffer, indices)

    def pitch(self, buffer: Buffer) -> int:
        """Elements from one row of a shared buffer to the next."""
        return buffer.shape[-1] + self.padded.get(buffer.name, 0)

    def shared_size(self, buffer: Buffer) -> int:
        """Elements of a shared buffer, with what is added to its rows."""
        return buffer.size // buffer.shape[-1] * self.pitch(buffer)

    def shared_offset(self, buffer: Buffer, indices: tuple[Expr, ...], row: str = "", chunk: str = "") -> str:
        """Where an element of a shared buffer lies.

        row, chunk: added to the element's row, and to the number of its 16-byte chunk in the row.
        """
        per = chunk_elements(buffer.dtype)
        rows, columns = buffer.shape[-2:]
        pitch = self.pitch(buffer)
        outer = fold(Binary("*", flat_index(indices[:-2], buffer.shape[:-2]), Const(rows * pitch)))
        row_text = _sum(self.text(fold(indices[-2]), 5), row)
        column, inside = fold(indices[-1]), Const(0)
        if multiple_of(column) % per:
            column, inside = Binary("//", column, Const(per)), Binary("%", column, Const(per))  # type: ignore[assignment]
            chunk_text = _sum(self.text(column, 6), chunk)
        else:
            chunk_text = _sum(self.text(fold(divide(column, per)), 5), chunk)
        if buffer.name in self.swizzled:
            chunk_text = swizzled(row_text, chunk_text, columns // per, buffer.name in self.by_element)
        terms = [self.text(outer, 5), f"({row_text}) * {pitch}", f"({chunk_text}) * {per}", self.text(inside, 5)]
        return " + ".join(term for term in terms if term != "0")


def _sum(*terms: str) -> str:
    return " + ".join(term for term in terms if term and term != "0") or "0"


def swizzled(row: str, chunk: str, per_row: int, by_element: bool = False) -> str:
    """The place of a row's chunk: permuted so that eight rows of one chunk lie in different banks.

    Eight chunks fill all banks once. In rows of 8 or more the low three bits change with the row; rows of 4 and 2 share
    the banks among 2 and 4 neighbours, so their bits change every so many rows.

    Four rows of two chunks, which is what lanes read a transposed tf32 tile from, lie apart when whole pairs of chunks
    change places.

    >>> swizzled("r", "c", 4), swizzled("r", "c", 16), swizzled("r", "c", 1)
    ('(c) ^ ((r) / 2 % 4)', '(c) ^ ((r) % 8)', 'c')
    """
    power = min(8, per_row & -per_row)
    if power == 1:
        return chunk
    if by_element and power == 8:
        return f"({chunk}) ^ ({row}) % 4 * 2"
    turns = f"({row}) % 8" if power == 8 else f"({row}) / {8 // power} % {power}"
    return f"({chunk}) ^ ({turns})"
