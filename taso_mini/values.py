"""Values and operations that a search meets: each distinct one is a single object that knows everything about itself.

Paper: TASO §5. A value's name stands for the value, not for the expression that computes it, so a rewrite gives the
same name another operation and whatever reads it stays as it is. An operation on the same values is always the same
object: a search compares, prices and reads it as a term only once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.graph import Graph, Node, Params, TensorType
from runtime.graph_text import show_node
from runtime.operators import infer
from taso_mini.applications import Application, Argument, Recipe
from taso_mini.costs import CostSource
from taso_mini.graph_constants import array_of, recognise
from taso_mini.graph_terms import read_node
from taso_mini.terms import Term

FRESH = "#"  # in the name of a value that the graph as given does not have
TICK = 1e-15  # seconds; costs are whole ticks during a search, so that a sum does not depend on its order


@dataclass(eq=False, slots=True)
class Operation:
    """A node of the search.

    applications: how each of its outputs is computed as a term operator, and from which values.
    constant: computed from weights alone, hence once, before any inference: it costs nothing.
    cost: in ticks; an estimate until `Values.settle` asks the cost source for the exact figure.
    rising: every value it computes is higher than every value it reads; see `Values.height`.
    """

    node: Node
    constant: bool
    fingerprint: int
    cost: int
    settled: bool
    rising: bool
    inputs: tuple[str, ...] = field(init=False)
    outputs: tuple[str, ...] = field(init=False)
    applications: dict[str, tuple[Application, tuple[str, ...]] | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the names of the values read and computed at hand."""
        self.inputs, self.outputs = self.node.inputs, self.node.outputs

    def __str__(self) -> str:
        """Return the node as a graph prints it."""
        return show_node(self.node)


@dataclass(slots=True)
class _Deed:
    """What a recipe on certain values comes to, whatever its results are called.

    outputs: their names unless others are asked for.  given: the operation of the graph as given that does it.
    operations: those met so far, by the names of their results.
    """

    params: Params
    types: tuple[TensorType, ...]
    outputs: tuple[str, ...]
    given: Operation | None
    operations: dict[tuple[str, ...], Operation]


Live = Callable[[str, Params, tuple[str, ...]], "Operation | None"]  # the operation of a graph that does this


class Values:
    """The types of all values, and the one `Operation` object for every distinct operation, of one search.

    height: a number for every value; in the graph as given, all operations rise.  epoch: how often a cost has changed.
    """

    def __init__(self, graph: Graph, costs: CostSource) -> None:
        """Start with the values of `graph`."""
        self.graph = graph
        self.outputs = frozenset(graph.outputs)
        self.costs = costs
        self.types: dict[str, TensorType] = dict(graph.types)
        self.leaves = {*graph.inputs, *graph.weights}
        self._constants: dict[str, tuple[Term, ...]] = {}  # the constants that a weight is
        self.constant: set[str] = set(graph.weights)
        self.height: dict[str, float] = dict.fromkeys(graph.types, 0.0)
        self.height.update({v: i for i, node in enumerate(graph.nodes, start=1) for v in node.outputs})
        self.epoch = 0
        self.targets: dict[tuple[Hashable, ...], Any] = {}  # kept by `targets.build_target`
        self.answers: dict[tuple[Hashable, ...], list[Any]] = {}  # kept by `recall`
        self.origin: dict[str, Operation] = {}  # the operation under which a value was first met
        self._operations: dict[tuple[object, ...], Operation] = {}
        self._given: dict[tuple[object, ...], Operation] = {}
        self._deeds: dict[tuple[object, ...], _Deed | None] = {}
        for node in graph.nodes:
            operation = self._enter(node)
            self._given.setdefault((node.operator, node.params, node.inputs), operation)

    def operation(
        self,
        recipe: Recipe,
        named: Mapping[int, str] = MappingProxyType({}),
        live: Live | None = None,
        ceiling: float = math.inf,
    ) -> Operation | None:
        """Return the operation that carries out a recipe; None when its shapes do not fit.

        named: the values that it must compute, by output. Without, it is the one that is `live` or that the graph as
        given has, or a new one, whose values are named after it: no name depends on what was asked before. New values
        lie below the `ceiling` if they can.
        """
        inputs = tuple([v if isinstance(v, str) else self.resolve(v) for v in recipe.inputs])
        deed = self._deed(recipe, inputs)
        if deed is None:
            return None
        if not named:
            known = live(recipe.operator, deed.params, inputs) if live else None
            known = known or deed.given
            if known is not None:
                return known
        outputs = tuple([named.get(i, name) for i, name in enumerate(deed.outputs)]) if named else deed.outputs
        if outputs not in deed.operations:
            if any(self.types.setdefault(value, kind) != kind for value, kind in zip(outputs, deed.types, strict=True)):
                return None
            below = max([self.height[value] for value in inputs], default=0.0)
            middle = (below + ceiling) / 2 if below < ceiling < math.inf else below + 1
            for value in outputs:
                self.height.setdefault(value, middle)
            deed.operations[outputs] = self._enter(Node(recipe.operator, inputs, outputs, deed.params))
        return deed.operations[outputs]

    def _deed(self, recipe: Recipe, inputs: tuple[str, ...]) -> _Deed | None:
        key = (recipe.operator, inputs, *recipe.params.items())
        if key not in self._deeds:
            self._deeds[key] = None
            try:
                types = tuple(self.types[value] for value in inputs)
                params, results = infer(recipe.operator, types, Params(**recipe.params))
            except ValueError:
                return None
            content = (recipe.operator, params, inputs)
            name = f"{recipe.operator}{FRESH}{_fingerprint(content):016x}"
            outputs = tuple(f"{name}.{i}" if i else name for i in range(len(results)))
            self._deeds[key] = _Deed(params, results, outputs, self._given.get(content), {})
        return self._deeds[key]

    def constant_weight(self, constant: Term, shape: tuple[int, ...], dtype: str) -> str:
        """Return the weight that is a constant of this shape, which need not be in the graph as given."""
        name = f"{constant.operator}{FRESH}{_fingerprint((str(constant), shape, dtype)):016x}"
        if name not in self.types:
            self.types[name], self.height[name] = TensorType(shape, dtype), 0.0
            self._constants[name] = (constant,)
            self.leaves.add(name)
            self.constant.add(name)
        return name

    def constants(self, value: str) -> tuple[Term, ...]:
        """Return the constants that a weight is; most are none."""
        if value not in self._constants:
            weight = self.graph.weights.get(value)
            self._constants[value] = () if weight is None else recognise(weight)
        return self._constants[value]

    def new_weights(self, values: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the arrays of those of the values that are constants the graph as given does not have."""
        made = dict.fromkeys(v for v in values if self._constants.get(v) and v not in self.graph.types)
        return {v: array_of(self._constants[v][0], self.types[v].shape, self.types[v].dtype) for v in made}

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
            cost = round(self.costs.cost(operation.node, self._input_types(operation.node)) / TICK)
            self.epoch += cost != operation.cost
            operation.cost, operation.settled = cost, True

    def _enter(self, node: Node) -> Operation:
        key = (node.operator, node.params, node.inputs, node.outputs)
        found = self._operations.get(key)
        if found is None:
            types = self._input_types(node)
            constant = all(value in self.constant for value in node.inputs)
            cost = 0 if constant else round(self.costs.estimate(node, types) / TICK)
            below = max([self.height[value] for value in node.inputs], default=0.0)
            rising = constant or all([self.height[value] > below for value in node.outputs])
            found = Operation(node, constant, _fingerprint(key), cost, constant, rising)
            self._operations[key] = found
            for value in node.outputs:
                self.origin.setdefault(value, found)
            if constant:
                self.constant.update(node.outputs)
            for value, reading in zip(node.outputs, read_node(node, types), strict=True):
                found.applications[value] = (reading, tuple(map(self.resolve, reading.args))) if reading else None
        return found

    def _input_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self.types[value] for value in node.inputs)


def _fingerprint(key: tuple[object, ...]) -> int:
    """64 bits that depend on the text only, so that two runs of one search go the same way."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")
