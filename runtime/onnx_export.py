"""Graph → ONNX file, so that other runtimes can run the same network with the same weights.

Every graph operator becomes one or a few ONNX nodes of opset 17. Operators in the layout NHWC, which ONNX does not
have, are surrounded by transposes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.graph import Graph, Node
from runtime.onnx_model.file import onnx_package

OPSET, IR_VERSION = 17, 8
_SAME_NAME = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "sqrt": "Sqrt", "erf": "Erf"}
_SAME_NAME |= {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}


class _Writer:
    """The ONNX nodes and constants so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.helper = onnx_package().helper
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = dict(graph.weights)
        self.names = set(graph.types)

    def fresh(self, stem: str) -> str:
        """A name not used yet."""
        name, count = stem, 0
        while name in self.names:
            count += 1
            name = f"{stem}_{count}"
        self.names.add(name)
        return name

    def emit(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add one ONNX node."""
        self.nodes.append(self.helper.make_node(operator, list(inputs), list(outputs), name=outputs[0], **attributes))

    def constant(self, stem: str, values: Any, dtype: Any = np.int64) -> str:
        """Add a constant input; gives its name."""
        name = self.fresh(stem)
        self.constants[name] = np.asarray(values, dtype)
        return name

    def channels_first(self, node: Node, value: str) -> str:
        """The value as NCHW."""
        if node["layout"] == "NCHW":
            return value
        rank, name = self.graph.types[value].rank, self.fresh(f"{value}_nchw")
        self.emit("Transpose", [value], [name], perm=[0, rank - 1, *range(1, rank - 1)])
        return name

    def operands(self, node: Node, suffix: str, perm: Sequence[int]) -> list[str]:
        """Image as NCHW, kernel (moved by `perm` where images are channels last) and bias of a convolution."""
        x, kernel, *bias = node.inputs
        image = self.channels_first(node, x)
        if node["layout"] == "NHWC":
            moved = self.fresh(f"{kernel}_{suffix}")
            self.emit("Transpose", [kernel], [moved], perm=perm)
            kernel = moved
        return [image, kernel, *bias]

    def windowed(
        self, operator: str, node: Node, inputs: Sequence[str], activation: str = "", **attributes: Any
    ) -> None:
        """Emit an operator that computes in NCHW, then the activation, then go back to the node's layout."""
        stages: list[tuple[str, dict[str, Any]]] = [(operator, attributes)]
        if activation:
            stages.append((activation, {}))
        if node["layout"] == "NHWC":
            rank = self.graph.types[node.outputs[0]].rank
            stages.append(("Transpose", {"perm": [0, *range(2, rank), 1]}))
        for index, (stage, stage_attributes) in enumerate(stages):
            last = index == len(stages) - 1
            output = node.outputs[0] if last else self.fresh(f"{node.outputs[0]}_{stage.lower()}")
            self.emit(stage, inputs, [output], **stage_attributes)
            inputs = [output]


def _conv(w: _Writer, node: Node) -> None:
    rank = w.graph.types[node.inputs[0]].rank
    inputs = w.operands(node, "oihw", [rank - 1, rank - 2, *range(rank - 2)])
    params = {"strides": node["strides"], "pads": node["padding"], "dilations": node["dilations"]}
    activation = "Relu" if node["activation"] == "relu" else ""
    w.windowed("Conv", node, inputs, activation, group=node["groups"], **params)


def _conv_transpose(w: _Writer, node: Node) -> None:
    rank = w.graph.types[node.inputs[0]].rank
    inputs = w.operands(node, "iohw", [rank - 2, rank - 1, *range(rank - 2)])
    params = {"strides": node["strides"], "pads": node["padding"], "output_padding": node["output_padding"]}
    w.windowed("ConvTranspose", node, inputs, **params)


def _pool(w: _Writer, node: Node) -> None:
    params = {"kernel_shape": node["kernel"], "strides": node["strides"], "pads": node["padding"]}
    if node.operator == "avg_pool":
        params["count_include_pad"] = int(node["count_include_pad"])
    operator = "AveragePool" if node.operator == "avg_pool" else "MaxPool"
    w.windowed(operator, node, [w.channels_first(node, node.inputs[0])], **params)


def _lrn(w: _Writer, node: Node) -> None:
    params = {name: node[name] for name in ("size", "alpha", "beta", "bias")}
    w.windowed("LRN", node, [w.channels_first(node, node.inputs[0])], **params)


def _matmul(w: _Writer, node: Node) -> None:
    """A product in ONNX knows plain orders only; other ones are transposes around it."""
    inputs = list(node.inputs)
    for i, name in enumerate(("a_order", "b_order")):
        if order := node[name]:
            inputs[i] = w.fresh(f"{node.inputs[i]}_plain")
            w.emit("Transpose", [node.inputs[i]], [inputs[i]], perm=[order.index(d) for d in range(len(order))])
    if node["order"]:
        plain = w.fresh(f"{node.outputs[0]}_plain")
        w.emit("MatMul", inputs, [plain])
        w.emit("Transpose", [plain], node.outputs, perm=node["order"])
    else:
        w.emit("MatMul", inputs, node.outputs)


def _clip(w: _Writer, node: Node) -> None:
    limits = [
        w.constant(f"{node.outputs[0]}_{name}", node[name], np.float32) if math.isfinite(node[name]) else ""
        for name in ("min", "max")
    ]
    w.emit("Clip", [node.inputs[0], *limits], node.outputs)


def _reduce(w: _Writer, node: Node) -> None:
    """ReduceSum takes its axes as an input, the others as an attribute."""
    keepdims = int(node["keepdims"])
    if node.operator == "reduce_sum":
        w.emit("ReduceSum", [*node.inputs, w.constant("axes", node["axes"])], node.outputs, keepdims=keepdims)
    else:
        operator = "ReduceMean" if node.operator == "reduce_mean" else "ReduceMax"
        w.emit(operator, node.inputs, node.outputs, axes=node["axes"], keepdims=keepdims)


def _with_constants(operator: str, *names: str, **attributes: str) -> Callable[[_Writer, Node], None]:
    """An operator that takes the named parameters as constant inputs and others as attributes."""

    def write(w: _Writer, node: Node) -> None:
        inputs = [*node.inputs, *(w.constant(name, node[name]) for name in names)]
        w.emit(operator, inputs, node.outputs, **{key: node[name] for key, name in attributes.items()})

    return write


def _pad(w: _Writer, node: Node) -> None:
    inputs = [node.inputs[0], w.constant("pads", node["pads"]), w.constant("value", node["value"], np.float32)]
    w.emit("Pad", inputs, node.outputs)


def _slice(w: _Writer, node: Node) -> None:
    axes = w.constant("axes", range(len(node["starts"])))
    starts, stops, steps = (w.constant(name, node[name]) for name in ("starts", "stops", "steps"))
    w.emit("Slice", [node.inputs[0], starts, stops, axes, steps], node.outputs)


def _winograd(w: _Writer, node: Node) -> None:
    raise ValueError(f"{node.operator} has no equal in ONNX; export the graph as it was before `with_winograd`")


def _same_name(w: _Writer, node: Node) -> None:
    w.emit(_SAME_NAME[node.operator], node.inputs, node.outputs)


WRITERS: dict[str, Callable[[_Writer, Node], None]] = {
    **dict.fromkeys(_SAME_NAME, _same_name),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "matmul": _matmul,
    "max_pool": _pool,
    "avg_pool": _pool,
    "lrn": _lrn,
    "clip": _clip,
    "softmax": _with_constants("Softmax", axis="axis"),
    "concat": _with_constants("Concat", axis="axis"),
    "split": _with_constants("Split", "sizes", axis="axis"),
    "transpose": _with_constants("Transpose", perm="perm"),
    "reshape": _with_constants("Reshape", "shape"),
    "reduce_sum": _reduce,
    "reduce_mean": _reduce,
    "reduce_max": _reduce,
    "pad": _pad,
    "slice": _slice,
    "winograd_input": _winograd,
    "winograd_output": _winograd,
}


def export_onnx(graph: Graph, path: str | Path) -> None:
    """Write a graph as an ONNX file with the same names of inputs, weights and outputs.

    Raises: ModelError: the onnx package is missing.
    """
    onnx = onnx_package()
    writer = _Writer(graph)
    for node in graph.nodes:
        WRITERS[node.operator](writer, node)

    def declare(value: str) -> Any:
        kind = graph.types[value]
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype))
        return onnx.helper.make_tensor_value_info(value, dtype, kind.shape)

    constants = [
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in writer.constants.items()
    ]
    inputs, outputs = [declare(value) for value in graph.inputs], [declare(value) for value in graph.outputs]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(writer.nodes, graph.name, inputs, outputs, constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    Path(path).write_bytes(model.SerializeToString())
