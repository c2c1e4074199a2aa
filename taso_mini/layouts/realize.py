"""A graph that runs in chosen layouts: the same function of the same inputs, with every conversion a node of its own.

Paper: TASO §5. A value in another order is an ordinary tensor of another shape. Views become reshapes or vanish, a
conversion becomes a transpose, and weights are rearranged at once.

>>> from runtime.graph import GraphBuilder
>>> from taso_mini.costs import FlopCost
>>> from taso_mini.layouts.assignment import Prices, assign
>>> build = GraphBuilder("g")
>>> x = build.add("matmul", build.input("x", (64, 8)), build.input("w", (8, 32)), name="m")
>>> graph = build.finish(build.add("tanh", build.add("transpose", x, perm=(1, 0), name="t"), name="y"))
>>> print(realize(assign(graph, Prices(FlopCost()))))
graph g:
    input x: float32[64, 8]
    input w: float32[8, 32]
    m = matmul(x, w, order=(1, 0))  # float32[32, 64]
    y = tanh(m)  # float32[32, 64]
    return y
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runtime.graph import Graph, Node, Params, TensorType
from runtime.operators import infer
from taso_mini.layouts.assignment import Assignment, required
from taso_mini.layouts.implementations import Implementation, in_memory
from taso_mini.layouts.orders import Order, between, canonical, plain, stored

Shape = tuple[int, ...]


def realize(assignment: Assignment) -> Graph:
    """Return the graph of an assignment; inputs and outputs keep their names, shapes and meaning."""
    return _Realizer(assignment).run()


class _Realizer:
    """The nodes so far, the types of what they compute, and the names under which each value is there in each order."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment, self.graph = assignment, assignment.graph
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = dict(self.graph.weights)
        given = (*self.graph.inputs, *self.graph.weights)
        self.types: dict[str, TensorType] = {value: self.graph.types[value] for value in given}
        self.taken = set(self.graph.types)
        self.names = {(value, plain(self.types[value].rank)): value for value in given}
        self.reshaped: dict[tuple[str, Shape], str] = {}

    def run(self) -> Graph:
        """Write every node in the way that was chosen, and a conversion where it first can be."""
        for value in self.graph.inputs:
            self._convert(value)
        for node, way in zip(self.graph.nodes, self.assignment.ways, strict=True):
            self._write(node, way)
            for value in node.outputs:
                self._convert(value)
        outputs = tuple(self.names[value, plain(self.graph.types[value].rank)] for value in self.graph.outputs)
        laid = self.graph.replace(nodes=tuple(self.nodes), weights=self.weights, outputs=outputs)
        return laid.prune().fold_constants()

    def _convert(self, value: str) -> None:
        """Store a value in its second order, if it has one."""
        form = self.assignment.forms.get(value)
        if form is not None and form.extra is not None:
            self._transpose(value, form.native, form.extra)

    def _transpose(self, value: str, source: Order, target: Order) -> None:
        name, old = self._name(value, target), self.names[value, source]
        self.names[value, target] = name
        if old in self.weights:
            self._weigh(name, np.ascontiguousarray(self.weights[old].transpose(between(source, target))))
        else:
            self._add("transpose", [old], [name], {"perm": between(source, target)})

    def _write(self, node: Node, way: Implementation) -> None:
        """Run a node as its implementation says."""
        types = tuple(self.graph.types[value] for value in node.inputs)
        inputs = [self._read(value, order) for value, order in zip(node.inputs, way.inputs, strict=True)]
        changed = way.node(node, types)
        outputs: list[str] = []
        aliases: list[tuple[str, str, Shape]] = []
        for value, order in zip(node.outputs, way.outputs, strict=True):
            shape = self.graph.types[value].shape
            native = canonical(shape, order)
            if way.view and value not in self.graph.outputs and self.types[inputs[0]].shape == stored(shape, native):
                self.names[value, native] = inputs[0]
                return
            name = self.names[value, native] = self._name(value, native)
            outputs.append(name)
            if stored(shape, order) != stored(shape, native):
                outputs[-1] = self._fresh(f"{value}_memory")
                aliases.append((outputs[-1], name, stored(shape, native)))
        self._add(changed.operator, inputs, outputs, changed.params)
        for source, name, shape in aliases:
            self._add("reshape", [source], [name], {"shape": shape})

    def _read(self, value: str, order: Order) -> str:
        """Return the name of a value as an implementation reads it: in this order, of this shape."""
        kind = self.graph.types[value]
        wanted = required(kind, order)
        if (value, wanted) not in self.names:  # a weight, or what is computed from weights
            self._transpose(value, plain(kind.rank), wanted)
        name, shape = self.names[value, wanted], in_memory(kind, order).shape
        if self.types[name].shape == shape:
            return name
        if (name, shape) not in self.reshaped:
            other = self.reshaped[name, shape] = self._fresh(f"{name}_memory")
            if name in self.weights:
                self._weigh(other, self.weights[name].reshape(shape))
            else:
                self._add("reshape", [name], [other], {"shape": shape})
        return self.reshaped[name, shape]

    def _name(self, value: str, order: Order) -> str:
        """An output of the graph has its name where it is plain, any other value where it is native."""
        form, first = self.assignment.forms.get(value), plain(len(order))
        own = first if form is None or value in self.graph.outputs else form.native
        if order == own and value not in self.types:
            return value
        return self._fresh(f"{value}_{''.join(map(str, order))}")

    def _fresh(self, stem: str) -> str:
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name

    def _add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], params: Mapping[str, Any]) -> None:
        full, types = infer(operator, tuple(self.types[value] for value in inputs), Params(**params))
        self.nodes.append(Node(operator, tuple(inputs), tuple(outputs), full))
        self.types.update(zip(outputs, types, strict=True))

    def _weigh(self, name: str, array: np.ndarray) -> None:
        self.weights[name] = array
        self.types[name] = TensorType(array.shape, array.dtype.name)
