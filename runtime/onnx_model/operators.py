"""How each ONNX operator becomes graph operators: one handler per operator, in a table.

A handler gets the translation so far and a node, adds graph nodes, and gives the values of the node's outputs; its last
graph node carries the name of the ONNX output. Identity-like operators give their input and add nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.graph_operators.base import product
from runtime.node import Params
from runtime.onnx_model.composed import COMPOSED_HANDLERS
from runtime.onnx_model.shape import SHAPE_HANDLERS
from runtime.onnx_model.translation import OnnxNode, Translation, Unsupported
from runtime.onnx_model.transposed import conv_transpose

Handler = Callable[[Translation, OnnxNode], Any]


def _elementwise(operator: str) -> Handler:
    def handler(t: Translation, node: OnnxNode) -> str:
        return str(t.build.add(operator, *map(t.value, node.inputs), name=node.outputs[0]))

    return handler


def _sum(t: Translation, node: OnnxNode) -> str:
    """A sum of n values is n - 1 additions."""
    total = t.value(node.inputs[0])
    if len(node.inputs) == 1:
        return total
    for index, name in enumerate(node.inputs[1:], 2):
        last = index == len(node.inputs)
        total = t.build.add("add", total, t.value(name), name=node.outputs[0] if last else None)
    return total


def _identity(t: Translation, node: OnnxNode) -> str | np.ndarray:
    """Identity, and Dropout at inference: the value itself; Dropout's mask has no meaning here."""
    return t.meaning[node.inputs[0]]


def _clip(t: Translation, node: OnnxNode) -> str:
    """Limits are attributes up to opset 10, inputs from 11."""
    limits = {"min": -math.inf, "max": math.inf}
    for index, key in ((1, "min"), (2, "max")):
        if key in node.attributes:
            limits[key] = float(node.attributes[key])
        if node.input(index):
            limit = t.constant(node.input(index))
            if limit is None:
                raise Unsupported(f"{key} is computed from the inputs")
            limits[key] = float(limit)
    return str(t.build.add("clip", t.value(node.inputs[0]), name=node.outputs[0], **limits))


def window_params(node: OnnxNode, image: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and padding of a window, with `auto_pad` and `ceil_mode` worked into the padding.

    A window that starts beyond the last input (and its left padding) is dropped, as ONNX defines.
    """
    rank = len(image)
    strides = tuple(node.attributes.get("strides", (1,) * rank))
    dilations = tuple(node.attributes.get("dilations", (1,) * rank))
    low, high = [0] * rank, [0] * rank
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for d, (n, k, s, dilation) in enumerate(zip(image, kernel, strides, dilations)):
            total = max((math.ceil(n / s) - 1) * s + (k - 1) * dilation + 1 - n, 0)
            small, large = total // 2, total - total // 2
            low[d], high[d] = (small, large) if auto == "SAME_UPPER" else (large, small)
    elif auto == "NOTSET":
        pads = list(node.attributes.get("pads", (0,) * 2 * rank))
        low, high = pads[:rank], pads[rank:]
    elif auto != "VALID":
        raise Unsupported(f"auto_pad {auto!r}")
    if node.attributes.get("ceil_mode", 0):
        for d, (n, k, s) in enumerate(zip(image, kernel, strides)):
            room = n + low[d] + high[d] - (k - 1) * dilations[d] - 1
            steps = math.ceil(room / s)
            steps -= steps * s >= n + low[d]
            high[d] += max(steps * s - room, 0)
    return {"strides": strides, "dilations": dilations, "padding": tuple(low + high)}


def _conv(t: Translation, node: OnnxNode) -> str:
    image, kernel = t.shape(node.inputs[0])[2:], t.shape(node.inputs[1])[2:]
    params = {**window_params(node, image, kernel), "groups": node.attributes.get("group", 1)}
    operands = [t.value(name) for name in node.inputs if name]
    return str(t.build.add("conv", *operands, name=node.outputs[0], **params))


def _pool(operator: str) -> Handler:
    def handler(t: Translation, node: OnnxNode) -> str:
        image, kernel = t.shape(node.inputs[0])[2:], tuple(node.attributes["kernel_shape"])
        params = window_params(node, image, kernel)
        if any(dilation != 1 for dilation in params.pop("dilations")):
            raise Unsupported("dilated pooling")
        if len(node.outputs) > 1 and node.outputs[1]:
            raise Unsupported("the indices of the maxima are not computed")
        if operator == "avg_pool":
            include = bool(node.attributes.get("count_include_pad", 0))
            if include and params["padding"] != window_params(_without_ceil(node), image, kernel)["padding"]:
                raise Unsupported("count_include_pad together with ceil_mode")
            params["count_include_pad"] = include
        return str(t.build.add(operator, t.value(node.inputs[0]), name=node.outputs[0], kernel=kernel, **params))

    return handler


def _without_ceil(node: OnnxNode) -> OnnxNode:
    return OnnxNode(node.operator, node.name, node.inputs, node.outputs, {**node.attributes, "ceil_mode": 0})


def _global_pool(operator: str) -> Handler:
    def handler(t: Translation, node: OnnxNode) -> str:
        axes = tuple(range(2, len(t.shape(node.inputs[0]))))
        return str(t.build.add(operator, t.value(node.inputs[0]), name=node.outputs[0], axes=axes, keepdims=True))

    return handler


def _lrn(t: Translation, node: OnnxNode) -> str:
    params = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, **node.attributes}
    return str(t.build.add("lrn", t.value(node.inputs[0]), name=node.outputs[0], **params))


def _batch_normalization(t: Translation, node: OnnxNode) -> str:
    """Normalise by the stored statistics: y = x * s + b - mean * s with s = gamma / sqrt(var + epsilon)."""
    arrays = [t.constant(name) for name in node.inputs[1:5]]
    if any(array is None for array in arrays):
        raise Unsupported("scale, bias, mean and variance must be constants")
    if node.attributes.get("training_mode", 0):
        raise Unsupported("training mode")
    gamma, beta, mean, var = (np.asarray(array, np.float64) for array in arrays)
    scale = gamma / np.sqrt(var + node.attributes.get("epsilon", 1e-5))
    shape, out = (1, -1, *(1,) * (len(t.shape(node.inputs[0])) - 2)), node.outputs[0]
    s = t.derived(f"{out}.scale", scale.astype(np.float32).reshape(shape))
    b = t.derived(f"{out}.shift", (beta - mean * scale).astype(np.float32).reshape(shape))
    scaled = t.build.add("mul", t.value(node.inputs[0]), s, name=t.build.fresh(f"{out}.scaled"))
    return str(t.build.add("add", scaled, b, name=out))


def _gemm(t: Translation, node: OnnxNode) -> str:
    """alpha * A' B' + beta * C as a matmul and an add; what concerns constants is folded into them."""
    a, b, out = node.inputs[0], node.inputs[1], node.outputs[0]
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    left = _operand(t, a, bool(node.attributes.get("transA", 0)), 1.0)
    right = _operand(t, b, bool(node.attributes.get("transB", 0)), alpha)
    if not node.input(2) or beta == 0.0:
        return str(t.build.add("matmul", left, right, name=out))
    total = t.build.add("matmul", left, right, name=t.build.fresh(f"{out}.product"))
    return str(t.build.add("add", total, _operand(t, node.input(2), False, beta), name=out))


def _operand(t: Translation, name: str, transposed: bool, factor: float) -> str:
    """`factor` times a value, transposed if asked: computed now for a constant, else by graph nodes."""
    array = t.constant(name)
    if array is not None and (transposed or factor != 1.0):
        array = array * np.float32(factor) if factor != 1.0 else array
        return t.derived(f"{name}.transposed" if transposed else f"{name}.scaled", array.T if transposed else array)
    value = t.value(name)
    if transposed:
        value = t.build.add("transpose", value, perm=(1, 0))
    if factor != 1.0:
        value = t.build.add("mul", value, t.derived(f"{name}.factor", np.full((1, 1), factor, np.float32)))
    return value


def _matmul(t: Translation, node: OnnxNode) -> str:
    if any(len(t.shape(name)) < 2 for name in node.inputs):
        raise Unsupported("a vector operand; reshape it to a matrix")
    return str(t.build.add("matmul", *map(t.value, node.inputs), name=node.outputs[0]))


def _softmax(t: Translation, node: OnnxNode) -> str:
    """From opset 13 along one axis; before, over all dimensions from `axis` (default 1) on, flattened."""
    shape, x, out = t.shape(node.inputs[0]), t.value(node.inputs[0]), node.outputs[0]
    axis = node.attributes.get("axis", -1 if t.opset >= 13 else 1) % len(shape)
    if t.opset >= 13 or product(shape[axis + 1 :]) == 1:
        return str(t.build.add("softmax", x, name=out, axis=axis))
    flat = t.build.add("reshape", x, shape=(product(shape[:axis]), product(shape[axis:])))
    return str(t.build.add("reshape", t.build.add("softmax", flat, axis=1), name=out, shape=shape))


def _reduce(operator: str) -> Handler:
    """Axes are an attribute up to opset 12 (ReduceSum) or 17, an input after that; none means all."""

    def handler(t: Translation, node: OnnxNode) -> str | np.ndarray:
        axes = tuple(node.attributes.get("axes", ()))
        if node.input(1):
            axes = t.integers(node.input(1), "axes")
        if not axes and node.attributes.get("noop_with_empty_axes", 0):
            return t.meaning[node.inputs[0]]
        axes = axes or tuple(range(len(t.shape(node.inputs[0]))))
        params = Params(axes=axes, keepdims=bool(node.attributes.get("keepdims", 1)))
        return str(t.build.add(operator, t.value(node.inputs[0]), name=node.outputs[0], **params))

    return handler


HANDLERS: dict[str, Handler] = {
    **{name: _elementwise(name.lower()) for name in ("Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Tanh", "Exp")},
    **{name: _elementwise(name.lower()) for name in ("Sqrt", "Erf")},
    "Sum": _sum,
    "Clip": _clip,
    "Identity": _identity,
    "Dropout": _identity,
    "Conv": _conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("avg_pool"),
    "GlobalAveragePool": _global_pool("reduce_mean"),
    "GlobalMaxPool": _global_pool("reduce_max"),
    "LRN": _lrn,
    "BatchNormalization": _batch_normalization,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Softmax": _softmax,
    "ReduceSum": _reduce("reduce_sum"),
    "ReduceMean": _reduce("reduce_mean"),
    "ReduceMax": _reduce("reduce_max"),
    **COMPOSED_HANDLERS,
    **SHAPE_HANDLERS,
}
