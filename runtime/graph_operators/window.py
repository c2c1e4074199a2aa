"""Graph operators with a sliding window: convolution, pooling and local response normalisation.

Every window operator is evaluated tap by tap: a tap is one position inside the window, and the inputs that all
windows see there form one strided slice of the padded input, already in the shape of the output. A convolution is a
sum over taps of matrix products, a max pool a maximum over taps, an average pool a sum over taps.

Paddings list the low sides of all spatial dimensions, then the high sides: (top, left, bottom, right) for images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from runtime.graph_operators.base import Arrays, Operator, Types, expect, expect_tuple, product, same_dtype
from runtime.node import Params, TensorType

Extents = tuple[int, ...]
WINDOW = {"strides": (1, 1), "padding": (0, 0, 0, 0), "layout": "NCHW"}


def window_extents(image: Extents, kernel: Extents, params: Params, dilations: Extents | None = None) -> Extents:
    """Spatial extents of the output: one more than the steps a window can take inside the padded image.

    >>> window_extents((224, 224), (3, 3), Params(strides=(2, 2), padding=(0, 0, 0, 0)))
    (111, 111)
    """
    rank = len(image)
    dilations = dilations or (1,) * rank
    for name, value, length, least in (
        ("strides", params["strides"], rank, 1),
        ("padding", params["padding"], 2 * rank, 0),
        ("dilations", dilations, rank, 1),
    ):
        expect_tuple(name, value, length, least)
    extents = []
    for d in range(rank):
        padded = image[d] + params["padding"][d] + params["padding"][rank + d]
        room = padded - dilations[d] * (kernel[d] - 1) - 1
        expect(room >= 0, f"the window {kernel} does not fit the padded image ({padded} in spatial dimension {d})")
        extents.append(room // params["strides"][d] + 1)
    return tuple(extents)


def split_layout(shape: Extents, layout: str) -> tuple[int, int, Extents]:
    """(batch, channels, spatial extents) of an activation in "NCHW" or "NHWC", with 1 to 3 spatial dimensions."""
    expect(layout in ("NCHW", "NHWC"), f'layout: expected "NCHW" or "NHWC", got {layout!r}')
    expect(3 <= len(shape) <= 5, f"x: expected batch, channels and 1 to 3 spatial dimensions, got shape {shape}")
    if layout == "NCHW":
        return shape[0], shape[1], shape[2:]
    return shape[0], shape[-1], shape[1:-1]


def join_layout(batch: int, channels: int, spatial: Extents, layout: str) -> Extents:
    """The inverse of `split_layout`."""
    return (batch, channels, *spatial) if layout == "NCHW" else (batch, *spatial, channels)


def split_kernel(shape: Extents, layout: str) -> tuple[int, int, Extents]:
    """(output channels, input channels per group, window) of conv weights: OIHW with "NCHW", HWIO with "NHWC"."""
    if layout == "NCHW":
        return shape[0], shape[1], shape[2:]
    return shape[-1], shape[-2], shape[:-2]


def channels_first(x: np.ndarray, layout: str) -> np.ndarray:
    """View an activation as NCHW."""
    return np.moveaxis(x, -1, 1) if layout == "NHWC" else x


def from_channels_first(x: np.ndarray, layout: str) -> np.ndarray:
    """View an NCHW activation in `layout`, contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1) if layout == "NHWC" else x)


def taps(
    x: np.ndarray, kernel: Extents, out: Extents, params: Params, fill: float = 0.0, dilations: Extents | None = None
) -> Iterator[tuple[Extents, np.ndarray]]:
    """Yield each position in the window and what all windows see there, shape (N, C, *out)."""
    rank = len(kernel)
    pads = params["padding"]
    if any(pads):
        x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)
    for tap in itertools.product(*map(range, kernel)):
        starts = [at * step for at, step in zip(tap, dilations or (1,) * rank, strict=True)]
        steps = [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, out, params["strides"], strict=True)
        ]
        seen = (slice(None), slice(None), *steps)
        yield tap, x[seen]


def _infer_conv(types: Types, params: Params) -> tuple[TensorType, ...]:
    dtype, layout, groups = same_dtype(types), params["layout"], params["groups"]
    batch, channels, image = split_layout(types[0].shape, layout)
    expect(types[1].rank == types[0].rank, f"w: expected rank {types[0].rank} like x, got shape {types[1].shape}")
    out_channels, in_channels, kernel = split_kernel(types[1].shape, layout)
    expect(groups >= 1, f"groups: expected at least 1, got {groups}")
    expect(
        in_channels * groups == channels,
        f"x has {channels} channels but w {types[1].shape} reads {in_channels} in each of {groups} groups",
    )
    expect(out_channels % groups == 0, f"{out_channels} output channels do not divide into {groups} groups")
    activation = params["activation"]
    expect(activation in ("none", "relu"), f'activation: expected "none" or "relu", got {activation!r}')
    if len(types) == 3:
        expect(types[2].shape == (out_channels,), f"bias: expected shape ({out_channels},), got {types[2].shape}")
    out = window_extents(image, kernel, params, params["dilations"])
    return (TensorType(join_layout(batch, out_channels, out, layout), dtype),)


def _evaluate_conv(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    layout, groups = params["layout"], params["groups"]
    x, w = channels_first(arrays[0], layout), arrays[1]
    if layout == "NHWC":
        w = np.moveaxis(w, (-1, -2), (0, 1))
    batch, out_channels, kernel = x.shape[0], w.shape[0], w.shape[2:]
    out = window_extents(x.shape[2:], kernel, params, params["dilations"])
    y = np.zeros((batch, groups, out_channels // groups, product(out)), x.dtype)
    by_tap = np.moveaxis(w, (0, 1), (-2, -1)).reshape(*kernel, groups, out_channels // groups, w.shape[1])
    for tap, seen in taps(x, kernel, out, params, dilations=params["dilations"]):
        y += by_tap[tap] @ seen.reshape(batch, groups, w.shape[1], -1)
    y = y.reshape(batch, out_channels, *out)
    if len(arrays) == 3:
        y += arrays[2].reshape(-1, *(1,) * len(out))
    if params["activation"] == "relu":
        np.maximum(y, np.zeros((), x.dtype), out=y)
    return (from_channels_first(y, layout),)


def _conv_flops(inputs: Types, outputs: Types, params: Params) -> int:
    out_channels, _, _ = split_kernel(inputs[1].shape, params["layout"])
    per_element = 2 * inputs[1].size // out_channels
    return outputs[0].size * (per_element + (len(inputs) == 3) + (params["activation"] == "relu"))


def _infer_pool(types: Types, params: Params) -> tuple[TensorType, ...]:
    batch, channels, image = split_layout(types[0].shape, params["layout"])
    rank, kernel = len(image), params["kernel"]
    expect_tuple("kernel", kernel, rank, 1)
    out = window_extents(image, kernel, params)
    for d, pad in enumerate(params["padding"]):
        expect(pad < kernel[d % rank], f"padding {pad} would make a window {kernel} of nothing but padding")
    return (TensorType(join_layout(batch, channels, out, params["layout"]), types[0].dtype),)


def _evaluate_max_pool(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x = channels_first(arrays[0], params["layout"])
    out = window_extents(x.shape[2:], params["kernel"], params)
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    for _, seen in taps(x, params["kernel"], out, params, fill=-np.inf):
        np.maximum(y, seen, out=y)
    return (from_channels_first(y, params["layout"]),)


def _evaluate_avg_pool(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x = channels_first(arrays[0], params["layout"])
    kernel = params["kernel"]
    out = window_extents(x.shape[2:], kernel, params)
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for _, seen in taps(x, kernel, out, params):
        y += seen
    if params["count_include_pad"]:
        y /= np.asarray(product(kernel), x.dtype)
    else:
        ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
        y /= sum(seen for _, seen in taps(ones, kernel, out, params))
    return (from_channels_first(y, params["layout"]),)


def _pool_flops(inputs: Types, outputs: Types, params: Params) -> int:
    return outputs[0].size * product(params["kernel"])


def _infer_lrn(types: Types, params: Params) -> tuple[TensorType, ...]:
    split_layout(types[0].shape, params["layout"])
    expect(params["size"] >= 1, f"size: expected at least 1, got {params['size']}")
    return (types[0],)


def _evaluate_lrn(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x, size = channels_first(arrays[0], params["layout"]), params["size"]
    squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
    near = sum(squares[:, shift : shift + x.shape[1]] for shift in range(size))
    scale = np.asarray(params["bias"] + params["alpha"] / size * near, x.dtype) ** np.asarray(params["beta"], x.dtype)
    return (from_channels_first(x / scale, params["layout"]),)


def _pool(name: str, doc: str, evaluate: Callable[[Arrays, Params], tuple[np.ndarray, ...]], **more: bool) -> Operator:
    params = {"kernel": (2, 2), **WINDOW, **more}
    return Operator(name, doc, (1, 1), params, _infer_pool, evaluate, _pool_flops)


WINDOWED = (
    Operator(
        "conv",
        "Convolution of x (N, C, H, W) with w (O, C / groups, KH, KW), plus bias (O,), then the activation; "
        'layout "NHWC" takes x (N, H, W, C) and w (KH, KW, C / groups, O).',
        (2, 3),
        {**WINDOW, "dilations": (1, 1), "groups": 1, "activation": "none"},
        _infer_conv,
        _evaluate_conv,
        _conv_flops,
    ),
    _pool("max_pool", "Largest element of each window; padding never wins.", _evaluate_max_pool),
    _pool(
        "avg_pool",
        "Mean of each window; padding counts as zeros only with count_include_pad.",
        _evaluate_avg_pool,
        count_include_pad=False,
    ),
    Operator(
        "lrn",
        "x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ** beta.",
        (1, 1),
        {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0, "layout": "NCHW"},
        _infer_lrn,
        _evaluate_lrn,
        lambda inputs, outputs, params: outputs[0].size * (2 * params["size"] + 4),
    ),
)
