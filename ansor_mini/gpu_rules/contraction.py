"""Sums of products as matrix products: which axes are rows, which columns, and where an operand is contiguous.

A stage C[..] = Σ X[..] * Y[..] is a matrix product with as many rows as the axes that only X depends on have elements,
columns from those of Y, and an inner dimension from the reduction; axes of both number a batch of products. For a
convolution that is the implicit GEMM: rows are the pixels, columns the output channels, the inner dimension runs over
the kernel and the input channels, and X is gathered (with its padding, a select) instead of being laid out as a matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ansor_mini.bounds import inlined_bodies
from ansor_mini.schedule import INLINE, ROOT, State
from ansor_mini.tensor_expression import CACHE_COPY, Axis
from runtime.expr import Binary, Cast, Const, Expr, Load, Select, Var
from runtime.expr_tree import free_variables, loads, substitute
from runtime.indices.index_forms import flat_index, fold, step
from runtime.indices.simplify import simplify

OPERAND_DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class Operand:
    """One factor: an element of `load`, or 0 where `condition` does not hold.

    outer: its axes that the other factor does not have, in the order of the result. inner_last: whether neighbours
    along the innermost reduction axis are neighbours in memory, rather than along the last of `outer`.
    """

    load: Load
    condition: Expr | None
    outer: tuple[Axis, ...]
    inner_last: bool

    @property
    def extent(self) -> int:
        """Rows or columns."""
        return math.prod(axis.extent for axis in self.outer)


@dataclass(frozen=True)
class Contraction:
    """A stage as `batch` matrix products of rows x inner and inner x columns."""

    rows: Operand
    columns: Operand
    batch: tuple[Axis, ...]
    inner: tuple[Axis, ...]

    @property
    def depth(self) -> int:
        """Products in one sum."""
        return math.prod(axis.extent for axis in self.inner)

    @property
    def batches(self) -> int:
        """Matrix products."""
        return math.prod(axis.extent for axis in self.batch)

    @property
    def dtype(self) -> str:
        """That of both operands."""
        return self.rows.load.dtype


def contraction(state: State, name: str) -> Contraction | None:
    """The matrix product that a stage is, or None where it is none that a Tensor Core can take.

    >>> from ansor_mini.schedule_examples import matmul
    >>> from ansor_mini.schedule import initial_state
    >>> found = contraction(initial_state(matmul(8, 10, 16)), "C")
    >>> found.rows.extent, found.columns.extent, found.depth, found.rows.inner_last, found.columns.inner_last
    (8, 10, 16, True, False)
    """
    tensor = state[name].tensor
    body = inlined_bodies(state)[name]
    if tensor.combiner != "sum" or tensor.dtype != "float32" or not (isinstance(body, Binary) and body.op == "*"):
        return None
    factors = [_factor(part) for part in (body.a, body.b)]
    if factors[0] is None or factors[1] is None:
        return None
    uses = [_variables(factor) for factor in factors if factor is not None]
    if any(not used & {axis.name for axis in tensor.reduce_axes} for used in uses):
        return None
    axes = {side: tuple(axis for axis in tensor.axes if axis.name in uses[side] - uses[1 - side]) for side in (0, 1)}
    batch = tuple(axis for axis in tensor.axes if axis.name in uses[0] & uses[1])
    if len(axes[0]) + len(axes[1]) + len(batch) < len(tensor.axes) or not axes[0] or not axes[1]:
        return None
    # The factor with the last axis of the result makes the columns, so that results are written in order.
    right = 1 if not tensor.axes or tensor.axes[-1] not in axes[0] else 0
    operands = []
    for side in (1 - right, right):
        factor = factors[side]
        assert factor is not None
        operands.append(Operand(*factor, axes[side], _inner_last(factor[0], axes[side], tensor.reduce_axes)))
    rows, columns = operands
    if rows.load.dtype != columns.load.dtype or rows.load.dtype not in OPERAND_DTYPES:
        return None
    return Contraction(rows, columns, batch, tensor.reduce_axes)


def future_contraction(state: State, name: str) -> Contraction | None:
    """The matrix product that a stage will be when what it reads without a reduction (padding, a cast) is inlined.

    None also where it reads a copy that a cache step made: that stage is being tiled for something else.
    """
    waiting, found = [name], state
    while waiting:
        for producer in state.dag.producers(waiting.pop()):
            if producer.is_placeholder or producer.combiner or state.dag.is_output(producer):
                continue
            if CACHE_COPY in producer.attributes:
                return None
            if found[producer.name].location == ROOT:
                found = found.with_stage(replace(found[producer.name], location=INLINE))
            waiting.append(producer.name)
    return contraction(found, name)


def _factor(expr: Expr) -> tuple[Load, Expr | None] | None:
    """A load and the condition under which it counts, from a factor of a product."""
    if isinstance(expr, Cast):
        expr = expr.value
    condition: Expr | None = None
    while isinstance(expr, Select):
        if not (isinstance(expr.otherwise, Const) and expr.otherwise.value == 0):
            return None
        condition = expr.condition if condition is None else Binary("and", condition, expr.condition)
        expr = expr.then
    if isinstance(expr, Cast):
        expr = expr.value
    if not isinstance(expr, Load) or any(loads(index) for index in expr.indices):
        return None
    return expr, condition


def _variables(factor: tuple[Load, Expr | None]) -> set[str]:
    load, condition = factor
    found = {name for index in load.indices for name in free_variables(index)}
    return found | (set(free_variables(condition)) if condition is not None else set())


def _inner_last(load: Load, outer: tuple[Axis, ...], inner: tuple[Axis, ...]) -> bool:
    place = flat_index(load.indices, load.buffer.shape)
    return step(place, inner[-1].name, inner[-1].extent) == 1 or step(place, outer[-1].name, outer[-1].extent) != 1


def axis_values(axes: tuple[Axis, ...], whole: Expr, ranges: dict[str, tuple[int, int]]) -> dict[str, Expr]:
    """What each axis is at position `whole` of all of them fused; the first takes what is left over.

    >>> i, j = Axis("i", "int32", 4), Axis("j", "int32", 8)
    >>> {name: str(value) for name, value in axis_values((i, j), Var("m"), {"m": (0, 31)}).items()}
    {'i': 'm // 8', 'j': 'm % 8'}
    """
    found: dict[str, Expr] = {}
    stride = 1
    for position in range(len(axes) - 1, -1, -1):
        axis = axes[position]
        value = whole if stride == 1 else Binary("//", whole, Const(stride))
        if position:
            value = Binary("%", value, Const(axis.extent))
        found[axis.name] = simplify(value, ranges)
        stride *= axis.extent
    return {axis.name: found[axis.name] for axis in axes}


def near(values: dict[str, Expr], last: Axis, chunk: int, offset: Var) -> dict[str, Expr] | None:
    """The axes `offset` elements further along the last one, within a chunk that it does not leave; None if it may."""
    if last.extent % chunk:
        return None
    return {**values, last.name: fold(values[last.name] + offset)}


def put_in(expr: Expr, values: dict[str, Expr], ranges: dict[str, tuple[int, int]]) -> Expr:
    """An expression with values for its axes, simplified."""
    return simplify(substitute(expr, values), ranges)
