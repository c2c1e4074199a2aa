"""Graph operators that work on each element alone: arithmetic with NumPy's broadcasting, and scalar functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.graph_operators.base import Arrays, Operator, Types, expect, output_size, same_dtype
from runtime.node import Params, TensorType

_erf = np.vectorize(math.erf, otypes=[np.float64])


def broadcast_type(types: Types, params: Params) -> tuple[TensorType, ...]:
    """NumPy's broadcasting of two types."""
    dtype = same_dtype(types)
    try:
        shape = np.broadcast_shapes(*(t.shape for t in types))
    except ValueError:
        raise ValueError(f"shapes {' and '.join(str(t.shape) for t in types)} do not broadcast") from None
    return (TensorType(shape, dtype),)


def _binary(name: str, doc: str, function: Callable[..., np.ndarray]) -> Operator:
    def evaluate(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(*arrays), arrays[0].dtype),)

    return Operator(name, doc, (2, 2), {}, broadcast_type, evaluate, output_size)


def _unary(name: str, doc: str, function: Callable[[np.ndarray], np.ndarray]) -> Operator:
    def infer(types: Types, params: Params) -> tuple[TensorType, ...]:
        return (types[0],)

    def evaluate(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(arrays[0]), arrays[0].dtype),)

    return Operator(name, doc, (1, 1), {}, infer, evaluate, output_size)


def _infer_clip(types: Types, params: Params) -> tuple[TensorType, ...]:
    expect(params["min"] <= params["max"], f"min {params['min']} is above max {params['max']}")
    return (types[0],)


def _evaluate_clip(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x = arrays[0]
    low, high = (np.asarray(params[name], x.dtype) for name in ("min", "max"))
    return (np.asarray(np.minimum(np.maximum(x, low), high)),)


ELEMENTWISE = (
    _binary("add", "x + y, broadcast.", np.add),
    _binary("sub", "x - y, broadcast.", np.subtract),
    _binary("mul", "x * y, broadcast.", np.multiply),
    _binary("div", "x / y, broadcast.", np.divide),
    _unary("relu", "max(x, 0).", lambda x: np.maximum(x, np.zeros((), x.dtype))),
    _unary("sigmoid", "1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2.", lambda x: (1 + np.tanh(x / 2)) / 2),
    _unary("tanh", "Hyperbolic tangent.", np.tanh),
    _unary("exp", "e to the power x.", np.exp),
    _unary("sqrt", "Square root.", np.sqrt),
    _unary("erf", "Gauss error function, computed in float64.", _erf),
    Operator(
        "clip",
        "x limited to [min, max].",
        (1, 1),
        {"min": -math.inf, "max": math.inf},
        _infer_clip,
        _evaluate_clip,
        lambda inputs, outputs, params: 2 * outputs[0].size,
    ),
)
