"""Tensor expressions of operators with a sliding window: convolution, pooling, local response normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ansor_mini.definitions.base import Definition, pad_constant
from ansor_mini.tensor_expression import Axis, Tensor, compute, reduce_axis, reduce_max, reduce_sum
from runtime.expr import Const, Expr, call, cast, maximum, minimum
from runtime.graph import Node, TensorType


def axis_names(node: Node, rank: int) -> tuple[str, ...]:
    """Names of an activation's dimensions in its layout, such as n, h, w, c."""
    image = ("w",) if rank == 3 else ("h", "w") if rank == 4 else ("d", "h", "w")
    return ("n", *image, "c") if node["layout"] == "NHWC" else ("n", "c", *image)


def spatial_axes(node: Node, rank: int) -> range:
    """The image dimensions: behind the batch, before the channels ("NHWC") or after them ("NCHW")."""
    return range(1, rank - 1) if node["layout"] == "NHWC" else range(2, rank)


def _pad_spatial(x: Tensor, node: Node, value: float) -> Tensor:
    pads = node["padding"]
    if not any(pads):
        return x
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    axes = spatial_axes(node, len(x.shape))
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        before[axis], after[axis] = low, high
    return pad_constant(x, before, after, value, f"{node.outputs[0]}_pad", axis_names(node, len(x.shape)))


def _conv_channel(out_channel: Expr, in_channel: Expr, groups: int, group_in: int, group_out: int) -> Expr:
    """The input channel that tap `in_channel` of the group of `out_channel` reads."""
    if groups == 1:
        return in_channel
    if group_out == 1:
        first = out_channel * group_in if group_in > 1 else out_channel
    else:
        first = out_channel // group_out * group_in
    return first + in_channel if group_in > 1 else first


def _conv(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """Convolution over a zero-padded input, then bias and activation as stages that fusion keeps in registers."""
    x, weight = tensors[0], tensors[1]
    spatial = spatial_axes(node, len(x.shape))
    channels_last = node["layout"] == "NHWC"
    channel = len(x.shape) - 1 if channels_last else 1
    kernel = weight.shape[:-2] if channels_last else weight.shape[2:]
    group_in, channels_out = (weight.shape[-2:]) if channels_last else (weight.shape[1], weight.shape[0])
    groups = node["groups"]
    padded = _pad_spatial(x, node, 0.0)
    taps = [reduce_axis(extent, f"k{axis}") for axis, extent in enumerate(kernel)]
    ci = reduce_axis(group_in, "ci")

    def term(*out: Expr) -> Expr:
        at = list(out)
        for axis, tap, stride, dilation in zip(spatial, taps, node["strides"], node["dilations"], strict=True):
            at[axis] = out[axis] * stride + tap * dilation
        at[channel] = _conv_channel(out[channel], ci, groups, group_in, channels_out // groups)
        own = (*taps, ci, out[channel]) if channels_last else (out[channel], ci, *taps)
        return padded[tuple(at)] * weight[own]

    # The reduction walks channels-last inputs channel by channel and channels-first inputs column by column.
    axes = (*taps, ci) if channels_last else (ci, *taps)
    stages: list[Callable[[Expr, Expr], Expr]] = []
    if len(tensors) > 2:
        stages.append(lambda value, c: value + tensors[2][c])
    if node["activation"] == "relu":
        stages.append(lambda value, c: maximum(value, 0.0))
    name, names = node.outputs[0], axis_names(node, len(x.shape))
    out = compute(result.shape, lambda *at: reduce_sum(term(*at), axes), f"{name}_conv" if stages else name, axes=names)
    for i, stage in enumerate(stages, 1):
        previous, label = out, name if i == len(stages) else f"{name}_bias"
        out = compute(result.shape, _epilogue(stage, previous, channel), label, axes=names)
    return out


def _epilogue(stage: Callable[[Expr, Expr], Expr], previous: Tensor, channel: int) -> Callable[..., Expr]:
    return lambda *at: stage(previous[at], at[channel])


def _window(node: Node, rank: int) -> tuple[Callable[..., tuple[Expr, ...]], tuple[Axis, ...]]:
    """The index function and the reduce axes of a pooling window."""
    axes = tuple(reduce_axis(extent, f"k{i}") for i, extent in enumerate(node["kernel"]))

    def at(*out: Expr) -> tuple[Expr, ...]:
        index = list(out)
        for axis, tap, stride in zip(spatial_axes(node, rank), axes, node["strides"], strict=True):
            index[axis] = out[axis] * stride + tap
        return tuple(index)

    return at, axes


def _max_pool(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    padded = _pad_spatial(tensors[0], node, -math.inf)
    at, axes = _window(node, len(result.shape))
    names = axis_names(node, len(result.shape))
    return compute(result.shape, lambda *out: reduce_max(padded[at(*out)], axes), node.outputs[0], axes=names)


def _avg_pool(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """Sum over the window, then divide by the number of elements counted (padding too, if asked for)."""
    x, name = tensors[0], node.outputs[0]
    padded = _pad_spatial(x, node, 0.0)
    at, axes = _window(node, len(result.shape))
    names = axis_names(node, len(result.shape))
    total = compute(result.shape, lambda *out: reduce_sum(padded[at(*out)], axes), f"{name}_sum", axes=names)
    spatial = spatial_axes(node, len(result.shape))

    def divisor(*out: Expr) -> Expr:
        if node["count_include_pad"] or not any(node["padding"]):
            return Const(float(math.prod(node["kernel"])), "float32")
        count: Expr = Const(1)
        for axis, size, stride, pad in zip(spatial, node["kernel"], node["strides"], node["padding"], strict=False):
            start = out[axis] * stride - pad
            count = count * (minimum(start + size, x.shape[axis]) - maximum(start, 0))
        return cast("float32", count)

    return compute(result.shape, lambda *out: total[out] / divisor(*out), name, axes=names)


def _lrn(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """x / (bias + alpha / size · Σ x²)^beta over a window of neighbouring channels."""
    x, name = tensors[0], node.outputs[0]
    axis = len(x.shape) - 1 if node["layout"] == "NHWC" else 1
    size = int(node["size"])
    low = (size - 1) // 2
    before = tuple(low if i == axis else 0 for i in range(len(x.shape)))
    after = tuple(size - 1 - low if i == axis else 0 for i in range(len(x.shape)))
    padded = pad_constant(x, before, after, 0.0, f"{name}_pad")
    offset = reduce_axis(size, "offset")

    def neighbour(*at: Expr) -> Expr:
        index = tuple(i + offset if position == axis else i for position, i in enumerate(at))
        return padded[index] * padded[index]

    total = compute(x.shape, lambda *at: reduce_sum(neighbour(*at), (offset,)), f"{name}_sum")
    scale, bias, beta = float(node["alpha"]) / size, float(node["bias"]), float(node["beta"])
    return compute(x.shape, lambda *at: x[at] / call("pow", total[at] * scale + bias, beta), name)


WINDOW: dict[str, Definition] = {"conv": _conv, "max_pool": _max_pool, "avg_pool": _avg_pool, "lrn": _lrn}
