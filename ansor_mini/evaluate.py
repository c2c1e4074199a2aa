"""The meaning of one tensor in NumPy: the reference that every schedule is compared with.

The index grid is an array per axis, shaped to broadcast, so one NumPy expression gives all elements at once. Reductions
go over their points in order; when the grid is small, many points are evaluated together and then added up in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from ansor_mini.tensor_expression import Tensor
from runtime.expr import Binary, Call, Cast, Const, Expr, Load, Select, Var
from runtime.narrow_floats import from_bfloat16, to_bfloat16, unpack

# Elements evaluated in one NumPy expression while reducing: enough to hide the interpreter, small enough for a cache.
_CHUNK_ELEMENTS = 1 << 15

_BINARY: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "//": np.floor_divide, "%": np.mod,
    "min": np.minimum, "max": np.maximum, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "==": np.equal, "!=": np.not_equal, "and": np.logical_and, "or": np.logical_or,
}  # fmt: skip

_CALLS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "abs": np.abs, "floor": np.floor, "ceil": np.ceil,
    "pow": np.power, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "erf": np.vectorize(math.erf, otypes=[np.float64]),
}  # fmt: skip

_COMBINE = {"sum": np.add, "max": np.maximum, "min": np.minimum}


def evaluate_tensor(tensor: Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute one tensor from the arrays of its producers.

    Raises: IndexError: a load outside a select reads beyond its buffer.
    """
    rank = len(tensor.shape)
    grid: dict[str, Any] = {}
    for dimension, axis in enumerate(tensor.axes):
        grid[axis.name] = np.arange(axis.extent).reshape((-1,) + (1,) * (rank - 1 - dimension))
    with np.errstate(all="ignore"):
        if tensor.combiner is None:
            result = _evaluate(tensor.expression, grid, values, False)
        else:
            result = _reduce(tensor, grid, values)
    if tensor.dtype == "bfloat16":
        return to_bfloat16(np.broadcast_to(result, tensor.shape))
    return np.array(np.broadcast_to(result, tensor.shape), dtype=tensor.dtype)


def _reduce(tensor: Tensor, grid: dict[str, Any], values: Mapping[str, np.ndarray]) -> np.ndarray:
    combine = _COMBINE[tensor.combiner or "sum"]
    total = np.full(tensor.shape, tensor.identity.value, tensor.dtype)
    points = math.prod(axis.extent for axis in tensor.reduce_axes)
    chunk = max(1, _CHUNK_ELEMENTS // max(1, tensor.size))
    if chunk == 1:
        for point in product(*(range(axis.extent) for axis in tensor.reduce_axes)):
            grid.update(zip((axis.name for axis in tensor.reduce_axes), point))
            combine(total, _evaluate(tensor.expression, grid, values, False), out=total)
        return total
    column = (-1,) + (1,) * len(tensor.shape)
    for start in range(0, points, chunk):
        index = np.arange(start, min(start + chunk, points))
        coordinates = np.unravel_index(index, tuple(axis.extent for axis in tensor.reduce_axes))
        grid.update({axis.name: at.reshape(column) for axis, at in zip(tensor.reduce_axes, coordinates)})
        part = _evaluate(tensor.expression, grid, values, False)
        part = np.broadcast_to(part, (len(index), *tensor.shape))
        # accumulate, unlike reduce, promises to go in order
        total = combine.accumulate(np.concatenate([total[None], part]), axis=0, dtype=tensor.dtype)[-1]
    return total


def _evaluate(expr: Expr, grid: Mapping[str, Any], values: Mapping[str, np.ndarray], guarded: bool) -> Any:
    """The value of `expr` on the grid; `guarded` loads may be out of bounds because a select drops them."""
    if isinstance(expr, Load):
        indices = [_evaluate(index, grid, values, guarded) for index in expr.indices]
        return _load(expr, values[expr.buffer.name], indices, guarded)
    if isinstance(expr, Binary):
        a, b = _evaluate(expr.a, grid, values, guarded), _evaluate(expr.b, grid, values, guarded)
        return _BINARY[expr.op](a, b)
    if isinstance(expr, Var):
        return grid[expr.name]
    if isinstance(expr, Const):
        return expr.value if expr.dtype in ("int32", "bfloat16") else np.dtype(expr.dtype).type(expr.value)
    if isinstance(expr, Select):
        condition = _evaluate(expr.condition, grid, values, guarded)
        then, otherwise = (_evaluate(e, grid, values, True) for e in (expr.then, expr.otherwise))
        return np.where(condition, then, otherwise)
    if isinstance(expr, Call):
        result = _CALLS[expr.name](*(_evaluate(arg, grid, values, guarded) for arg in expr.args))
        return np.asarray(result, dtype=expr.dtype)
    if isinstance(expr, Cast):
        value = np.asarray(_evaluate(expr.value, grid, values, guarded))
        return from_bfloat16(to_bfloat16(value)) if expr.dtype == "bfloat16" else value.astype(expr.dtype)
    raise TypeError(f"not an expression: {expr!r}")


def _load(expr: Load, array: np.ndarray, indices: list[Any], guarded: bool) -> Any:
    for dimension, (index, extent) in enumerate(zip(indices, array.shape)):
        low, high = (index, index) if isinstance(index, int) else (np.min(index), np.max(index))
        if low >= 0 and high < extent:
            continue
        if not guarded:
            raise IndexError(f"{expr} reads index {low if low < 0 else high} of dimension {dimension}, extent {extent}")
        indices[dimension] = np.clip(index, 0, extent - 1)
    return unpack(array[tuple(indices)], expr.dtype)
