"""Scalar expressions: what one element of a buffer is computed from.

An expression is an immutable tree. Python's operators build it (`A[i, k] * B[k, j] + 1`), `str` prints it as the Python
text that would build it again (`expr_text`), and `==` compares structure; the expression a == b is `equal(a, b)`.

Index arithmetic is int32, `//` and `%` round towards minus infinity as in Python. `Select` evaluates only the branch
it takes, so a guarded load outside its buffer is legal when the guard is false.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from runtime.indices.affine import Affine

Number = Union[int, float, bool]
ExprLike = Union["Expr", Number]

DTYPES = ("float32", "float64", "int32", "int64", "bool", "float16", "bfloat16")
ITEM_SIZE = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "bool": 1, "float16": 2, "bfloat16": 2}
NARROW_FLOATS = ("float16", "bfloat16")  # for the operands of tensor cores; see `narrow_floats`
SCOPES = ("global", "local", "register", "shared", "fragment")

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
LOGICAL = ("and", "or")
ARITHMETIC = ("+", "-", "*", "/", "//", "%", "min", "max")

# Intrinsics every back end and the interpreter know; each takes and returns one dtype.
INTRINSICS = {"exp": 1, "log": 1, "sqrt": 1, "tanh": 1, "erf": 1, "sigmoid": 1}
INTRINSICS |= {"abs": 1, "floor": 1, "ceil": 1, "pow": 2}


class Expr:
    """Base of all expressions; holds the operators that build new ones.

    What was once found out about an expression, which never changes, is remembered with it. variables: the names of its
    variables, set by `expr_tree.free_variables`.  reads: its loads, set by `expr_tree.loads`.  folded: set where
    `index_forms.fold` finds nothing to fold.  form: its affine form, set by `simplify.affine_form`.
    """

    __slots__ = ("variables", "reads", "folded", "form")
    dtype: str
    variables: frozenset[str]
    reads: tuple[Load, ...]
    folded: bool
    form: Affine

    def __add__(self, other: ExprLike) -> Expr:
        return binary("+", self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return binary("+", other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return binary("-", self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return binary("-", other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return binary("*", self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return binary("*", other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return binary("/", self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return binary("/", other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return binary("//", self, other)

    def __mod__(self, other: ExprLike) -> Expr:
        return binary("%", self, other)

    def __neg__(self) -> Expr:
        return binary("-", Const(0, self.dtype), self)

    def __lt__(self, other: ExprLike) -> Expr:
        return binary("<", self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return binary("<=", self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return binary(">", self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return binary(">=", self, other)

    def __and__(self, other: ExprLike) -> Expr:
        return binary("and", self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return binary("or", self, other)

    def __bool__(self) -> bool:
        raise TypeError(f"the truth of `{self}` is not known while a program is being built; use select or an If")

    def __str__(self) -> str:
        from runtime.expr_text import show

        return show(self)


@dataclass(frozen=True, slots=True, eq=True)
class Buffer:
    """A named dense row-major array: the thing loads read and stores write.

    scope: "global" (an argument, or a workspace allocation), "local" (one thread's scratch memory), "register"
    (scratch whose every index is known once its loops are unrolled), "shared" (one GPU thread block's scratch memory),
    or "fragment" (operands of a tensor core, held by a warp).
    Indexing builds a load: `A[i, j]` is `Load(A, (i, j))`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scope: str = "global"

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Load:
        return load(self, indices)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * ITEM_SIZE[self.dtype]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop variable."""

    name: str
    dtype: str = "int32"


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal."""

    value: Number
    dtype: str = "int32"


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`a op b`; both operands have one dtype. Comparisons and logic give bool."""

    op: str
    a: Expr
    b: Expr

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """bool for comparisons and logic, else that of the operands."""
        return "bool" if self.op in COMPARISONS or self.op in LOGICAL else self.a.dtype


@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`then` if `condition` else `otherwise`; the other branch is not evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """That of both branches."""
        return self.then.dtype


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """An intrinsic of `INTRINSICS` applied to its arguments."""

    name: str
    args: tuple[Expr, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """That of the first argument."""
        return self.args[0].dtype


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """`value` converted to `dtype`, rounding towards zero for integers."""

    dtype: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """One element of a buffer."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """That of the buffer."""
        return self.buffer.dtype


def as_expr(value: ExprLike, dtype: str | None = None) -> Expr:
    """Turn a Python number into a constant of `dtype` (by default int32, float32 or bool); leave expressions alone.

    Raises: TypeError: the value is neither an expression nor a number.
    """
    if isinstance(value, Expr):
        return value
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"expected an expression or a number, got {type(value).__name__}: {value!r}")
    if dtype is None:
        dtype = "bool" if isinstance(value, bool) else "int32" if isinstance(value, int) else "float32"
    return Const(float(value) if "float" in dtype else bool(value) if dtype == "bool" else int(value), dtype)


def binary(op: str, a: ExprLike, b: ExprLike) -> Expr:
    """Build `a op b`, giving a number the dtype of the other operand.

    Raises: TypeError: two expressions of different dtypes, or `/` on integers.
    """
    if not isinstance(a, Expr):
        a = as_expr(a, b.dtype if isinstance(b, Expr) else None)
    if not isinstance(b, Expr):
        b = as_expr(b, a.dtype)
    if a.dtype != b.dtype:
        raise TypeError(f"`{op}` needs operands of one dtype, got {a.dtype} in `{a}` and {b.dtype} in `{b}`; use cast")
    if op == "/" and "float" not in a.dtype:
        raise TypeError(f"`/` needs floats, got {a.dtype} in `{a}`; use `//`")
    return Binary(op, a, b)


def load(buffer: Buffer, indices: ExprLike | tuple[ExprLike, ...]) -> Load:
    """Build `buffer[indices]`.  Raises: ValueError: the number of indices is not the buffer's rank."""
    if not isinstance(indices, tuple):
        indices = (indices,)
    if len(indices) != len(buffer.shape):
        raise ValueError(f"{buffer.name} has {len(buffer.shape)} dimensions, got {len(indices)} indices")
    return Load(buffer, tuple(as_expr(index, "int32") for index in indices))


def equal(a: ExprLike, b: ExprLike) -> Expr:
    """The expression a == b."""
    return binary("==", a, b)


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    """The smaller of two expressions."""
    return binary("min", a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    """The larger of two expressions."""
    return binary("max", a, b)


def select(condition: Expr, then: ExprLike, otherwise: ExprLike) -> Expr:
    """`then` where `condition` holds, else `otherwise`."""
    if not isinstance(then, Expr):
        then = as_expr(then, otherwise.dtype if isinstance(otherwise, Expr) else None)
    return Select(condition, then, as_expr(otherwise, then.dtype))


def cast(dtype: str, value: ExprLike) -> Expr:
    """Convert to `dtype`."""
    value = as_expr(value)
    return value if value.dtype == dtype else Cast(dtype, value)


def call(name: str, *args: ExprLike) -> Expr:
    """Apply an intrinsic.  Raises: ValueError: unknown name or wrong number of arguments."""
    if INTRINSICS.get(name) != len(args):
        raise ValueError(f"`{name}` with {len(args)} arguments is not one of the intrinsics {INTRINSICS}")
    first = as_expr(args[0], None if isinstance(args[0], Expr) else "float32")
    return Call(name, (first, *(as_expr(arg, first.dtype) for arg in args[1:])))
