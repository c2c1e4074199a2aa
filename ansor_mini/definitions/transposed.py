"""The tensor expression of the transposed convolution.

As in the paper's benchmark a tap counts where the stride divides its position; unrolling drops the others, and the rule
of `cpu_rules.parity` does not visit them at all.

Paper: Ansor §7.1
"""

from __future__ import annotations

from collections.abc import Sequence

from ansor_mini.definitions.base import Definition, pad_constant
from ansor_mini.definitions.window import axis_names, spatial_axes
from ansor_mini.tensor_expression import Tensor, compute, reduce_axis, reduce_sum
from runtime.expr import Expr, equal, select
from runtime.graph import Node, TensorType


def _conv_transpose(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """A convolution with the flipped window over the input spread out by the strides; then the bias."""
    x, weight = tensors[0], tensors[1]
    rank, channels_last = len(x.shape), node["layout"] == "NHWC"
    spatial, channel = spatial_axes(node, rank), rank - 1 if channels_last else 1
    kernel = weight.shape[:-2] if channels_last else weight.shape[2:]
    taps = [reduce_axis(extent, f"k{axis}") for axis, extent in enumerate(kernel)]
    ci = reduce_axis(x.shape[channel], "ci")
    names, strides = axis_names(node, rank), node["strides"]
    before, after, offsets = [0] * rank, [0] * rank, []
    for axis, size, stride, pad in zip(spatial, kernel, strides, node["padding"]):
        border = size - 1 - pad
        before[axis], offset = -(-border // stride), -border % stride
        last = (result.shape[axis] - 1 + size - 1 + offset) // stride
        after[axis] = max(0, last - before[axis] - x.shape[axis] + 1)
        offsets.append(offset)
    padded = pad_constant(x, before, after, 0.0, f"{node.outputs[0]}_pad", names) if any(before + after) else x

    def term(*out: Expr) -> Expr:
        at, hit = list(out), None
        for axis, tap, stride, offset in zip(spatial, taps, strides, offsets, strict=True):
            place = out[axis] + tap + offset
            at[axis] = place // stride if stride > 1 else place
            if stride > 1:
                whole = equal(place % stride, 0)
                hit = whole if hit is None else hit & whole
        at[channel] = ci
        value = padded[tuple(at)] if hit is None else select(hit, padded[tuple(at)], 0.0)
        flipped = tuple(size - 1 - tap for size, tap in zip(kernel, taps, strict=True))
        return value * weight[(*flipped, ci, out[channel]) if channels_last else (ci, out[channel], *flipped)]

    axes = (*taps, ci) if channels_last else (ci, *taps)
    name, biased = node.outputs[0], len(tensors) > 2
    label = f"{name}_conv" if biased else name
    total = compute(result.shape, lambda *at: reduce_sum(term(*at), axes), label, axes=names)
    if not biased:
        return total
    return compute(result.shape, lambda *at: total[at] + tensors[2][at[channel]], name, axes=names)


TRANSPOSED: dict[str, Definition] = {"conv_transpose": _conv_transpose}
