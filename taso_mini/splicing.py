"""Put improved blocks back into the graph they were cut from, with names that people can read.

Paper: TASO §5. A search names new values after what they are; here they become `conv_0`, `conv_1` and so on. Values of
the graph as given keep their names, its outputs in particular.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.graph import Graph, Node, TensorType
from taso_mini.costs import CostSource
from taso_mini.values import FRESH


class Names:
    """Names for the values of blocks in the whole graph."""

    def __init__(self, taken: Iterable[str]) -> None:
        """Start with names that must not be given again."""
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}
        self._weights: dict[str, str] = {}

    def block(self, known: Mapping[str, str]) -> Renaming:
        """Return the names of one block's values; `known` has those of the values that the whole graph has."""
        return Renaming(self, dict(known))

    def fresh(self, stem: str) -> str:
        """Return the stem with the next number that is free."""
        while True:
            number = self._numbers[stem] = self._numbers.get(stem, -1) + 1
            if (name := f"{stem}_{number}") not in self._taken:
                self._taken.add(name)
                return name


class Renaming:
    """The names of one block's values in the whole graph; values that a search has brought get new ones."""

    def __init__(self, names: Names, known: dict[str, str]) -> None:
        self._names, self._known = names, known

    def __call__(self, value: str) -> str:
        """Return a value's name."""
        if value not in self._known:
            self._known[value] = self._names.fresh(value.split(FRESH)[0])
        return self._known[value]

    def node(self, node: Node) -> Node:
        """Return a node over the renamed values."""
        return Node(node.operator, tuple(map(self, node.inputs)), tuple(map(self, node.outputs)), node.params)


@dataclass(frozen=True)
class Renamed:
    """The prices of another source, for a block whose values it knows under the names that the whole graph gives them.

    Most sources look at types only. One that looks at names, as where tensors have layouts that are known, has a method
    `context(value)`: what its prices depend on; blocks are alike only if their values have the same.
    """

    source: CostSource
    names: Mapping[str, str]

    def cost(self, node: Node, types: Sequence[TensorType]) -> float:
        """Return the source's exact price."""
        return self.source.cost(self._named(node), types)

    def estimate(self, node: Node, types: Sequence[TensorType]) -> float:
        """Return the source's estimate."""
        return self.source.estimate(self._named(node), types)

    def _named(self, node: Node) -> Node:
        inputs, outputs = (tuple(self.names.get(v, v) for v in values) for values in (node.inputs, node.outputs))
        return Node(node.operator, inputs, outputs, node.params)


def splice(graph: Graph, replaced: Iterable[Node], nodes: Iterable[Node], weights: Mapping[str, np.ndarray]) -> Graph:
    """Return a graph with some nodes replaced by others, in an order in which each finds its inputs computed."""
    gone = {value for node in replaced for value in node.outputs}
    kept = [node for node in graph.nodes if gone.isdisjoint(node.outputs)]
    new = {node.outputs: node for node in nodes}  # weight arithmetic that several blocks read is the same in each
    ordered = in_order([*kept, *new.values()])
    return graph.replace(nodes=tuple(ordered), weights={**graph.weights, **weights}).prune()


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """Sort nodes so that each comes after those whose values it reads, and otherwise stays where it is.

    >>> x, y = Node("relu", ("b",), ("c",)), Node("relu", ("a",), ("b",))
    >>> [node.outputs for node in in_order([x, y])]
    [('b',), ('c',)]
    """
    producers = {value: node for node in nodes for value in node.outputs}
    done: dict[tuple[str, ...], Node] = {}
    for first in nodes:
        stack = [(first, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                done.setdefault(node.outputs, node)
            elif node.outputs not in done:
                stack.append((node, True))
                below = [producers[value] for value in node.inputs if value in producers]
                stack.extend((producer, False) for producer in reversed(below) if producer.outputs not in done)
    return list(done.values())
