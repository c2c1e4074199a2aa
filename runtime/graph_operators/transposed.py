"""The transposed convolution: every input element adds its weighted window to the output.

It is the transpose of a convolution's linear map: what a convolution of the same strides and padding would read, it
writes. With stride 2 it doubles an image, which is what generators of images are made of.
"""

from __future__ import annotations

import itertools

import numpy as np

from runtime.graph_operators.base import Arrays, Operator, Types, expect, expect_tuple, product, same_dtype
from runtime.graph_operators.window import (
    WINDOW,
    Extents,
    channels_first,
    from_channels_first,
    join_layout,
    split_layout,
)
from runtime.node import Params, TensorType


def split_kernel(shape: Extents, layout: str) -> tuple[int, int, Extents]:
    """(input channels, output channels, window) of the weights: IOHW with "NCHW", HWIO with "NHWC"."""
    if layout == "NCHW":
        return shape[0], shape[1], shape[2:]
    return shape[-2], shape[-1], shape[:-2]


def output_extents(image: Extents, kernel: Extents, params: Params) -> Extents:
    """Spatial extents of the output: all that the windows cover, less the padding, plus the output padding.

    >>> params = Params(strides=(2, 2), padding=(1, 1, 1, 1), output_padding=(0, 0))
    >>> output_extents((4, 4), (4, 4), params)
    (8, 8)
    """
    rank = len(image)
    for name, length, least in (("strides", rank, 1), ("padding", 2 * rank, 0), ("output_padding", rank, 0)):
        expect_tuple(name, params[name], length, least)
    extents = []
    for d in range(rank):
        low, high, more = params["padding"][d], params["padding"][rank + d], params["output_padding"][d]
        expect(
            low < kernel[d] and high < kernel[d], f"padding: expected less than the window {kernel}, got {low, high}"
        )
        expect(more < params["strides"][d], f"output_padding: expected less than the stride, got {more}")
        extent = (image[d] - 1) * params["strides"][d] + kernel[d] - low - high + more
        expect(extent >= 1, f"padding {params['padding']} leaves nothing of spatial dimension {d}")
        extents.append(extent)
    return tuple(extents)


def _infer(types: Types, params: Params) -> tuple[TensorType, ...]:
    dtype, layout = same_dtype(types), params["layout"]
    batch, channels, image = split_layout(types[0].shape, layout)
    expect(types[1].rank == types[0].rank, f"w: expected rank {types[0].rank} like x, got shape {types[1].shape}")
    in_channels, out_channels, kernel = split_kernel(types[1].shape, layout)
    expect(in_channels == channels, f"x has {channels} channels but w {types[1].shape} reads {in_channels}")
    if len(types) == 3:
        expect(types[2].shape == (out_channels,), f"bias: expected shape ({out_channels},), got {types[2].shape}")
    out = output_extents(image, kernel, params)
    return (TensorType(join_layout(batch, out_channels, out, layout), dtype),)


def _evaluate(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    layout, strides = params["layout"], params["strides"]
    x, w = channels_first(arrays[0], layout), arrays[1]
    if layout == "NHWC":
        w = np.moveaxis(w, (-2, -1), (0, 1))
    batch, image, kernel = x.shape[0], x.shape[2:], w.shape[2:]
    rank, out = len(image), output_extents(image, kernel, params)
    whole = tuple((n - 1) * s + k + more for n, s, k, more in zip(image, strides, kernel, params["output_padding"]))
    y = np.zeros((batch, w.shape[1], *whole), x.dtype)
    columns, by_tap = x.reshape(batch, x.shape[1], -1), np.moveaxis(w, (1, 0), (-2, -1))
    for tap in itertools.product(*map(range, kernel)):
        written = tuple(slice(t, t + (n - 1) * s + 1, s) for t, n, s in zip(tap, image, strides))
        part = by_tap[tap] @ columns
        y[(slice(None), slice(None), *written)] += part.reshape(batch, -1, *image)
    inside = tuple(slice(low, low + n) for low, n in zip(params["padding"][:rank], out))
    y = y[(slice(None), slice(None), *inside)]
    if len(arrays) == 3:
        y = y + arrays[2].reshape(-1, *(1,) * rank)
    return (from_channels_first(y, layout),)


def _flops(inputs: Types, outputs: Types, params: Params) -> int:
    """A multiply-add for each input element and weight that meet, those cut off by the padding among them."""
    _, out_channels, kernel = split_kernel(inputs[1].shape, params["layout"])
    return 2 * inputs[0].size * out_channels * product(kernel) + (outputs[0].size if len(inputs) == 3 else 0)


TRANSPOSED = (
    Operator(
        "conv_transpose",
        "Transposed convolution of x (N, C, H, W) with w (C, O, KH, KW), plus bias (O,); `padding` is cut off, "
        '`output_padding` added behind; layout "NHWC" takes x (N, H, W, C) and w (KH, KW, C, O).',
        (2, 3),
        {**WINDOW, "output_padding": (0, 0)},
        _infer,
        _evaluate,
        _flops,
    ),
)
