"""ONNX operators that are several graph operators: normalisation of layers, GELU, powers that are products."""

from __future__ import annotations

import math

import numpy as np

from runtime.onnx_model.translation import OnnxNode, Translation, Unsupported


def layer_normalization(t: Translation, node: OnnxNode) -> str:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on."""
    if any(node.outputs[1:]):
        raise Unsupported("mean and deviation as outputs")
    x, out = t.value(node.inputs[0]), node.outputs[0]
    rank = len(t.shape(node.inputs[0]))
    axes = tuple(range(node.attributes.get("axis", -1) % rank, rank))
    centred = t.build.add("sub", x, t.build.add("reduce_mean", x, axes=axes, keepdims=True))
    square = t.build.add("mul", centred, centred)
    variance = t.build.add("reduce_mean", square, axes=axes, keepdims=True)
    epsilon = _number(t, f"{out}.epsilon", node.attributes.get("epsilon", 1e-5))
    deviation = t.build.add("sqrt", t.build.add("add", variance, epsilon))
    normal = t.build.add("div", centred, deviation)
    bias = node.input(2)
    scaled = t.build.add("mul", normal, t.value(node.inputs[1]), name=None if bias else out)
    return str(t.build.add("add", scaled, t.value(bias), name=out) if bias else scaled)


def gelu(t: Translation, node: OnnxNode) -> str:
    """x / 2 * (1 + erf(x / sqrt 2)), or with the tanh that approximates erf."""
    x, out = t.value(node.inputs[0]), node.outputs[0]
    if node.attributes.get("approximate", "none") == "tanh":
        cube = t.build.add("mul", t.build.add("mul", x, x), x)
        small = t.build.add("mul", cube, _number(t, f"{out}.cubic", 0.044715))
        slope = _number(t, f"{out}.slope", math.sqrt(2 / math.pi))
        step = t.build.add("tanh", t.build.add("mul", t.build.add("add", x, small), slope))
    else:
        step = t.build.add("erf", t.build.add("mul", x, _number(t, f"{out}.slope", math.sqrt(0.5))))
    more = t.build.add("add", step, _number(t, f"{out}.one", 1.0))
    half = t.build.add("mul", x, _number(t, f"{out}.half", 0.5))
    return str(t.build.add("mul", half, more, name=out))


def power(t: Translation, node: OnnxNode) -> str:
    """The square or the cube."""
    exponent = t.constant(node.inputs[1])
    x, out = t.value(node.inputs[0]), node.outputs[0]
    if exponent is not None and exponent.size == 1 and len(t.shape(node.inputs[0])) >= exponent.ndim:
        if float(exponent.reshape(())) == 2.0:
            return str(t.build.add("mul", x, x, name=out))
        if float(exponent.reshape(())) == 3.0:
            return str(t.build.add("mul", t.build.add("mul", x, x), x, name=out))
    raise Unsupported("exponents other than the constants 2 and 3")


def _number(t: Translation, name: str, value: float) -> str:
    return t.derived(name, np.full((1,), value, np.float32))


COMPOSED_HANDLERS = {"LayerNormalization": layer_normalization, "Gelu": gelu, "Pow": power}
