"""Tensor expressions of operators that compute or move single elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ansor_mini.definitions.base import Definition, broadcast, pad_constant
from ansor_mini.tensor_expression import Tensor, compute
from runtime.expr import Const, Expr, call, maximum, minimum
from runtime.graph import Node, TensorType


def _elementwise(node: Node, result: TensorType, body: Callable[..., Expr], tensors: Sequence[Tensor]) -> Tensor:
    # A fused follower keeps the names of the dimensions it was given.
    names = next(([axis.name for axis in t.axes] for t in tensors if t.axes and t.shape == result.shape), None)

    def value(*at: Expr) -> Expr:
        return body(*(broadcast(tensor, at) for tensor in tensors))

    return compute(result.shape, value, node.outputs[0], axes=names)


_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


def _binary(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    return _elementwise(node, result, _BINARY[node.operator], tensors)


_UNARY: dict[str, Callable[[Expr], Expr]] = {
    "relu": lambda x: maximum(x, 0.0),
    "sigmoid": lambda x: call("sigmoid", x),
    "tanh": lambda x: call("tanh", x),
    "exp": lambda x: call("exp", x),
    "sqrt": lambda x: call("sqrt", x),
    "erf": lambda x: call("erf", x),
}


def _unary(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    return _elementwise(node, result, _UNARY[node.operator], tensors)


def _clip(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    low, high = float(node["min"]), float(node["max"])

    def body(x: Expr) -> Expr:
        x = maximum(x, low) if low > -math.inf else x
        return minimum(x, high) if high < math.inf else x

    return _elementwise(node, result, body, tensors)


def _transpose(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    perm = node["perm"]

    def body(*at: Expr) -> Expr:
        source: list[Expr] = [Const(0)] * len(perm)
        for axis, origin in enumerate(perm):
            source[origin] = at[axis]
        return tensors[0][tuple(source)]

    return compute(result.shape, body, node.outputs[0])


def _pad(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    pads = node["pads"]
    rank = len(pads) // 2
    return pad_constant(tensors[0], pads[:rank], pads[rank:], float(node["value"]), node.outputs[0])


def _slice(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    starts, steps = node["starts"], node["steps"]

    def body(*at: Expr) -> Expr:
        return tensors[0][tuple(index * step + start for index, step, start in zip(at, steps, starts, strict=True))]

    return compute(result.shape, body, node.outputs[0])


ELEMENTWISE: dict[str, Definition] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    "clip": _clip,
    "transpose": _transpose,
    "pad": _pad,
    "slice": _slice,
}
