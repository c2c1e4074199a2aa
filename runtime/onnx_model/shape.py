"""How the ONNX operators that only move elements become graph operators; see `runtime.onnx_model.operators`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.graph_operators.base import product
from runtime.onnx_model.translation import OnnxNode, Translation, Unsupported


def _integers(t: Translation, node: OnnxNode, name: str, index: int) -> tuple[int, ...] | None:
    """Integers given as an attribute in older opsets and as an input in newer ones; None when left out."""
    if node.input(index):
        return t.integers(node.input(index), name)
    values = node.attributes.get(name)
    return None if values is None else tuple(values)


def _concat(t: Translation, node: OnnxNode) -> str:
    return str(t.build.add("concat", *map(t.value, node.inputs), name=node.outputs[0], axis=node.attributes["axis"]))


def _split(t: Translation, node: OnnxNode) -> tuple[str, ...]:
    """Sizes are given, or the axis is cut into equal parts, the last one smaller if need be."""
    axis = node.attributes.get("axis", 0)
    extent, parts = t.shape(node.inputs[0])[axis], len(node.outputs)
    sizes = _integers(t, node, "split", 1)
    if sizes is None:
        size = -(-extent // parts)
        sizes = (size,) * (parts - 1) + (extent - size * (parts - 1),)
    return tuple(t.build.add("split", t.value(node.inputs[0]), name=node.outputs, axis=axis, sizes=sizes))


def _transpose(t: Translation, node: OnnxNode) -> str:
    rank = len(t.shape(node.inputs[0]))
    perm = tuple(node.attributes.get("perm", range(rank - 1, -1, -1)))
    return str(t.build.add("transpose", t.value(node.inputs[0]), name=node.outputs[0], perm=perm))


def _reshaped(t: Translation, node: OnnxNode, shape: tuple[int, ...]) -> str:
    return str(t.build.add("reshape", t.value(node.inputs[0]), name=node.outputs[0], shape=shape))


def _reshape(t: Translation, node: OnnxNode) -> str:
    """In the wanted shape 0 copies the input's extent and -1 takes what is left."""
    wanted, shape = _integers(t, node, "shape", 1), t.shape(node.inputs[0])
    if wanted is None:
        raise Unsupported("the shape is missing")
    if not node.attributes.get("allowzero", 0):
        wanted = tuple(shape[d] if n == 0 else n for d, n in enumerate(wanted))
    rest = product([n for n in wanted if n != -1])
    return _reshaped(t, node, tuple(product(shape) // rest if n == -1 else n for n in wanted))


def _flatten(t: Translation, node: OnnxNode) -> str:
    shape, axis = t.shape(node.inputs[0]), node.attributes.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return _reshaped(t, node, (product(shape[:axis]), product(shape[axis:])))


def _squeeze(t: Translation, node: OnnxNode) -> str:
    shape, axes = t.shape(node.inputs[0]), _integers(t, node, "axes", 1)
    dropped = {d for d, n in enumerate(shape) if n == 1} if axes is None else {axis % len(shape) for axis in axes}
    return _reshaped(t, node, tuple(n for d, n in enumerate(shape) if d not in dropped))


def _unsqueeze(t: Translation, node: OnnxNode) -> str:
    old, axes = iter(t.shape(node.inputs[0])), _integers(t, node, "axes", 1) or ()
    rank = len(t.shape(node.inputs[0])) + len(axes)
    added = {axis % rank for axis in axes}
    return _reshaped(t, node, tuple(1 if d in added else next(old) for d in range(rank)))


def _pad(t: Translation, node: OnnxNode) -> str:
    mode, rank = node.attributes.get("mode", "constant"), len(t.shape(node.inputs[0]))
    if mode != "constant":
        raise Unsupported(f"mode {mode!r}")
    pads = _integers(t, node, "pads", 1) or (0,) * 2 * rank
    value = t.constant(node.input(2)) if node.input(2) else np.asarray(node.attributes.get("value", 0.0))
    if value is None:
        raise Unsupported("the value is computed from the inputs")
    if node.input(3):
        axes = [axis % rank for axis in t.integers(node.input(3), "axes")]
        full = [0] * 2 * rank
        for side in (0, 1):
            for i, axis in enumerate(axes):
                full[side * rank + axis] = pads[side * len(axes) + i]
        pads = tuple(full)
    if any(pad < 0 for pad in pads):
        raise Unsupported(f"negative pads {pads}")
    return str(t.build.add("pad", t.value(node.inputs[0]), name=node.outputs[0], pads=pads, value=float(value)))


def _slice(t: Translation, node: OnnxNode) -> str:
    """Starts and ends may count from the end and lie outside; steps must be positive."""
    shape = t.shape(node.inputs[0])
    starts, ends = _integers(t, node, "starts", 1) or (), _integers(t, node, "ends", 2) or ()
    axes = _integers(t, node, "axes", 3) or tuple(range(len(starts)))
    steps = _integers(t, node, "steps", 4) or (1,) * len(starts)
    bounds = [(0, n, 1) for n in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        if step < 1:
            raise Unsupported(f"step {step}")
        low, high, _ = slice(start, end, step).indices(shape[axis])
        bounds[axis] = (low, high, step)
    parts = {name: tuple(bound[i] for bound in bounds) for i, name in enumerate(("starts", "stops", "steps"))}
    return str(t.build.add("slice", t.value(node.inputs[0]), name=node.outputs[0], **parts))


def _shape(t: Translation, node: OnnxNode) -> np.ndarray:
    """Shapes are fixed, so this is a constant."""
    shape = t.shape(node.inputs[0])
    cut = slice(node.attributes.get("start", 0), node.attributes.get("end", len(shape)))
    return np.asarray(shape[cut], np.int64)


def _cast(t: Translation, node: OnnxNode) -> str:
    """Values are float32 already."""
    if node.attributes["to"] != 1:
        raise Unsupported("only casts to float run")
    return t.value(node.inputs[0])


SHAPE_HANDLERS: dict[str, Callable[[Translation, OnnxNode], Any]] = {
    "Concat": _concat,
    "Split": _split,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Slice": _slice,
    "Shape": _shape,
    "Cast": _cast,
}
