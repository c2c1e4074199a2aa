"""Tensor expressions of products and reductions over whole axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ansor_mini.definitions.base import Definition, broadcast
from ansor_mini.tensor_expression import Tensor, compute, reduce_axis, reduce_max, reduce_sum
from runtime.expr import Expr, call
from runtime.graph import Node, TensorType


def _matmul(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """Loops run in the order in which the result is stored; each operand is read where its order puts an element."""
    (a, b), rank = tensors, len(result.shape)
    a_order, b_order = (node[name] or tuple(range(len(t.shape))) for name, t in (("a_order", a), ("b_order", b)))
    order = node["order"] or tuple(range(rank))
    k = reduce_axis(a.shape[a_order.index(len(a.shape) - 1)], "k")

    def body(*at: Expr) -> Expr:
        *batch, i, j = (at[order.index(dimension)] for dimension in range(rank))
        return reduce_sum(_read(a, a_order, (*batch, i, k)) * _read(b, b_order, (*batch, k, j)), (k,))

    names = (*(f"b{i}" for i in range(rank - 2)), "i", "j")
    return compute(result.shape, body, node.outputs[0], axes=tuple(names[dimension] for dimension in order))


def _read(tensor: Tensor, order: Sequence[int], at: Sequence[Expr]) -> Expr:
    """Read a tensor whose dimensions are stored in an order, at its plain indices, by NumPy's broadcasting rules."""
    own = at[len(at) - len(order) :]
    return broadcast(tensor, tuple(own[dimension] for dimension in order))


def _softmax(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, name = tensors[0], node.outputs[0]
    axis = node["axis"] % len(x.shape)
    kept = tuple(extent for i, extent in enumerate(x.shape) if i != axis)

    def along(r: Expr, at: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*at[:axis], r, *at[axis:])

    def without(at: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*at[:axis], *at[axis + 1 :])

    r1, r2 = reduce_axis(x.shape[axis], "r"), reduce_axis(x.shape[axis], "r")
    largest = compute(kept, lambda *at: reduce_max(x[along(r1, at)], (r1,)), f"{name}_max")
    powers = compute(x.shape, lambda *at: call("exp", x[at] - largest[without(at)]), f"{name}_exp")
    total = compute(kept, lambda *at: reduce_sum(powers[along(r2, at)], (r2,)), f"{name}_sum")
    return compute(x.shape, lambda *at: powers[at] / total[without(at)], name)


def _reduce(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, name = tensors[0], node.outputs[0]
    axes = tuple(axis % len(x.shape) for axis in node["axes"])
    keepdims = bool(node["keepdims"])
    reduced = {axis: reduce_axis(x.shape[axis], f"r{axis}") for axis in sorted(axes)}
    reducer = reduce_max if node.operator == "reduce_max" else reduce_sum

    def body(*at: Expr) -> Expr:
        kept = iter(at)
        index: list[Expr] = []
        for axis in range(len(x.shape)):
            position = next(kept) if axis not in reduced or keepdims else reduced[axis]
            index.append(reduced.get(axis, position))
        return reducer(x[tuple(index)], tuple(reduced.values()))

    if node.operator != "reduce_mean":
        return compute(result.shape, body, name)
    total = compute(result.shape, body, f"{name}_sum")
    count = float(math.prod(x.shape[axis] for axis in axes))
    return compute(result.shape, lambda *at: total[at] / count, name)


REDUCTION: dict[str, Definition] = {
    "matmul": _matmul,
    "softmax": _softmax,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max"), _reduce),
}
