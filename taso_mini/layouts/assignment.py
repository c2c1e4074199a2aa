"""The cheapest layouts of a whole graph: one order for every value, and conversions where readers want another one.

Paper: TASO §5. A value is stored in the order its operator computes it in, and may be converted to a second one, once,
for the readers that want it. Inputs and outputs of the graph are plain; weights are there in any order, since they are
rearranged before the first inference. The cost is the sum over operators of the seconds of their implementation, plus
the conversions. `assign` finds the least cost over all choices by variable elimination: exact, where trying the
combinations one after another would take 2 to the number of values.

>>> from runtime.graph import GraphBuilder
>>> from taso_mini.costs import FlopCost
>>> build = GraphBuilder("g")
>>> x = build.add("matmul", build.input("x", (64, 8)), build.input("w", (8, 32)), name="m")
>>> graph = build.finish(build.add("tanh", build.add("transpose", x, perm=(1, 0), name="t"), name="y"))
>>> print(assign(graph, Prices(FlopCost())))
m   (1, 0)
1 of 5 values in another order, 0 conversions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runtime.graph import Graph, Node, Params, TensorType
from taso_mini.costs import CostSource
from taso_mini.layouts.candidates import Candidates, candidates
from taso_mini.layouts.elimination import Table, minimize
from taso_mini.layouts.implementations import Implementation, Orders, Types, implementations
from taso_mini.layouts.orders import Order, between, canonical, plain, same_memory, stored


class Prices:
    """Seconds of implementations and conversions, from a source that prices graph nodes.

    exact: ask for exact prices, which a measuring source measures, each once; otherwise for estimates, which may change
        with what is measured meanwhile.
    """

    def __init__(self, costs: CostSource, *, exact: bool = True) -> None:
        """Price with `costs`."""
        self.costs, self.exact = costs, exact
        once = lru_cache(maxsize=None) if exact else lambda function: function
        self.ways = once(self._ways)
        self.conversion = once(self._conversion)

    def of(self, node: Node, types: Types) -> float:
        """Return the seconds of a node as it stands."""
        return (self.costs.cost if self.exact else self.costs.estimate)(node, types)

    def _ways(
        self, node: Node, types: tuple[TensorType, ...], inputs: Orders, outputs: Orders
    ) -> tuple[tuple[Implementation, float], ...]:
        """Return the ways to run a node, each with its seconds."""
        found = implementations(node, types, inputs, outputs)
        return tuple((way, self._seconds(way, node, types)) for way in found)

    def _seconds(self, way: Implementation, node: Node, types: Types) -> float:
        return 0.0 if way.view else self.of(way.node(node, types), way.input_types(types))

    def _conversion(self, kind: TensorType, source: Order, target: Order) -> float:
        """Return the seconds that it takes to store a value in a second order."""
        if same_memory(kind.shape, source, target):
            return 0.0
        node = Node("transpose", ("x",), ("y",), Params(perm=between(source, target)))
        return self.of(node, (TensorType(stored(kind.shape, source), kind.dtype),))


@dataclass(frozen=True)
class Form:
    """The orders that a value is stored in: the one it is computed in, and perhaps a converted one."""

    native: Order
    extra: Order | None = None

    @property
    def orders(self) -> tuple[Order, ...]:
        """All of them."""
        return (self.native,) if self.extra is None else (self.native, self.extra)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Layouts of a graph: a form for every value that depends on an input, a way to run every node, and the cost."""

    graph: Graph
    forms: Mapping[str, Form]
    ways: tuple[Implementation, ...]
    cost: float

    @property
    def conversions(self) -> dict[str, Order]:
        """Values that are stored a second time, and in which order."""
        return {value: form.extra for value, form in self.forms.items() if form.extra is not None}

    def __str__(self) -> str:
        """Return the values that are not stored in plain order alone."""
        odd = {v: form for v, form in self.forms.items() if form.orders != (plain(len(form.native)),)}
        width = max(map(len, odd), default=0)
        lines = [f"{v:{width}}   {' and '.join(map(str, form.orders))}" for v, form in odd.items()]
        moved = sum(form.native != plain(len(form.native)) for form in odd.values())
        count = f"{moved} of {len(self.forms)} values in another order, {len(self.conversions)} conversions"
        return "\n".join([*lines, count])


def assign(graph: Graph, prices: Prices, orders: Candidates | None = None) -> Assignment:
    """Choose the layouts with the least cost.

    orders: what to choose from; by default `candidates`. With `plain_only` nothing is left to choose.
    """
    constant = constants(graph)
    orders = orders or candidates(graph, constant)
    forms = {value: _forms(graph, value, orders[value]) for value in graph.types if value not in constant}
    tables = [Table((value,), _conversion_costs(graph.types[value], forms[value], prices)) for value in forms]
    shared: dict[tuple[object, ...], np.ndarray] = {}
    for node in graph.nodes:
        if any(value in forms for value in node.outputs):
            names = tuple(dict.fromkeys(value for value in (*node.inputs, *node.outputs) if value in forms))
            key = (_anonymous(node), _types(graph, node), *_orders(node, orders), *(tuple(forms[v]) for v in names))
            if key not in shared:
                shared[key] = _node_costs(graph, node, orders, names, forms, prices)
            tables.append(Table(names, shared[key]))
    choice, cost = minimize(tables)
    chosen = {value: forms[value][choice[value]] for value in forms}
    return Assignment(graph, chosen, tuple(_way(graph, node, orders, chosen, prices) for node in graph.nodes), cost)


def plain_only(graph: Graph) -> Candidates:
    """Return the candidates among which there is nothing to choose."""
    return {value: (plain(kind.rank),) for value, kind in graph.types.items()}


def constants(graph: Graph) -> frozenset[str]:
    """Return the values that depend on weights alone, which are computed once before any inference."""
    found = set(graph.weights)
    for node in graph.nodes:
        if all(value in found for value in node.inputs):
            found.update(node.outputs)
    return frozenset(found)


def required(kind: TensorType, order: Order) -> Order:
    """Return how a value must be stored to be read in an order, which may name leading dimensions it has not got."""
    lead = len(order) - kind.rank
    return canonical(kind.shape, tuple(d - lead for d in order if d >= lead))


def _forms(graph: Graph, value: str, orders: tuple[Order, ...]) -> list[Form]:
    """Return what may become of a value; one that enters or leaves the graph is plain there."""
    first = plain(graph.types[value].rank)
    natives = (first,) if value in graph.inputs else orders
    found = [Form(a, b) for a in natives for b in (None, *orders) if a != b]
    return [form for form in found if value not in graph.outputs or first in form.orders]


def _conversion_costs(kind: TensorType, forms: list[Form], prices: Prices) -> np.ndarray:
    return np.array([prices.conversion(kind, form.native, form.extra) if form.extra else 0.0 for form in forms])


def _types(graph: Graph, node: Node) -> tuple[TensorType, ...]:
    return tuple(graph.types[value] for value in node.inputs)


def _orders(node: Node, orders: Candidates) -> tuple[Orders, Orders]:
    return tuple(orders[v] for v in node.inputs), tuple(orders[v] for v in node.outputs)


def _anonymous(node: Node) -> Node:
    """Return the node with names that only say which inputs are the same value."""
    names = {value: f"v{i}" for i, value in enumerate(dict.fromkeys((*node.inputs, *node.outputs)))}
    inputs, outputs = (tuple(names[value] for value in values) for values in (node.inputs, node.outputs))
    return Node(node.operator, inputs, outputs, node.params)


def _ways(graph: Graph, node: Node, orders: Candidates, prices: Prices) -> tuple[tuple[Implementation, float], ...]:
    return prices.ways(_anonymous(node), _types(graph, node), *_orders(node, orders))


def _allows(graph: Graph, node: Node, way: Implementation, value: str, form: Form) -> bool:
    """Whether a way to run a node finds or leaves a value in one of its forms."""
    kind = graph.types[value]
    wanted = {required(kind, order) for v, order in zip(node.inputs, way.inputs, strict=True) if v == value}
    made = [canonical(kind.shape, order) for v, order in zip(node.outputs, way.outputs, strict=True) if v == value]
    return wanted <= set(form.orders) and all(order == form.native for order in made)


def _node_costs(
    graph: Graph,
    node: Node,
    orders: Candidates,
    names: tuple[str, ...],
    forms: Mapping[str, list[Form]],
    prices: Prices,
) -> np.ndarray:
    """Return the seconds of a node for every combination of the forms of what it reads and computes."""
    costs = np.full([len(forms[value]) for value in names], np.inf)
    for way, seconds in _ways(graph, node, orders, prices):
        fits = [[i for i, form in enumerate(forms[v]) if _allows(graph, node, way, v, form)] for v in names]
        where = np.ix_(*fits)
        costs[where] = np.minimum(costs[where], seconds)
    return costs


def _way(graph: Graph, node: Node, orders: Candidates, forms: Mapping[str, Form], prices: Prices) -> Implementation:
    """Return the cheapest way to run a node in the chosen forms."""
    if not any(value in forms for value in node.outputs):
        return implementations(node, _types(graph, node), *_orders(node, orders))[0]
    names = [value for value in (*node.inputs, *node.outputs) if value in forms]
    ways = _ways(graph, node, orders, prices)
    fits = [(s, i) for i, (way, s) in enumerate(ways) if all(_allows(graph, node, way, v, forms[v]) for v in names)]
    return ways[min(fits)[1]][0]
