"""A graph as the back end will run it, and its bill: the kernels and copies it consists of, each with its price.

The search for substitutions prices operators one by one. What runs are kernels of several operators, concatenations
that vanish because kernels write into the joined tensor, splits that are read in place. The bill of a graph is made of
those, so that graphs are compared by what would be run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ansor_mini.partition import Subgraph, partition
from runtime.graph import Graph, Node
from runtime.layout import is_view
from taso_mini.costs import CostSource
from taso_mini.joint.prices import COPIED, JOINED, VIEW, Kernel, KernelPrices, Price
from taso_mini.trace import Step


@dataclass(frozen=True, eq=False)
class Alternative:
    """One graph equal to the given one, in its layouts.

    name: how it was found. steps: the rewrites on the way.
    """

    name: str
    graph: Graph
    steps: tuple[Step, ...] = ()

    @cached_property
    def parts(self) -> tuple[Subgraph, ...]:
        """The subgraphs that become kernels, copies and views."""
        return tuple(partition(self.graph))

    @cached_property
    def runs(self) -> Counter[str]:
        """How often each distinct subgraph runs; equal for graphs between which there is nothing to choose."""
        return Counter(part.key for part in self.parts)

    def constants(self, part: Subgraph) -> tuple[str, ...]:
        """The inputs of a subgraph's fragment that are weights."""
        pairs = zip(part.fragment.inputs, part.inputs, strict=True)
        return tuple(name for name, value in pairs if value in self.graph.weights)


@dataclass(frozen=True)
class Item:
    """One line of a bill: a distinct kernel or copy, how often it runs, the price of one run."""

    label: str
    runs: int
    price: Price
    kernel: Kernel | None = None

    @property
    def seconds(self) -> float:
        """Of all runs."""
        return self.runs * self.price.seconds


@dataclass(frozen=True)
class Bill:
    """What a graph costs, item by item."""

    items: tuple[Item, ...]

    @property
    def seconds(self) -> float:
        """The sum."""
        return sum(item.seconds for item in self.items)

    @property
    def fixed(self) -> float:
        """Seconds of what no tuning changes."""
        return sum(item.seconds for item in self.items if item.kernel is None)

    @property
    def by_source(self) -> dict[str, float]:
        """Seconds by where the prices come from, the largest first."""
        totals: Counter[str] = Counter()
        for item in self.items:
            totals[item.price.source] += item.seconds  # type: ignore[assignment]
        return {source: seconds for source, seconds in totals.most_common() if seconds}

    def __str__(self) -> str:
        """Return the total and how much of it is known from where."""
        parts = ", ".join(f"{seconds * 1e3:.3f} {source}" for source, seconds in self.by_source.items())
        return f"{self.seconds * 1e3:.3f} ms ({parts or 'nothing'})"


def bill(alternative: Alternative, prices: KernelPrices) -> Bill:
    """Price every distinct subgraph of a graph.  Raises: ValueError: an operator has no kernel and no price."""
    graph = alternative.graph
    joined = joined_concats(graph, alternative.parts)
    items: dict[str, Item] = {}
    for part in alternative.parts:
        kernel = prices.kernel(part, alternative.constants(part)) if part.kind == "compute" else None
        free = part.outputs[0] in joined
        key = f"{part.key} {free}"
        if key in items:
            items[key] = Item(items[key].label, items[key].runs + 1, items[key].price, kernel)
        elif kernel is not None:
            items[key] = Item(label(part), 1, prices.of(kernel), kernel)
        else:
            items[key] = Item(label(part), 1, _copied(graph, part, prices.operators, free))
    return Bill(tuple(items.values()))


def label(part: Subgraph) -> str:
    """The fused operators and the shape of the result, for people."""
    operators = "+".join(node.operator for node in part.nodes)
    return f"{operators} {'x'.join(map(str, part.fragment.types[part.fragment.outputs[0]].shape))}"


def _copied(graph: Graph, part: Subgraph, operators: CostSource, free: bool) -> Price:
    """The price of what is no kernel: a view, or copies."""
    types = [graph.types[value] for value in part.anchor.inputs]
    if free:
        return Price(0.0, JOINED)
    if part.kind != "compute" and is_view(part.anchor, types):
        return Price(0.0, VIEW)
    return Price(sum(_alone(graph, node, operators) for node in part.nodes), COPIED)


def _alone(graph: Graph, node: Node, operators: CostSource) -> float:
    return operators.cost(node, [graph.types[value] for value in node.inputs])


def joined_concats(graph: Graph, parts: Sequence[Subgraph]) -> set[str]:
    """The concatenated values that cost nothing, since kernels of their own write each operand in its place."""
    producers = {value: part for part in parts for value in part.outputs}

    def alone(value: str) -> bool:
        made = producers.get(value)
        if made is None or made.kind != "compute" or len(made.outputs) != 1:
            return False
        return value not in graph.outputs and len(graph.users(value)) == 1

    found: set[str] = set()
    for part in parts:
        operands = part.anchor.inputs
        if part.anchor.operator == "concat" and len(set(operands)) == len(operands) and all(map(alone, operands)):
            found.update(part.outputs)
    return found
