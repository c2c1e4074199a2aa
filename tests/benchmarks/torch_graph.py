"""A graph as a PyTorch module, so that PyTorch runs the very same network with the same weights.

The module is an `torch.fx.GraphModule`: straight-line calls of PyTorch's functions, which `torch.compile` takes as one
graph. Graphs come from ONNX files, so images have their channels in front.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtime.graph import Graph, Node

Value = Any  # a node of the torch.fx graph
Writer = Callable[["_Module", Node, Sequence[Value]], Value]


class _Module:
    """The calls and constants so far."""

    def __init__(self, graph: Graph) -> None:
        import torch

        self.torch, self.source = torch, graph
        self.root = torch.nn.Module()
        self.graph = torch.fx.Graph()
        self.values: dict[str, Value] = {}
        for number, name in enumerate(graph.inputs):
            self.values[name] = self.graph.placeholder(f"input{number}")
        for name, array in graph.weights.items():
            self.values[name] = self.constant(array)

    def constant(self, array: np.ndarray) -> Value:
        """A weight of the module."""
        name = f"weight{len(dict(self.root.named_parameters()))}"
        tensor = self.torch.from_numpy(np.array(array, order="C"))
        self.root.register_parameter(name, self.torch.nn.Parameter(tensor, requires_grad=False))
        return self.graph.get_attr(name)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Value:
        """A call of one of PyTorch's functions."""
        return self.graph.call_function(function, arguments, named)

    def function(self, stem: str, node: Node) -> Callable[..., Any]:
        """A function of `torch.nn.functional` for as many dimensions as the node's image has."""
        found: Callable[..., Any] = getattr(
            self.torch.nn.functional, f"{stem}{self.source.types[node.inputs[0]].rank - 2}d"
        )
        return found

    def padded(self, x: Value, padding: Sequence[int], value: float = 0.0) -> Value:
        """Low sides of all spatial dimensions, then high sides, as PyTorch wants them: the last dimension first."""
        rank = len(padding) // 2
        pairs = [side for d in reversed(range(rank)) for side in (padding[d], padding[rank + d])]
        return self.call(self.torch.nn.functional.pad, x, pairs, "constant", value) if any(pairs) else x

    def finish(self) -> Any:
        """The module; it returns its outputs as a tuple."""
        self.graph.output(tuple(self.values[name] for name in self.source.outputs))
        return self.torch.fx.GraphModule(self.root, self.graph).eval()


def torch_module(graph: Graph) -> Any:
    """The module of a graph with its images in NCHW.  Raises: ValueError: an operator that it cannot have."""
    module = _Module(graph)
    for node in graph.nodes:
        if node.operator not in WRITERS or node.params.get("layout", "NCHW") != "NCHW":
            raise ValueError(f"{node.operator} of {graph.name} is not one for PyTorch: {node}")
        results = WRITERS[node.operator](module, node, [module.values[name] for name in node.inputs])
        if node.operator == "split":
            results = [module.call(operator.getitem, results, number) for number in range(len(node.outputs))]
        else:
            results = [results]
        module.values |= dict(zip(node.outputs, results, strict=True))
    return module.finish()


def _symmetric(padding: Sequence[int]) -> list[int] | None:
    """The padding of either side, when both are equal."""
    rank = len(padding) // 2
    return list(padding[:rank]) if tuple(padding[:rank]) == tuple(padding[rank:]) else None


def _conv(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    x, weight, *bias = values
    both = _symmetric(node["padding"])
    if both is None:
        x, both = m.padded(x, node["padding"]), [0] * len(node["strides"])
    y = m.call(
        m.function("conv", node),
        x,
        weight,
        bias[0] if bias else None,
        list(node["strides"]),
        both,
        list(node["dilations"]),
        node["groups"],
    )
    return m.call(m.torch.relu, y) if node["activation"] == "relu" else y


def _conv_transpose(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    x, weight, *bias = values
    both = _symmetric(node["padding"])
    if both is None:
        raise ValueError(f"PyTorch cuts equally much off both sides: {node}")
    function, more = m.function("conv_transpose", node), list(node["output_padding"])
    return m.call(function, x, weight, bias[0] if bias else None, list(node["strides"]), both, more)


def _max_pool(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    both, x = _symmetric(node["padding"]), values[0]
    if both is None or any(2 * pad > size for pad, size in zip(both, node["kernel"])):
        x, both = m.padded(x, node["padding"], -np.inf), [0] * len(node["strides"])
    return m.call(m.function("max_pool", node), x, list(node["kernel"]), list(node["strides"]), both)


def _avg_pool(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    both, function = _symmetric(node["padding"]), m.function("avg_pool", node)
    sizes = list(node["kernel"]), list(node["strides"])
    include = bool(node["count_include_pad"])
    if both is not None and all(2 * pad <= size for pad, size in zip(both, node["kernel"])):
        return m.call(function, values[0], *sizes, both, False, include)
    y = m.call(function, m.padded(values[0], node["padding"]), *sizes)
    if include:
        return y
    image = m.source.types[node.inputs[0]].shape[2:]
    ones = m.padded(m.constant(np.ones((1, 1, *image), np.float32)), node["padding"])
    return m.call(m.torch.div, y, m.call(function, ones, *sizes))


def _lrn(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    """Both pad half of the size on either side, if it is odd."""
    if node["size"] % 2 == 0:
        raise ValueError(f"PyTorch centres an even number of channels elsewhere: {node}")
    numbers = node["size"], node["alpha"], node["beta"], node["bias"]
    return m.call(m.torch.nn.functional.local_response_norm, values[0], *numbers)


def _matmul(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    if any(node[name] for name in ("a_order", "b_order", "order")):
        raise ValueError(f"PyTorch's products know plain orders only: {node}")
    return m.call(m.torch.matmul, *values)


def _clip(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    return m.call(m.torch.clamp, values[0], node["min"], node["max"])


def _reduce(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    function = {"reduce_sum": m.torch.sum, "reduce_mean": m.torch.mean, "reduce_max": m.torch.amax}[node.operator]
    return m.call(function, values[0], list(node["axes"]), bool(node["keepdims"]))


def _pad(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    return m.padded(values[0], node["pads"], node["value"])


def _slice(m: _Module, node: Node, values: Sequence[Value]) -> Value:
    cut = tuple(map(slice, node["starts"], node["stops"], node["steps"]))
    return m.call(operator.getitem, values[0], cut)


def _plain(name: str) -> Writer:
    return lambda m, node, values: m.call(getattr(m.torch, name), *values)


_NAMES = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "relu": "relu", "sigmoid": "sigmoid"}
_NAMES |= {"tanh": "tanh", "exp": "exp", "sqrt": "sqrt", "erf": "erf"}
WRITERS: Mapping[str, Writer] = {
    **{name: _plain(theirs) for name, theirs in _NAMES.items()},
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "lrn": _lrn,
    "matmul": _matmul,
    "clip": _clip,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max"), _reduce),
    "softmax": lambda m, node, values: m.call(m.torch.softmax, values[0], node["axis"]),
    "concat": lambda m, node, values: m.call(m.torch.cat, list(values), node["axis"]),
    "split": lambda m, node, values: m.call(m.torch.split, values[0], list(node["sizes"]), node["axis"]),
    "transpose": lambda m, node, values: m.call(m.torch.permute, values[0], list(node["perm"])),
    "reshape": lambda m, node, values: m.call(m.torch.reshape, values[0], list(node["shape"])),
    "pad": _pad,
    "slice": _slice,
}
