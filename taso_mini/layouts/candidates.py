"""Which orders of each value are worth a thought.

Paper: TASO §5. Every value may be plain. Images around a convolution may be NHWC, operands and results of a matrix
product column-major; and what is worth a thought for one value is so for those that views and element-wise operators
make of it, and those it is made of. So an attention's heads, which a transpose moves beside the batch, may also stay
inside the rows that they were computed in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from runtime.graph import Graph, Node
from runtime.layout import LAST, WINDOWED
from taso_mini.layouts.implementations import FAMILIES
from taso_mini.layouts.orders import Order, canonical, plain, through_reshape, through_transpose

MOST = 4  # orders for one value
Candidates = Mapping[str, tuple[Order, ...]]


def candidates(graph: Graph, fixed: frozenset[str] = frozenset()) -> Candidates:
    """Return the orders to consider for every value of a graph, the plain one first.

    fixed: values that stay plain, such as weights, of which every order is at hand for nothing.

    >>> from runtime.graph import GraphBuilder
    >>> build = GraphBuilder("g")
    >>> x = build.add("matmul", build.input("x", (2, 3)), build.input("w", (3, 4)), name="m")
    >>> y = build.add("reshape", build.add("tanh", x, name="t"), shape=(2, 2, 2), name="r")
    >>> dict(candidates(build.finish(y), frozenset("xw")))["r"]
    ((0, 1, 2), (1, 2, 0))
    """
    found: dict[str, dict[Order, None]] = {value: {plain(kind.rank): None} for value, kind in graph.types.items()}
    news: list[tuple[str, Order]] = []

    def add(value: str, order: Order | None) -> None:
        if order is None or value in fixed or len(found[value]) >= MOST:
            return
        order = canonical(graph.types[value].shape, order)
        if order not in found[value]:
            found[value][order] = None
            news.append((value, order))

    for node in graph.nodes:
        for value in (*node.inputs, *node.outputs):
            add(value, seed(node.operator, graph.types[value].rank))
    for value, order in news:  # grows while it is walked
        producer = graph.producer(value)
        for node in (*graph.users(value), *((producer,) if producer else ())):
            for neighbour, there in _spread(graph, node, value, order):
                add(neighbour, there)
    return {value: tuple(orders) for value, orders in found.items()}


def seed(operator: str, rank: int) -> Order | None:
    """Return the order besides the plain one that an operator has for values of a rank, if any."""
    if operator in WINDOWED:
        return LAST.get(rank)
    return (*range(rank - 2), rank - 1, rank - 2) if operator == "matmul" and rank >= 2 else None


def _spread(graph: Graph, node: Node, value: str, order: Order) -> list[tuple[str, Order | None]]:
    """Return the orders that an order of one value of a node suggests for the others."""
    if node.operator in ("transpose", "reshape"):
        source, result = node.inputs[0], node.outputs[0]
        forwards = value == source
        if node.operator == "reshape":
            old, new = (graph.types[v].shape for v in ((source, result) if forwards else (result, source)))
            return [(result if forwards else source, through_reshape(old, new, order))]
        perm = node["perm"] if forwards else tuple(int(d) for d in np.argsort(node["perm"]))
        return [(result if forwards else source, through_transpose(order, perm))]
    if node.operator == "matmul" or node.operator in WINDOWED or node.operator not in FAMILIES:
        return []
    alike = [v for v in (*node.inputs, *node.outputs) if v != value and graph.types[v].rank == len(order)]
    return [(v, order) for v in alike]
