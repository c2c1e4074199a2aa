"""The computation graph that both packages speak: immutable nodes over named values, typed at construction.

A value is an input, a weight or an output of a node; nodes are in topological order. Every change makes a new graph.
`str` prints a graph as text and `parse_graph` reads it back (see `graph_text`).

    >>> build = GraphBuilder("tiny")
    >>> x = build.input("x", (2, 3))
    >>> y = build.add("matmul", x, build.weight("w", np.ones((3, 4), np.float32)), name="y")
    >>> graph = build.finish(build.add("relu", y, name="z"))
    >>> print(graph)
    graph tiny:
        input x: float32[2, 3]
        weight w: float32[3, 4]
        y = matmul(x, w)  # float32[2, 4]
        z = relu(y)  # float32[2, 4]
        return z
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.node import Node, Params, ParamValue, TensorType, read_only, same_array, type_of
from runtime.operators import evaluate, find_operator, infer

__all__ = ["Graph", "GraphBuilder", "GraphError", "Node", "ParamValue", "Params", "TensorType", "type_of"]


class GraphError(ValueError):
    """A graph that cannot be: the message names the node, what it needs and what it got."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A function from `inputs` to `outputs`; see the module.

    Raises: GraphError: a value is undefined or defined twice, or a node's inputs do not fit its operator.
    """

    name: str
    inputs: Mapping[str, TensorType]
    weights: Mapping[str, np.ndarray]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        weights = {name: read_only(array) for name, array in self.weights.items()}
        types: dict[str, TensorType] = dict(self.inputs)
        for name, array in weights.items():
            if name in types:
                raise GraphError(f"graph {self.name}: value {name!r} is both an input and a weight")
            types[name] = type_of(array)
        nodes = tuple(self._typed(node, types) for node in self.nodes)
        missing = [value for value in self.outputs if value not in types]
        if missing:
            raise GraphError(f"graph {self.name}: output {missing[0]!r} is never computed")
        if not self.outputs:
            raise GraphError(f"graph {self.name} has no outputs")
        fields = {"inputs": MappingProxyType(dict(self.inputs)), "weights": MappingProxyType(weights), "nodes": nodes}
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "outputs", tuple(self.outputs))
        object.__setattr__(self, "_types", MappingProxyType(types))

    def _typed(self, node: Node, types: dict[str, TensorType]) -> Node:
        """Complete a node's parameters and add the types of its outputs to `types`."""
        where = f"graph {self.name}: node {'/'.join(node.outputs)} = {node.operator}({', '.join(node.inputs)})"
        for value in node.inputs:
            if value not in types:
                raise GraphError(f"{where}: {value!r} is not computed before it is used")
        try:
            params, outputs = infer(node.operator, tuple(types[value] for value in node.inputs), node.params)
        except ValueError as error:
            raise GraphError(f"{where}: {error}") from None
        if len(outputs) != len(node.outputs):
            raise GraphError(f"{where}: gives {len(outputs)} values, {len(node.outputs)} are named")
        for value, kind in zip(node.outputs, outputs, strict=True):
            if value in types:
                raise GraphError(f"{where}: {value!r} is already defined")
            types[value] = kind
        return node if params == node.params else Node(node.operator, node.inputs, node.outputs, params)

    @property
    def types(self) -> Mapping[str, TensorType]:
        """The type of every value."""
        return self._types  # type: ignore[attr-defined, no-any-return]

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def _users(self) -> dict[str, tuple[Node, ...]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in users.items()}

    def producer(self, value: str) -> Node | None:
        """The node that computes a value; None for inputs and weights."""
        return self._producers.get(value)

    def users(self, value: str) -> tuple[Node, ...]:
        """The nodes that read a value, each once, in order."""
        return self._users.get(value, ())

    def flops_of(self, node: Node) -> int:
        """Scalar operations of one node; a multiply-add counts 2."""
        ins, outs = ([self.types[value] for value in values] for values in (node.inputs, node.outputs))
        return find_operator(node.operator).flops(ins, outs, node.params)

    @property
    def flops(self) -> int:
        """Scalar operations of one inference."""
        return sum(map(self.flops_of, self.nodes))

    def replace(self, **changes: Any) -> Graph:
        """A graph with some of the fields name, inputs, weights, nodes and outputs changed."""
        fields = {"name": self.name, "inputs": self.inputs, "weights": self.weights}
        return Graph(**{**fields, "nodes": self.nodes, "outputs": self.outputs, **changes})

    def evaluate(
        self,
        feeds: Mapping[str, np.ndarray],
        *,
        weights: Mapping[str, np.ndarray] | None = None,
        all_values: bool = False,
    ) -> dict[str, np.ndarray]:
        """Compute the outputs with the operators' NumPy references.

        weights: arrays to use in place of this graph's, for any of the names.
        all_values: return every value, not only the outputs.
        Raises: ValueError: an input is missing, unknown, or of another type than declared.
        """
        values: dict[str, np.ndarray] = {**self.weights}
        for name, array in (weights or {}).items():
            values[name] = self._checked(name, array, self.weights, "weight")
        for name in self.inputs:
            if name not in feeds:
                raise ValueError(f"feeds: input {name!r} ({self.types[name]}) is missing")
        for name, array in feeds.items():
            values[name] = self._checked(name, array, self.inputs, "input")
        last_use = {value: i for i, node in enumerate(self.nodes) for value in (*node.inputs, *node.outputs)}
        for i, node in enumerate(self.nodes):
            results = evaluate(node.operator, [values[value] for value in node.inputs], node.params)
            values.update(zip(node.outputs, results, strict=True))
            for value in (*node.inputs, *node.outputs):
                if not all_values and last_use[value] == i and value not in self.outputs:
                    values.pop(value, None)
        return values if all_values else {value: values[value] for value in self.outputs}

    def _checked(self, name: str, array: np.ndarray, known: Iterable[str], kind: str) -> np.ndarray:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; graph {self.name} has {', '.join(known) or 'none'}")
        if type_of(array) != self.types[name]:
            raise ValueError(f"{kind} {name!r}: expected {self.types[name]}, got {type_of(array)}")
        return array

    def fold_constants(self) -> Graph:
        """Run the nodes that depend on weights only, once, and keep their results as weights."""
        weights: dict[str, np.ndarray] = {**self.weights}
        kept = []
        for node in self.nodes:
            if all(value in weights for value in node.inputs):
                results = evaluate(node.operator, [weights[value] for value in node.inputs], node.params)
                weights.update(zip(node.outputs, results, strict=True))
            else:
                kept.append(node)
        return self if len(kept) == len(self.nodes) else self.replace(weights=weights, nodes=tuple(kept)).prune()

    def prune(self) -> Graph:
        """Drop the nodes and weights that no output needs; inputs stay."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        weights = {name: array for name, array in self.weights.items() if name in needed}
        if len(kept) == len(self.nodes) and len(weights) == len(self.weights):
            return self
        return self.replace(weights=weights, nodes=tuple(reversed(kept)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return (
            (self.name, list(self.inputs.items()), self.nodes, self.outputs)
            == (other.name, list(other.inputs.items()), other.nodes, other.outputs)
            and self.weights.keys() == other.weights.keys()
            and all(same_array(array, other.weights[name]) for name, array in self.weights.items())
        )

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.inputs.items()), self.nodes, self.outputs))

    def __str__(self) -> str:
        from runtime.graph_text import show_graph

        return show_graph(self)

    def to_dot(self) -> str:
        """Graphviz text: a box per node, an oval per input and output."""
        from runtime.graph_text import show_dot

        return show_dot(self)


class GraphBuilder:
    """Builds a graph one value at a time; each call gives the name of its value.

    >>> build = GraphBuilder("halves")
    >>> left, right = build.add("split", build.input("x", (2, 4)), axis=1, sizes=(1, 3))
    >>> left, right
    ('split_0.0', 'split_0.1')
    """

    def __init__(self, name: str, reserved: Iterable[str] = ()) -> None:
        """Start an empty graph; names made up by the builder stay clear of the `reserved` ones."""
        self.name = name
        self._reserved = frozenset(reserved)
        self.types: dict[str, TensorType] = {}
        self._inputs: dict[str, TensorType] = {}
        self._weights: dict[str, np.ndarray] = {}
        self._nodes: list[Node] = []
        self._counts: dict[str, int] = {}

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> str:
        """Declare an input."""
        self._define(name, TensorType(tuple(int(extent) for extent in shape), dtype))
        self._inputs[name] = self.types[name]
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """Add a constant."""
        self._define(name, type_of(np.asarray(array)))
        self._weights[name] = np.asarray(array)
        return name

    def add(self, operator: str, *inputs: str, name: str | Sequence[str] | None = None, **params: Any) -> Any:
        """Apply an operator; gives the name of its output, or a tuple of names for a split.

        name: of the output, or of each piece of a split, or their stem; by default the operator's with a number.
        Raises: GraphError: the inputs or parameters do not fit.
        """
        name = name or self.fresh(operator)
        try:
            types = tuple(self.types[value] for value in inputs)
            full, outputs = infer(operator, types, Params(**params))
        except KeyError as error:
            raise GraphError(f"graph {self.name}: {operator} {name!r}: unknown value {error}") from None
        except (TypeError, ValueError) as error:
            raise GraphError(f"graph {self.name}: {operator} {name!r}: {error}") from None
        if isinstance(name, str):
            names = (name,) if operator != "split" else tuple(f"{name}.{i}" for i in range(len(outputs)))
        else:
            names = tuple(name)
        if len(names) != len(outputs):
            raise GraphError(f"graph {self.name}: {operator} gives {len(outputs)} values, {len(names)} are named")
        for value, kind in zip(names, outputs, strict=True):
            self._define(value, kind)
        self._nodes.append(Node(operator, tuple(inputs), names, full))
        return names if operator == "split" else names[0]

    def fresh(self, stem: str) -> str:
        """A name not used yet: the stem with a number."""
        while True:
            count = self._counts[stem] = self._counts.get(stem, -1) + 1
            name = f"{stem}_{count}"
            if not {name, f"{name}.0"} & (self.types.keys() | self._reserved):
                return name

    def _define(self, name: str, kind: TensorType) -> None:
        if name in self.types:
            raise GraphError(f"graph {self.name}: value {name!r} is already defined")
        self.types[name] = kind

    def finish(self, outputs: str | Sequence[str]) -> Graph:
        """The graph with these outputs."""
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        return Graph(self.name, self._inputs, self._weights, tuple(self._nodes), names)
