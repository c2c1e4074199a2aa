"""The graph during a search: for every value the operation that computes it, cheap to change in one place.

Paper: TASO §5. A value's name stands for the value, not for the expression that computes it: a rewrite gives the same
name another operation, so whatever reads it stays as it is. Equal operations on equal values are one object, shared by
all graphs of a search, with everything that is known about them.

    Values       all values and operations that a search has met
    Operation    a node with its cost, its fingerprint and its reading as term operators
    SearchGraph  a value -> operation table and use counts; `Change` turns one into the next
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from runtime.graph import Graph, Node, Params, TensorType
from runtime.operators import infer
from taso_mini.costs import CostSource
from taso_mini.graph_terms import Application, Argument, Recipe, read_node


@dataclass(eq=False, slots=True)
class Operation:
    """A node of the search; `args[i]` are the values that its i-th reading is applied to.

    constant: computed from weights alone, hence once, before any inference: it costs nothing.
    cost: seconds; an estimate until `Values.settle` asks the cost source for the exact figure.
    """

    node: Node
    readings: tuple[Application | None, ...]
    args: tuple[tuple[str, ...], ...]
    constant: bool
    fingerprint: int
    cost: float
    settled: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values read."""
        return self.node.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values computed."""
        return self.node.outputs


class Values:
    """The types of all values, and the one `Operation` object for every distinct operation, of one search."""

    def __init__(self, graph: Graph, costs: CostSource) -> None:
        """Start with the values of `graph`."""
        self.graph = graph
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

    def settle(self, operation: Operation) -> bool:
        """Replace an estimated cost by the exact one; return whether it changed."""
        before = operation.cost
        if not operation.settled:
            operation.cost = self.costs.cost(operation.node, self._input_types(operation.node))
            operation.settled = True
        return operation.cost != before

    def _enter(self, node: Node) -> Operation:
        key = (node.operator, node.params, node.inputs, node.outputs)
        found = self._operations.get(key)
        if found is None:
            types = self._input_types(node)
            constant = all(value in self.constant for value in node.inputs)
            readings = read_node(node, types)
            cost = 0.0 if constant else self.costs.estimate(node, types)
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
            if (name := f"{operator}.{self._fresh}") not in self.types:
                return name


def _fingerprint(key: tuple[object, ...]) -> int:
    """64 bits that depend on the text only, so that two runs of one search go the same way."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Change:
    """What a rewrite does to a graph: operations that come and go, and the new use counts of the values it touches."""

    added: tuple[Operation, ...]
    removed: tuple[Operation, ...]
    uses: Mapping[str, int]

    @property
    def cost(self) -> float:
        """By how many seconds the graph gets dearer; negative for a gain."""
        return sum(o.cost for o in self.added) - sum(o.cost for o in self.removed)

    @property
    def fingerprint(self) -> int:
        """By how much the graph's fingerprint changes, modulo 2**64."""
        return sum(o.fingerprint for o in self.added) - sum(o.fingerprint for o in self.removed)


@dataclass(eq=False)
class SearchGraph:
    """One graph of a search.

    producers: live value -> operation (inputs and weights have none).  uses: live value -> number of reads, counting
    one for being an output of the graph.
    """

    values: Values
    producers: dict[str, Operation]
    uses: dict[str, int]
    cost: float = field(init=False)
    fingerprint: int = field(init=False)

    def __post_init__(self) -> None:
        self.cost = math.fsum(operation.cost for operation in self.operations)
        self.fingerprint = sum(operation.fingerprint for operation in self.operations) % 2**64

    @classmethod
    def of(cls, graph: Graph, costs: CostSource) -> SearchGraph:
        """Begin a search at `graph`."""
        graph = graph.prune()
        values = Values(graph, costs)
        producers = {value: values.origin[value] for node in graph.nodes for value in node.outputs}
        uses: dict[str, int] = {}
        for value in [*(value for node in graph.nodes for value in node.inputs), *graph.outputs]:
            uses[value] = uses.get(value, 0) + 1
        return cls(values, producers, uses)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All live operations, each once."""
        return tuple(dict.fromkeys(self.producers.values()))

    @cached_property
    def users(self) -> dict[str, tuple[Operation, ...]]:
        """The operations that read each value."""
        users: dict[str, dict[Operation, None]] = {}
        for operation in self.operations:
            for value in operation.inputs:
                users.setdefault(value, {})[operation] = None
        return {value: tuple(operations) for value, operations in users.items()}

    def application(self, value: str) -> tuple[Application, tuple[str, ...]] | None:
        """Return how a value is computed as a term operator, and from which values."""
        operation = self.producers.get(value)
        if operation is None:
            return None
        output = operation.outputs.index(value)
        reading = operation.readings[output]
        return (reading, operation.args[output]) if reading else None

    def apply(self, change: Change) -> SearchGraph:
        """Return the graph after a change."""
        producers, uses = dict(self.producers), dict(self.uses)
        for operation in change.removed:
            for value in operation.outputs:
                del producers[value]
        for operation in change.added:
            producers.update(dict.fromkeys(operation.outputs, operation))
        for value, count in change.uses.items():
            if count:
                uses[value] = count
            else:
                uses.pop(value, None)
        return SearchGraph(self.values, producers, uses)

    def settle(self) -> bool:
        """Make all costs exact; return whether that changed the cost."""
        changed = [operation for operation in self.operations if self.values.settle(operation)]
        if changed:
            self.cost = math.fsum(operation.cost for operation in self.operations)
        return bool(changed)

    def in_order(self) -> tuple[Operation, ...] | None:
        """Return the operations in topological order, or None when they form a cycle."""
        done: dict[Operation, bool] = {}  # False while the operation's inputs are being visited
        order = []
        stack = [(operation, False) for operation in reversed(self.operations)]
        while stack:
            operation, inputs_visited = stack.pop()
            if inputs_visited:
                done[operation] = True
                order.append(operation)
            elif operation not in done:
                done[operation] = False
                stack.append((operation, True))
                producers = [self.producers[value] for value in operation.inputs if value in self.producers]
                if any(done.get(producer) is False for producer in producers):
                    return None
                stack.extend((producer, False) for producer in reversed(producers))
        return tuple(order)

    def to_graph(self) -> Graph:
        """Return the graph as the runtime knows it.  Raises: ValueError: it has a cycle."""
        order = self.in_order()
        if order is None:
            raise ValueError("the graph has a cycle")
        return self.values.graph.replace(nodes=tuple(operation.node for operation in order)).prune()

