"""The declaration language: what each element of a tensor is, with no word about loops.

Paper: Ansor §2

`compute` gives one expression for all elements; `reduce_sum`, `reduce_max` and `reduce_min` may stand around the whole
expression. A `Tensor` is a `Buffer` that knows how it is computed, so `A[i, k]` is an ordinary load.

>>> A, B = placeholder((4, 8), "A"), placeholder((8, 4), "B")
>>> k = reduce_axis(8, "k")
>>> C = compute((4, 4), lambda i, j: reduce_sum(A[i, k] * B[k, j], k), "C")
>>> print(C.declaration())
C[i, j] = sum(A[i, k] * B[k, j] for k in range(8)) for i in range(4), j in range(4)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.expr import DTYPES, Buffer, Const, Expr, ExprLike, Load, Var, as_expr, binary
from runtime.expr_tree import loads, transform, walk

LOWEST, HIGHEST = -3.4028234663852886e38, 3.4028234663852886e38

# The operator of each combiner, and its identity as float32. Finite limits, not infinities, start a max and a min:
# compilers that assume finite arithmetic (-ffast-math) may do anything with an infinity.
COMBINERS: dict[str, tuple[str, float]] = {"sum": ("+", 0.0), "max": ("max", LOWEST), "min": ("min", HIGHEST)}

# Attribute of a tensor that only copies its cache out: inlining it would undo the cache.
CACHE_COPY = "cache_copy"

# Attribute of a tensor that does not lie in a thread's own memory when it is computed inside another's loops: the scope
# of its buffer, "shared" for one copy for all threads of a GPU's block.
MEMORY = "memory"
ROW_PADDING = "row_padding"  # elements that such a buffer's rows are longer than what is used of them

_DEFAULT_AXES = "ijklmnopqrst"


@dataclass(frozen=True, slots=True)
class Axis(Var):
    """An index that runs from 0 to extent - 1; can be used in expressions."""

    extent: int = 1


@dataclass(frozen=True, slots=True)
class Reduce(Expr):
    """`combiner` over `body` for all points of `axes`; may only stand around a whole tensor expression."""

    combiner: str
    body: Expr
    axes: tuple[Axis, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """The dtype of the body."""
        return self.body.dtype


@dataclass(frozen=True, eq=False)
class Tensor(Buffer):
    """A buffer with its declaration. Placeholders have no body. Equal when name, shape and dtype are equal.

    Attributes: body: the value at index `axes`, to be combined over `reduce_axes` when `combiner` is set.
    """

    axes: tuple[Axis, ...] = ()
    reduce_axes: tuple[Axis, ...] = ()
    combiner: str | None = None
    body: Expr | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_placeholder(self) -> bool:
        """True for an input."""
        return self.body is None

    @property
    def expression(self) -> Expr:
        """The body; a placeholder has none.  Raises: ValueError: this is a placeholder."""
        if self.body is None:
            raise ValueError(f"{self.name} is a placeholder and has no body")
        return self.body

    @property
    def identity(self) -> Const:
        """The value a reduction starts from."""
        return identity(self.combiner or "sum", self.dtype)

    def combine(self, accumulator: Expr, value: Expr) -> Expr:
        """One step of the reduction."""
        return binary(COMBINERS[self.combiner or "sum"][0], accumulator, value)

    def loads(self) -> list[Load]:
        """All loads of the body; none for a placeholder."""
        return [] if self.body is None else loads(self.body)

    def declaration(self) -> str:
        """One line of text: what the tensor is."""
        if self.body is None:
            return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"
        value = str(self.body)
        if self.combiner:
            value = f"{self.combiner}({value} for {_ranges(self.reduce_axes)})"
        over = f" for {_ranges(self.axes)}" if self.axes else ""
        return f"{self.name}[{', '.join(axis.name for axis in self.axes)}] = {value}{over}"


def row_padding(tensor: Tensor) -> int:
    """How much longer the rows of a tensor's buffer are than what is used of them."""
    padding = tensor.attributes.get(ROW_PADDING, 0)
    return padding if isinstance(padding, int) else 0


def _ranges(axes: Sequence[Axis]) -> str:
    return ", ".join(f"{axis.name} in range({axis.extent})" for axis in axes)


def identity(combiner: str, dtype: str) -> Const:
    """The constant that changes nothing under a combiner."""
    value = COMBINERS[combiner][1]
    if not dtype.startswith("float"):
        limit = 2**31 if dtype == "int32" else 2**63
        value = {"sum": 0, "max": -limit, "min": limit - 1}[combiner]
    return Const(value, dtype)


def placeholder(shape: Sequence[int], name: str, dtype: str = "float32") -> Tensor:
    """Declare an input.  Raises: ValueError: an extent below 1 or an unknown dtype."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype of {name}: expected one of {DTYPES}, got {dtype!r}")
    return Tensor(name, _checked_shape(shape, name), dtype)


def reduce_axis(extent: int, name: str) -> Axis:
    """Declare an index to reduce over.  Raises: ValueError: extent below 1."""
    if extent < 1:
        raise ValueError(f"extent of reduction axis {name}: expected at least 1, got {extent}")
    return Axis(name, "int32", int(extent))


def reduce_sum(body: ExprLike, axes: Axis | Sequence[Axis]) -> Reduce:
    """The sum of `body` over all points of `axes`, starting from 0."""
    return _reduce("sum", body, axes)


def reduce_max(body: ExprLike, axes: Axis | Sequence[Axis]) -> Reduce:
    """The largest `body`, starting from the lowest finite number of the dtype."""
    return _reduce("max", body, axes)


def reduce_min(body: ExprLike, axes: Axis | Sequence[Axis]) -> Reduce:
    """The smallest `body`, starting from the highest finite number of the dtype."""
    return _reduce("min", body, axes)


def _reduce(combiner: str, body: ExprLike, axes: Axis | Sequence[Axis]) -> Reduce:
    axes = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    if not axes or not all(isinstance(axis, Axis) for axis in axes):
        raise TypeError(f"reduce_{combiner} needs at least one axis made by reduce_axis, got {axes!r}")
    return Reduce(combiner, as_expr(body), axes)


def compute(
    shape: Sequence[int],
    fn: Callable[..., ExprLike],
    name: str,
    *,
    axes: Sequence[str] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> Tensor:
    """Declare a tensor by one expression for all its elements.

    Args: fn: takes one index per dimension and returns the value there, or a Reduce around it.
        axes: names of the indices; by default those of fn's parameters, or i, j, k, ….
    Raises: ValueError: an extent below 1, names used twice, a load outside the declared indices, or a reduction that
        is only a part of the expression.
    """
    shape = _checked_shape(shape, name)
    names = tuple(axes) if axes is not None else _parameter_names(fn, len(shape))
    if len(names) != len(shape):
        raise ValueError(f"{name}: expected {len(shape)} axis names for shape {shape}, got {names}")
    result = as_expr(fn(*(Var(axis) for axis in names)))
    reduce_axes = result.axes if isinstance(result, Reduce) else ()
    combiner = result.combiner if isinstance(result, Reduce) else None
    body = result.body if isinstance(result, Reduce) else result
    _check_names(name, (*names, *(axis.name for axis in reduce_axes)), body)
    body = transform(body, lambda node: Var(node.name) if isinstance(node, Axis) else None)
    own_axes = tuple(Axis(axis, "int32", extent) for axis, extent in zip(names, shape))
    return Tensor(name, shape, body.dtype, "global", own_axes, reduce_axes, combiner, body, dict(attributes or {}))


def _checked_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    if any(int(extent) != extent or extent < 1 for extent in shape):
        raise ValueError(f"shape of {name}: expected integers of at least 1, got {tuple(shape)}")
    return tuple(int(extent) for extent in shape)


def _parameter_names(fn: Callable[..., ExprLike], rank: int) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(p.name for p in inspect.signature(fn).parameters.values() if p.kind in kinds)[:rank]
    return names if len(names) == rank else tuple(_DEFAULT_AXES[:rank])


def _check_names(name: str, axes: tuple[str, ...], body: Expr) -> None:
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: axis names must differ, got {axes}")
    for node in walk(body):
        if isinstance(node, Reduce):
            raise ValueError(f"{name}: a reduction must be the whole expression; compute the rest in another tensor")
        if isinstance(node, Var) and node.name not in axes:
            raise ValueError(f"{name}: `{node.name}` in `{body}` is neither an index nor a reduction axis of {axes}")
