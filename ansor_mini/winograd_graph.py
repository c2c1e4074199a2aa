"""Another definition of convolutions in a graph: Winograd's, whose results differ in the last bits.

Only when it is asked for. Every convolution of 3 x 3 (in volumes 3 x 3 x 3) with stride 1 and constant weights, in a
graph with channels last, becomes a transform, a stack of matrix products with weights transformed now, and a transform
back; bias and activation follow as operators of their own, which the partition fuses again. Convolutions that read one
value share its transform.

Which layers gain is a matter of measuring: `chosen` says for each.

Paper: Ansor §7
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ansor_mini.partition import Subgraph, partition
from runtime.graph import Graph, Node, Params
from runtime.graph_operators.winograd import KERNEL, MATRICES, transform_weights

Chooser = Callable[[Node], bool]


def has_winograd(graph: Graph, node: Node) -> bool:
    """Whether a node is a convolution that can be computed so."""
    if node.operator != "conv" or node["layout"] != "NHWC" or node["groups"] != 1:
        return False
    weight = graph.weights.get(node.inputs[1])
    plain = set(node["strides"]) == set(node["dilations"]) == {1}
    return weight is not None and weight.ndim in (4, 5) and set(weight.shape[:-2]) == {KERNEL} and plain


def with_winograd(graph: Graph, tile: int = 4, chosen: Chooser = lambda node: True) -> Graph:
    """Define the convolutions that can be by Winograd's transforms, those that are chosen.

    Raises: ValueError: no matrices for this tile size.
    """
    if tile not in MATRICES:
        raise ValueError(f"tile: expected one of {sorted(MATRICES)}, got {tile!r}")
    return _Rewriter(graph, tile).run(chosen)


def gainers(graph: Graph, seconds: Mapping[str, float], tile: int = 4) -> frozenset[str]:
    """The outputs of the convolutions whose kernels are faster by Winograd's definition.

    seconds: of kernels, by the key of their subgraph. A convolution of which a kernel is missing stays as it is.
    """
    rewritten = with_winograd(graph, tile)
    plain, other = _costs(partition(graph), seconds), _costs(partition(rewritten), seconds)
    found = set()
    for output in (node.outputs[0] for node in graph.nodes if has_winograd(graph, node)):
        # A transform that an earlier convolution has brought along costs nothing more.
        values = [f"{output}_transformed", f"{output}_products", output]
        cost = sum(other.get(value, math.inf) for value in values if value in rewritten.types)
        if cost < plain.get(output, 0.0):
            found.add(output)
    return frozenset(found)


def _costs(parts: list[Subgraph], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the kernel that computes each value, fused followers included."""
    return {
        value: seconds[part.key]
        for part in parts
        if part.key in seconds
        for node in part.nodes
        for value in node.outputs
    }


class _Rewriter:
    """The nodes and weights so far."""

    def __init__(self, graph: Graph, tile: int) -> None:
        self.graph, self.tile = graph, tile
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = dict(graph.weights)
        self.transformed: dict[tuple[str, tuple[int, ...]], str] = {}

    def run(self, chosen: Chooser) -> Graph:
        """Rewrite every node."""
        for node in self.graph.nodes:
            if has_winograd(self.graph, node) and chosen(node):
                self._rewrite(node)
            else:
                self.nodes.append(node)
        return self.graph.replace(nodes=tuple(self.nodes), weights=self.weights).prune()

    def _rewrite(self, node: Node) -> None:
        output = node.outputs[0]
        weight = f"{node.inputs[1]}_winograd{self.tile}"
        self.weights[weight] = transform_weights(self.graph.weights[node.inputs[1]], self.tile)
        products = self._add("matmul", (self._transformed(node), weight), f"{output}_products")
        bias, relu = node.inputs[2:], node["activation"] == "relu"
        image = f"{output}_image" if bias or relu else output
        value = self._add("winograd_output", (products,), image, tile=self.tile, shape=self._shape(output))
        if bias:
            value = self._add("add", (value, bias[0]), f"{output}_biased" if relu else output)
        if relu:
            self._add("relu", (value,), output)

    def _transformed(self, node: Node) -> str:
        """The transform of a convolution's input, added once."""
        key = (node.inputs[0], node["padding"])
        if key not in self.transformed:
            name = f"{node.outputs[0]}_transformed"
            params = {"tile": self.tile, "padding": node["padding"]}
            self.transformed[key] = self._add("winograd_input", (node.inputs[0],), name, **params)
        return self.transformed[key]

    def _shape(self, value: str) -> tuple[int, ...]:
        return self.graph.types[value].shape[:-1]

    def _add(self, operator: str, inputs: tuple[str, ...], name: str, **params: object) -> str:
        self.nodes.append(Node(operator, inputs, (name,), Params(**params)))
        return name
