"""Graph operators that sum or compare along axes: matrix product, softmax and reductions.

A matrix product may read and write tensors whose dimensions are stored in another order: `a_order`, `b_order` and
`order` say which dimension of the product's plain operand or result stands at each place, () meaning as it is. With
(1, 0) a matrix is stored column by column.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.graph_operators.base import REQUIRED, Arrays, Operator, Types, expect, normal_axes, normal_axis, same_dtype
from runtime.node import Params, TensorType


def stored(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in memory of a tensor whose dimensions are stored in an order; () is the plain one."""
    return tuple(shape[dimension] for dimension in order) if order else shape


def plain(shape: tuple[int, ...], order: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The inverse of `stored`.  Raises: ValueError: the order is no permutation of the dimensions.

    >>> plain((5, 2, 3), (2, 0, 1), "order")
    (2, 3, 5)
    """
    fits = not order or sorted(order) == list(range(len(shape)))
    expect(fits, f"{name}: expected a permutation of 0 .. {len(shape) - 1} or (), got {order!r}")
    return tuple(shape[order.index(dimension)] for dimension in range(len(shape))) if order else shape


def _infer_matmul(types: Types, params: Params) -> tuple[TensorType, ...]:
    dtype = same_dtype(types)
    names = ("a_order", "b_order")
    a, b = (plain(t.shape, params[name], name) for t, name in zip(types, names, strict=True))
    expect(len(a) >= 2 and len(b) >= 2, f"matmul needs matrices, got shapes {a} and {b}")
    expect(a[-1] == b[-2], f"shapes {a} and {b} do not multiply: {a[-1]} columns against {b[-2]} rows")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ValueError(f"the batch dimensions of {a} and {b} do not broadcast") from None
    result = (*batch, a[-2], b[-1])
    plain(result, params["order"], "order")
    return (TensorType(stored(result, params["order"]), dtype),)


def _evaluate_matmul(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    a, b = (
        array.transpose(np.argsort(order)) if (order := params[name]) else array
        for array, name in zip(arrays, ("a_order", "b_order"), strict=True)
    )
    result = np.matmul(a, b)
    return (np.ascontiguousarray(result.transpose(params["order"])) if params["order"] else result,)


def _matmul_flops(inputs: Types, outputs: Types, params: Params) -> int:
    return 2 * outputs[0].size * plain(inputs[0].shape, params["a_order"], "a_order")[-1]


def _infer_softmax(types: Types, params: Params) -> tuple[TensorType, ...]:
    normal_axis(params["axis"], types[0].rank)
    return (types[0],)


def _evaluate_softmax(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x, axis = arrays[0], params["axis"]
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return (powers / powers.sum(axis=axis, keepdims=True),)


def _infer_reduce(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape = types[0].shape
    axes = normal_axes(params["axes"], len(shape))
    if params["keepdims"]:
        return (TensorType(tuple(1 if d in axes else n for d, n in enumerate(shape)), types[0].dtype),)
    return (TensorType(tuple(n for d, n in enumerate(shape) if d not in axes), types[0].dtype),)


def _reduce(name: str, doc: str, function: Callable[..., np.ndarray]) -> Operator:
    def evaluate(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
        y = function(arrays[0], axis=params["axes"], keepdims=params["keepdims"])
        return (np.asarray(y, arrays[0].dtype),)

    params = {"axes": REQUIRED, "keepdims": True}
    return Operator(name, doc, (1, 1), params, _infer_reduce, evaluate, lambda inputs, outputs, params: inputs[0].size)


LINEAR = (
    Operator(
        "matmul",
        "Matrix product of the last two dimensions; the others are a batch and broadcast. Orders: see the module.",
        (2, 2),
        {"a_order": (), "b_order": (), "order": ()},
        _infer_matmul,
        _evaluate_matmul,
        _matmul_flops,
    ),
    Operator(
        "softmax",
        "exp(x - max) / sum(exp(x - max)) along one axis; counted as 5 operations an element.",
        (1, 1),
        {"axis": -1},
        _infer_softmax,
        _evaluate_softmax,
        lambda inputs, outputs, params: 5 * outputs[0].size,
    ),
    _reduce("reduce_sum", "Sum over axes.", np.sum),
    _reduce("reduce_mean", "Mean over axes.", np.mean),
    _reduce("reduce_max", "Maximum over axes.", np.max),
)
