"""Values and operations that a search meets: each distinct one is a single object that knows everything about itself.

Paper: TASO §5. A value's name stands for the value, not for the expression that computes it, so a rewrite gives the
same name another operation and whatever reads it stays as it is. An operation on the same values is always the same
object: a search compares, prices and reads it as a term only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runtime.graph import Graph, Node, Params, TensorType
from runtime.graph_text import show_node
from runtime.operators import infer
from taso_mini.costs import CostSource
from taso_mini.graph_terms import Application, Argument, Recipe, read_node

TICK = 1e-15  # seconds; costs are whole ticks during a search, so that a sum does not depend on its order


@dataclass(eq=False, slots=True)
class Operation:
    """A node of the search; `args[i]` are the values that its i-th reading is applied to.

    constant: computed from weights alone, hence once, before any inference: it costs nothing.
    cost: in ticks; an estimate until `Values.settle` asks the cost source for the exact figure.
    """

    node: Node
    readings: tuple[Application | None, ...]
    args: tuple[tuple[str, ...], ...]
    constant: bool
    fingerprint: int
    cost: int
    settled: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values read."""
        return self.node.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values computed."""
        return self.node.outputs

    def __str__(self) -> str:
        """Return the node as a graph prints it."""
        return show_node(self.node)


class Values:
    """The types of all values, and the one `Operation` object for every distinct operation, of one search."""

    def __init__(self, graph: Graph, costs: CostSource) -> None:
        """Start with the values of `graph`."""
        self.graph = graph
        self.outputs = frozenset(graph.outputs)
        self.costs = costs
        self.types: dict[str, TensorType] = dict(graph.types)
        self.constant: set[str] = set(graph.weights)
        self.origin: dict[str, Operation] = {}  # the operation under which a value was first met
        self._operations: dict[tuple[object, ...], Operation] = {}
        self._first: dict[tuple[object, ...], Operation] = {}
        self._fresh = 0
        for node in graph.nodes:
            self._enter(node)

    def operation(self, recipe: Recipe, named: Mapping[int, str] = MappingProxyType({})) -> Operation | None:
        """Return the operation that carries out a recipe; None when its shapes do not fit.

        named: the values that it must compute, by output; the others are those under which it was first met, or new.
        """
        inputs = tuple(self.resolve(value) for value in recipe.inputs)
        try:
            params, types = infer(recipe.operator, tuple(self.types[v] for v in inputs), Params(**recipe.params))
        except ValueError:
            return None
        first = self._first.get((recipe.operator, params, inputs))
        if first is not None and not named:
            return first
        outputs = tuple(
            named[i] if i in named else first.outputs[i] if first else self._name(recipe.operator)
            for i in range(len(types))
        )
        if any(self.types.setdefault(value, kind) != kind for value, kind in zip(outputs, types, strict=True)):
            return None
        return self._enter(Node(recipe.operator, inputs, outputs, params))

    def over(self, operation: Operation, renamed: Mapping[str, str]) -> Operation:
        """Return the same operation, computing the same values, with some inputs replaced by equal ones."""
        node = operation.node
        inputs = tuple(renamed.get(value, value) for value in node.inputs)
        return self._enter(Node(node.operator, inputs, node.outputs, node.params))

    def resolve(self, argument: Argument) -> str:
        """Return the name of a value, making a reshape where the argument is one."""
        if isinstance(argument, str):
            return argument
        value = argument.value
        while value in self.origin and self.origin[value].node.operator == "reshape":
            value = self.origin[value].inputs[0]  # a reshape of a reshape is one reshape
        if self.types[value].shape == argument.shape:
            return value
        reshape = self.operation(Recipe("reshape", (value,), {"shape": argument.shape}))
        assert reshape is not None
        return reshape.outputs[0]

    def settle(self, operation: Operation) -> None:
        """Replace an estimated cost by the exact one."""
        if not operation.settled:
            operation.cost = round(self.costs.cost(operation.node, self._input_types(operation.node)) / TICK)
            operation.settled = True

    def _enter(self, node: Node) -> Operation:
        key = (node.operator, node.params, node.inputs, node.outputs)
        found = self._operations.get(key)
        if found is None:
            types = self._input_types(node)
            constant = all(value in self.constant for value in node.inputs)
            readings = read_node(node, types)
            cost = 0 if constant else round(self.costs.estimate(node, types) / TICK)
            found = Operation(node, readings, (), constant, _fingerprint(key), cost, constant)
            self._operations[key] = found
            self._first.setdefault(key[:3], found)
            for value in node.outputs:
                self.origin.setdefault(value, found)
            if constant:
                self.constant.update(node.outputs)
            found.args = tuple(tuple(map(self.resolve, r.args)) if r else () for r in readings)
        return found

    def _input_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self.types[value] for value in node.inputs)

    def _name(self, operator: str) -> str:
        while True:
            self._fresh += 1
            if (name := f"{operator}_{self._fresh}") not in self.types:
                return name


def _fingerprint(key: tuple[object, ...]) -> int:
    """64 bits that depend on the text only, so that two runs of one search go the same way."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")
