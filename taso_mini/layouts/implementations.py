"""In which layouts an operator can compute, and the graph node that does it.

Paper: TASO §5. Matrix products and transposes support row-major and column-major operands, convolutions and pools NCHW
and NHWC; element-wise operators, concatenations, splits and the like follow their inputs, whatever their order. What is
in no family of `FAMILIES` computes in plain order only. A new family is one function and one entry.

>>> from runtime.graph import TensorType
>>> x, w = TensorType((2, 3)), TensorType((3, 4))
>>> orders = ((0, 1), (1, 0)), ((0, 1),), ((0, 1), (1, 0))  # of x, w and the result
>>> for found in implementations(Node("matmul", ("x", "w"), ("y",)), (x, w), orders[:2], orders[2:]):
...     print(found)
(0, 1), (0, 1) -> (0, 1)
(0, 1), (0, 1) -> (1, 0): order=(1, 0)
(1, 0), (0, 1) -> (0, 1): a_order=(1, 0)
(1, 0), (0, 1) -> (1, 0): a_order=(1, 0), order=(1, 0)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from runtime.graph import Node, Params, TensorType
from runtime.graph_operators.elementwise import ELEMENTWISE
from runtime.layout import KERNELS, LAST, WINDOWED, moved
from runtime.operators import infer
from taso_mini.layouts.orders import Order, canonical, plain, stored, through_reshape, through_transpose

Types = Sequence[TensorType]
Orders = tuple[tuple[Order, ...], ...]  # for each input or output of a node, the orders to consider


@dataclass(frozen=True)
class Implementation:
    """One way to run a node.

    inputs, outputs: the order that each is stored in.  changes: the parameters that differ from the node's own.
    view: the result is the input's memory under another shape, so that nothing is computed.
    """

    inputs: tuple[Order, ...]
    outputs: tuple[Order, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    view: bool = False

    def __str__(self) -> str:
        """Return the orders, then what changes."""
        text = f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"
        changes = ["view"] * self.view + [f"{name}={value}" for name, value in self.changes.items()]
        return f"{text}: {', '.join(changes)}" if changes else text

    def input_types(self, types: Types) -> tuple[TensorType, ...]:
        """Return the types that the inputs have in memory."""
        return tuple(in_memory(kind, order) for kind, order in zip(types, self.inputs, strict=True))

    def node(self, node: Node, types: Types) -> Node:
        """Return the node that computes in these orders, with the same names of inputs and outputs."""
        if not self.view:
            return Node(node.operator, node.inputs, node.outputs, Params(**{**node.params, **self.changes}))
        _, (result,) = infer(node.operator, tuple(types), node.params)
        return Node("reshape", node.inputs, node.outputs, Params(shape=stored(result.shape, self.outputs[0])))


def in_memory(kind: TensorType, order: Order) -> TensorType:
    """Return the type of a value stored in an order; an order longer than its rank gives it leading extents of 1."""
    shape = (1,) * (len(order) - kind.rank) + kind.shape
    return TensorType(stored(shape, order), kind.dtype)


Family = Callable[[Node, Types, Types, Orders, Orders], Iterator[Implementation]]


@lru_cache(maxsize=1 << 14)
def implementations(
    node: Node, types: tuple[TensorType, ...], inputs: Orders, outputs: Orders
) -> tuple[Implementation, ...]:
    """Return the ways to run a node.

    types: of its inputs, in plain order.  inputs, outputs: orders to consider for each of them, the plain one among
    them. Kernels of convolutions and operands of lower rank are read in whichever order the operator wants.
    """
    params, results = infer(node.operator, tuple(types), node.params)
    node = Node(node.operator, node.inputs, node.outputs, params)
    family = FAMILIES.get(node.operator, _plain_only)
    found: dict[tuple[object, ...], Implementation] = {}
    for way in family(node, types, results, inputs, outputs):
        found.setdefault((way.inputs, way.outputs), way)
    return tuple(found.values()) or tuple(_plain_only(node, types, results, inputs, outputs))


def _plain_only(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    yield Implementation(tuple(plain(t.rank) for t in types), tuple(plain(t.rank) for t in results))


def _windowed(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    """NCHW, and NHWC with the kernel as height, width, input and output channels; images of two or three dimensions."""
    yield from _plain_only(node, types, results, inputs, outputs)
    if types[0].rank not in LAST or node["layout"] != "NCHW":
        return
    last = LAST[types[0].rank]
    if canonical(types[0].shape, last) in inputs[0] and canonical(results[0].shape, last) in outputs[0]:
        kernel = KERNELS.get(node.operator, {}).get(types[0].rank, ())
        yield Implementation((last, kernel, (0,))[: len(types)], (last,), {"layout": "NHWC"})


def _matmul(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    """Any order of both operands and of the result."""
    names = ("a_order", "b_order", "order")
    if any(node[name] for name in names):
        yield from _plain_only(node, types, results, inputs, outputs)
        return
    for a, b, result in itertools.product(*inputs, outputs[0]):
        changes = {name: order for name, order in zip(names, (a, b, result), strict=True) if order != plain(len(order))}
        yield Implementation((a, b), (result,), changes)


def _following(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    """Inputs and outputs of one rank, all in the same order; operands of lower rank are given leading extents of 1."""
    rank = max((t.rank for t in types), default=0)
    if any(t.rank != rank for t in results):
        yield from _plain_only(node, types, results, inputs, outputs)
        return
    for order in dict.fromkeys(order for orders in (*inputs, *outputs) for order in orders if len(order) == rank):
        if order == plain(rank):
            yield from _plain_only(node, types, results, inputs, outputs)
            continue
        changes = {} if node.operator in _ANY_ORDER else moved(node, order)
        if changes is not None:
            read = tuple(order if t.rank else () for t in types)
            own = {name: value for name, value in changes.items() if node.params.get(name) != value}
            yield Implementation(read, (order,) * len(results), own)


def _transpose(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    """Nothing moves: the result is stored in another order than the input. Or the transpose is carried out."""
    for order in inputs[0]:
        result = canonical(results[0].shape, through_transpose(order, node["perm"]))
        if result in outputs[0]:
            yield Implementation((order,), (result,), view=True)
    yield from _plain_only(node, types, results, inputs, outputs)


def _reshape(node: Node, types: Types, results: Types, inputs: Orders, outputs: Orders) -> Iterator[Implementation]:
    """Nothing moves, as long as the dimensions that are split or merged are neighbours."""
    for order in inputs[0]:
        result = through_reshape(types[0].shape, results[0].shape, order)
        if result is not None and result in outputs[0]:
            yield Implementation((order,), (result,), view=True)


_ANY_ORDER = frozenset(operator.name for operator in ELEMENTWISE)
_MOVED = ("concat", "split", "softmax", "pad", "slice")
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(WINDOWED, _windowed),
    **dict.fromkeys((*_ANY_ORDER, *_MOVED), _following),
    "matmul": _matmul,
    "transpose": _transpose,
    "reshape": _reshape,
}
