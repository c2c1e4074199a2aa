"""Graphs in which substitutions occur: the source of a rule as a graph, and small networks full of such places.

All arrays hold small integers in float64, so that every legal reordering of sums and products gives the same bits.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder
from taso_mini.graph_constants import array_of
from taso_mini.graph_terms import Reshaped, build
from taso_mini.operator_set import apply_shape
from taso_mini.shapes import Shape
from taso_mini.terms import Substitution, Term, bind_parameters, subterms

WEIGHT_KINDS = ("kernel", "vector", "scalar")


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Integers from -2 to 2 in float64."""
    return rng.integers(-2, 3, shape).astype(np.float64)


def feeds(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Small integers for every input."""
    return {name: integers(rng, kind.shape).astype(kind.dtype) for name, kind in graph.inputs.items()}


def source_graph(
    rule: Substitution, shapes: Mapping[str, Shape], params: Mapping[str, Hashable], rng: np.random.Generator
) -> tuple[Graph, tuple[str, ...]]:
    """A graph that holds the source of a rule, and the values at its outputs.

    Kernels, vectors and scalars are weights where that leaves something to compute; each output of the rule is read
    once more, and in every other graph it is an output of the graph too.
    """
    graph = GraphBuilder("source")
    known: dict[Term, tuple[Shape, str]] = {}
    bound = [bind_parameters(root, params) for root in rule.source]
    all_inputs = rng.random() < 0.5 or all(v.kind in WEIGHT_KINDS for v in rule.variables)
    for node in subterms(*bound):
        if node.is_variable:
            shape = shapes[node.name]
            array = integers(rng, shape.dims)
            weight = not all_inputs and node.kind in WEIGHT_KINDS
            name = graph.weight(node.name, array) if weight else graph.input(node.name, shape.dims, "float64")
        elif node.is_constant:
            shape = apply_shape(node, [shapes[str(node)]])
            name = graph.weight(graph.fresh(node.operator), array_of(node, shape.dims, "float64"))
        else:
            given, args = zip(*(known[argument] for argument in node.args), strict=True)
            shape = apply_shape(node, given)
            name = _add(graph, node, given, args)
        known[node] = (shape, name)
    roots = tuple(known[root][1] for root in bound)
    read = [graph.add("relu", root) for root in roots]
    return graph.finish([*read, *(dict.fromkeys(roots) if rng.random() < 0.5 else ())]), roots


def _add(graph: GraphBuilder, node: Term, given: tuple[Shape, ...], args: tuple[str, ...]) -> str:
    params = dict(node.params)
    if node.operator.startswith("split"):
        tree = given[0].trees[int(str(params["axis"]))]
        assert tree is not None
        params["cut"] = tree[0]
    recipe = build(node.operator, params, args, tuple(graph.types[value] for value in args))
    assert recipe is not None, f"no graph operator for {node}"
    inputs = [
        graph.add("reshape", argument.value, shape=argument.shape) if isinstance(argument, Reshaped) else argument
        for argument in recipe.inputs
    ]
    made = graph.add(recipe.operator, *inputs, **recipe.params)
    return made[recipe.output] if isinstance(made, tuple) else made


class _Network:
    """Grows a network on one image size by appending to a list of values."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 999)))
        self.build = GraphBuilder("network")
        self.values = [self.build.input("x", (draw(st.integers(1, 2)), 2, 3, 4), "float64")]

    def weight(self, *shape: int) -> str:
        return self.build.weight(self.build.fresh("w"), integers(self.rng, shape))

    def pick(self, channels: int | None = None) -> str:
        shape = self.build.types
        return self.draw(st.sampled_from([v for v in self.values if channels in (None, shape[v].shape[1])]))

    def channels(self, value: str) -> int:
        return self.build.types[value].shape[1]

    def grow(self, operator: str) -> None:
        x = self.pick()
        count = self.channels(x)
        if operator == "conv":
            size, out = self.draw(st.sampled_from([1, 3])), self.draw(st.sampled_from([2, 4]))
            groups = self.draw(st.sampled_from([1, 2] if count % 2 == 0 else [1]))
            operands = [x, self.weight(out, count // groups, size, size)]
            operands += [self.weight(out)] if self.draw(st.booleans()) else []
            activation = self.draw(st.sampled_from(["none", "none", "relu"]))
            made = self.build.add("conv", *operands, padding=(size // 2,) * 4, groups=groups, activation=activation)
        elif operator in ("scale", "bias"):
            shape = self.draw(st.sampled_from([(1, count, 1, 1), (count, 1, 1), ()]))
            made = self.build.add("mul" if operator == "scale" else "add", x, self.weight(*shape))
        elif operator in ("add", "mul"):
            made = self.build.add(operator, x, self.pick(count))
        elif operator == "concat":
            made = self.build.add("concat", x, self.pick(), axis=1)
        elif operator == "split":
            if count < 2:
                return
            cut = self.draw(st.integers(1, count - 1))
            self.values += self.build.add("split", x, axis=1, sizes=(cut, count - cut))
            return
        elif operator == "max_pool":
            made = self.build.add("max_pool", x, kernel=(3, 3), padding=(1, 1, 1, 1))
        else:
            made = self.build.add("relu", x)
        self.values.append(made)

    def finish(self) -> Graph:
        unread = [v for v in self.values[1:] if not any(v in node.inputs for node in self.build._nodes)]
        return self.build.finish(unread or [self.build.add("relu", "x")])


GROWTH = ("conv", "conv", "conv", "relu", "relu", "scale", "bias", "add", "mul", "concat", "split", "max_pool")


@st.composite
def networks(draw: st.DrawFn, max_nodes: int = 10) -> Graph:
    """A network of convolutions and what surrounds them, on images that keep their size."""
    network = _Network(draw)
    for operator in draw(st.lists(st.sampled_from(GROWTH), min_size=1, max_size=max_nodes)):
        network.grow(operator)
    return network.finish()
