"""Graph operators that sum or compare along axes: matrix product, softmax and reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.graph_operators.base import REQUIRED, Arrays, Operator, Types, expect, normal_axes, normal_axis, same_dtype
from runtime.node import Params, TensorType


def _infer_matmul(types: Types, params: Params) -> tuple[TensorType, ...]:
    dtype = same_dtype(types)
    a, b = (t.shape for t in types)
    expect(len(a) >= 2 and len(b) >= 2, f"matmul needs matrices, got shapes {a} and {b}")
    expect(a[-1] == b[-2], f"shapes {a} and {b} do not multiply: {a[-1]} columns against {b[-2]} rows")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ValueError(f"the batch dimensions of {a} and {b} do not broadcast") from None
    return (TensorType((*batch, a[-2], b[-1]), dtype),)


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
        "Matrix product of the last two dimensions; the others are a batch and broadcast.",
        (2, 2),
        {},
        _infer_matmul,
        lambda arrays, params: (np.matmul(*arrays),),
        lambda inputs, outputs, params: 2 * outputs[0].size * inputs[0].shape[-1],
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
