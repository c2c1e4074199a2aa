"""Rewrite a graph so that images keep their channels in the last dimension (NHWC), where vector loads find them.

Input: a graph in NCHW. Output: a graph that computes the same function of the same inputs.

1. A value may exist in several orders of its dimensions; its native order is the one it is computed in.
2. Convolutions, pools and LRN compute in channels-last order. Operators that can work in any order follow their inputs.
3. All others read their inputs in plain order. Asking for an order that does not exist yet adds a transpose, once; a
   weight is transposed now. A transpose of the source graph that undoes one of ours gives back the original value.
4. A channel shuffle (reshape, transpose, reshape) splits, swaps and merges the last dimension instead of the second.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.graph import Graph, Node, Params, TensorType
from runtime.graph_operators.elementwise import ELEMENTWISE
from runtime.network import ALIGNMENT

Order = tuple[int, ...]

# Which dimension of the plain value stands at each place, for images of two and three dimensions.
LAST: dict[int, Order] = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
SPLIT: Order = (0, 3, 4, 1, 2)  # an image whose channels are split in two
CHANNELS_LAST = frozenset((*LAST.values(), SPLIT))
KERNELS: dict[str, dict[int, Order]] = {
    "conv": {4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)},
    "conv_transpose": {4: (2, 3, 0, 1), 5: (2, 3, 4, 0, 1)},
}
WINDOWED = (*KERNELS, "max_pool", "avg_pool", "lrn")
_ELEMENTWISE = {entry.name for entry in ELEMENTWISE}


def to_channels_last(graph: Graph) -> Graph:
    """Give convolutions, pools and LRN the layout NHWC; inputs and outputs keep their names, shapes and meaning.

    >>> from runtime.graph import GraphBuilder
    >>> build = GraphBuilder("g")
    >>> x = build.input("x", (1, 3, 8, 8))
    >>> y = build.add("conv", x, build.weight("w", np.ones((4, 3, 1, 1), np.float32)), name="y")
    >>> print(to_channels_last(build.finish(build.add("relu", y, name="z"))))
    graph g:
        input x: float32[1, 3, 8, 8]
        weight w_hwio: float32[1, 1, 3, 4]
        x_nhwc = transpose(x, perm=(0, 2, 3, 1))  # float32[1, 8, 8, 3]
        y = conv(x_nhwc, w_hwio, layout='NHWC')  # float32[1, 8, 8, 4]
        z_nhwc = relu(y)  # float32[1, 8, 8, 4]
        z = transpose(z_nhwc, perm=(0, 3, 1, 2))  # float32[1, 4, 8, 8]
        return z
    """
    return _Rewriter(graph).run()


def is_view(node: Node, types: Sequence[TensorType]) -> bool:
    """Whether a node's outputs are its input's memory under other names: a reshape, or a split into whole pieces.

    types: of its inputs. Kernels want their operands aligned, so pieces that would start elsewhere are copied.

    >>> split = Node("split", ("x",), ("y", "z"), Params(axis=1, sizes=(16, 32)))
    >>> is_view(split, [TensorType((1, 48, 4, 4))]), is_view(split, [TensorType((2, 48, 4, 4))])
    (True, False)
    """
    if node.operator == "split":
        axis = node["axis"] % types[0].rank
        row = types[0].nbytes // types[0].shape[axis]
        starts = itertools.accumulate(size * row for size in node["sizes"][:-1])
        return all(extent == 1 for extent in types[0].shape[:axis]) and all(s % ALIGNMENT == 0 for s in starts)
    return node.operator == "reshape"


def between(source: Order, target: Order) -> Order:
    """The `perm` of the transpose that turns a value in order `source` into order `target`."""
    return tuple(source.index(dimension) for dimension in target)


def permuted(items: Sequence[Any], order: Order) -> tuple[Any, ...]:
    """Items, one for each plain dimension, in the given order."""
    return tuple(items[dimension] for dimension in order)


class _Rewriter:
    """The rewritten nodes so far, and the orders in which each value of the source graph exists."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = dict(graph.weights)
        self.forms: dict[str, dict[Order, str]] = {}
        self.native: dict[str, Order] = {}
        self.names = set(graph.types)
        for value in (*graph.inputs, *graph.weights):
            self._define(value, self._plain(value), value)

    def run(self) -> Graph:
        """Rewrite every node, then drop what nobody reads."""
        for node in self.graph.nodes:
            self._rewrite(node)
        outputs = tuple(self._form(value, self._plain(value), final=True) for value in self.graph.outputs)
        return self.graph.replace(nodes=tuple(self.nodes), weights=self.weights, outputs=outputs).prune()

    def _shape(self, value: str) -> tuple[int, ...]:
        return self.graph.types[value].shape

    def _plain(self, value: str) -> Order:
        return tuple(range(len(self._shape(value))))

    def _is_last(self, value: str) -> bool:
        return self.native[value] in CHANNELS_LAST

    def _define(self, value: str, order: Order, name: str) -> None:
        """Record the first order of a value: the native one."""
        self.native[value] = order
        self.forms[value] = {order: name}

    def _fresh(self, name: str) -> str:
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _name(self, value: str, order: Order, native: bool) -> str:
        """A graph output keeps its name in plain order, any other value in its native order."""
        plain = order == self._plain(value)
        if plain if value in self.graph.outputs else native:
            return value
        image = plain or order in CHANNELS_LAST
        return self._fresh(f"{value}_{'nchw' if plain else 'nhwc' if image else 'hwio'}")

    def _emit(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], params: Any) -> None:
        self.nodes.append(Node(operator, tuple(inputs), tuple(outputs), Params(**params)))

    def _same_memory(self, value: str, a: Order, b: Order) -> bool:
        """Whether two orders differ only in where dimensions of extent 1 stand."""
        shape = self._shape(value)
        return [d for d in a if shape[d] > 1] == [d for d in b if shape[d] > 1]

    def _form(self, value: str, order: Order, final: bool = False) -> str:
        """The name of a value in an order, computed from another order when it does not exist yet.

        final: the value is an output of the graph, which must carry its own name.
        """
        forms = self.forms[value]
        if order in forms and not (final and forms[order] != value):
            return forms[order]
        if not final and (alias := self._undone(value, order)):
            forms[order] = alias
            return alias
        source, shape = self.native[value], permuted(self._shape(value), order)
        name = forms[order] = self._name(value, order, native=False)
        if value in self.graph.weights:
            self.weights[name] = np.ascontiguousarray(self.graph.weights[value].transpose(order))
        elif self._same_memory(value, source, order):
            self._emit("reshape", [forms[source]], [name], {"shape": shape})
        else:
            self._emit("transpose", [forms[source]], [name], {"perm": between(source, order)})
        return name

    def _undone(self, value: str, order: Order) -> str | None:
        """If the value is a transpose of one that exists in just the order asked for: that one."""
        producer = self.graph.producer(value)
        if producer is None or producer.operator != "transpose":
            return None
        return self.forms[producer.inputs[0]].get(permuted(producer["perm"], order))

    def _rewrite(self, node: Node) -> None:
        """Emit one node in channels-last order if it can be, else in plain order."""
        if node.operator in WINDOWED:
            follows = len(self._shape(node.inputs[0])) in LAST and node["layout"] == "NCHW"
            if follows:
                self._rewrite_windowed(node)
        else:
            follows = any(map(self._is_last, node.inputs)) and self._follow(node)
        if not follows:
            self._rewrite_plain(node)

    def _rewrite_windowed(self, node: Node) -> None:
        rank = len(self._shape(node.inputs[0]))
        inputs = [self._form(node.inputs[0], LAST[rank])]
        if node.operator in KERNELS:
            kernel = KERNELS[node.operator][rank]
            inputs += [self._form(node.inputs[1], kernel), *(self._form(b, (0,)) for b in node.inputs[2:])]
        self._finish(node, LAST[rank], inputs, {**node.params, "layout": "NHWC"})

    def _rewrite_plain(self, node: Node) -> None:
        if node.operator == "reshape" and self._same_memory(x := node.inputs[0], self.native[x], self._plain(x)):
            inputs = [self.forms[x][self.native[x]]]
        else:
            inputs = [self._form(value, self._plain(value)) for value in node.inputs]
        self._finish(node, None, inputs, node.params)

    def _finish(self, node: Node, order: Order | None, inputs: Sequence[str], params: Any) -> None:
        """Emit the node; its outputs are in `order`, None meaning plain."""
        names = []
        for value in node.outputs:
            native = order or self._plain(value)
            names.append(self._name(value, native, native=True))
            self._define(value, native, names[-1])
        self._emit(node.operator, inputs, names, params)

    def _follow(self, node: Node) -> bool:
        """Emit a node that can compute in the order of its inputs; False when it cannot."""
        x = node.inputs[0]
        order = next(self.native[value] for value in node.inputs if self._is_last(value))
        if node.operator in _ELEMENTWISE:
            return self._follow_elementwise(node, order)
        if len(self._shape(x)) != len(order):
            return False
        if node.operator == "reshape":
            return self._follow_reshape(node, order)
        if node.operator == "transpose":
            return self._follow_transpose(node, order)
        params = moved(node, order)
        if params is None:
            return False
        inputs = [self._form(value, order) for value in node.inputs]
        same_rank = len(self._shape(node.outputs[0])) == len(order)
        self._finish(node, order if same_rank else None, inputs, params)
        return True

    def _follow_elementwise(self, node: Node, order: Order) -> bool:
        rank = len(order)
        if len(self._shape(node.outputs[0])) != rank:
            return False
        inputs = []
        for value in node.inputs:
            shape = self._shape(value)
            if len(shape) == rank:
                inputs.append(self._form(value, order))
            elif self.graph.types[value].size == 1:
                inputs.append(self._form(value, self._plain(value)))
            elif value in self.graph.weights:
                array = self.graph.weights[value].reshape((1,) * (rank - len(shape)) + shape)
                inputs.append(self._fresh(f"{value}_nhwc"))
                self.weights[inputs[-1]] = np.ascontiguousarray(array.transpose(order))
            else:
                return False
        self._finish(node, order, inputs, node.params)
        return True

    def _follow_reshape(self, node: Node, order: Order) -> bool:
        """Splitting the channels in two, or merging two channel dimensions, works on the last dimensions instead."""
        old, new = self._shape(node.inputs[0]), self._shape(node.outputs[0])
        if {len(old), len(new)} != {4, 5} or order == LAST[5] or old[0] != new[0] or old[-2:] != new[-2:]:
            return False
        target = SPLIT if len(new) == 5 else LAST[4]
        self._finish(node, target, [self._form(node.inputs[0], order)], {"shape": permuted(new, target)})
        return True

    def _follow_transpose(self, node: Node, order: Order) -> bool:
        """One that moves channel dimensions among themselves stays channels-last; others are composed with ours."""
        x, perm, kept = node.inputs[0], node["perm"], order[: -2 if order == SPLIT else -1]
        if all(perm[d] == d for d in kept):
            moved = between(order, permuted(perm, order))
            self._finish(node, order, [self._form(x, order)], {"perm": moved})
        elif perm != order:
            self._finish(node, None, [self._form(x, order)], {"perm": between(order, perm)})
        elif node.outputs[0] in self.graph.outputs:
            shape = self._shape(node.outputs[0])
            self._finish(replace(node, operator="reshape"), None, [self._form(x, order)], {"shape": shape})
        else:
            self._define(node.outputs[0], self._plain(node.outputs[0]), self._form(x, order))
        return True


def moved(node: Node, order: Order) -> dict[str, Any] | None:
    """The parameters of a node whose input dimensions stand in another order; None when the output cannot follow."""
    params, rank = dict(node.params), len(order)
    if node.operator in ("concat", "split", "softmax"):
        params["axis"] = order.index(params["axis"] % rank)
    elif node.operator.startswith("reduce_"):
        axes = [axis % rank for axis in params["axes"]]
        left = [d for d in order if d not in axes]
        if not params["keepdims"] and left != sorted(left):
            return None
        params["axes"] = tuple(sorted(order.index(axis) for axis in axes))
    elif node.operator == "pad":
        params["pads"] = permuted(params["pads"][:rank], order) + permuted(params["pads"][rank:], order)
    elif node.operator == "slice":
        params |= {name: permuted(params[name], order) for name in ("starts", "stops", "steps")}
    else:
        return None
    return params
