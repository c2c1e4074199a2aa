"""Convolutions over channel-blocked layouts: other definitions of the same computations.

Beyond the paper, which rewrites the layout of constant weights but leaves data as it is.

NCHW16c keeps sixteen channels together and everything else outside them: X[n, h, w, c] becomes
X[n, c // 16, h, w, c % 16]. A row of an image is then one dense run of memory for each block, however many channels
there are; with 1024 channels last, neighbouring pixels are 4 KiB apart and evict each other from a first-level cache.

    X[n, h, w, c]                                      X[n, cb, h, w, c]
    W[kh, kw, ci, co]                         ->       W[cob, cib, kh, kw, ci, co]
    conv[n, h, w, co] = sum over kh, kw, ci            conv[n, cob, h, w, co] = sum over cib, kh, kw, ci

Schedules cannot turn one into the other, for the arrays of the caller differ; a search may try both definitions. The
functions here convert the arrays. Channels that sixteen does not divide are kept in the largest blocks that do.

>>> from ansor_mini.workload_tensors import depthwise
>>> print(depthwise(1, 9, 9, 32, 3, 2, 0).declaration())  # doctest: +ELLIPSIS
conv[n, h, w, c] = sum(X[n, h * 2 + kh, w * 2 + kw, c] * W[kh, kw, c] for kh in range(3), kw in range(3)) for ...
>>> print(blocked_depthwise(1, 9, 9, 32, 3, 2, 0).declaration())  # doctest: +ELLIPSIS
conv[n, cb, h, w, c] = sum(X[n, cb, h * 2 + kh, w * 2 + kw, c] * W[cb, kh, kw, c] for kh in range(3), kw in ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.workload_tensors import pad_spatial
from runtime.expr import Expr

BLOCK = 16  # channels: one 64-byte cache line, and one vector of the widest machines
_AXES = ("n", "cb", "h", "w", "c")


@dataclass(frozen=True)
class Alternative:
    """Another definition of a workload, over the same numbers in another order.

    name: of the workload that it is. arrange: how the array of each input becomes that of the alternative.
    restore: how the alternative's result becomes that of the workload.
    """

    name: str
    arrange: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    restore: Callable[[np.ndarray], np.ndarray]


def block_of(channels: int) -> int:
    """The largest divisor of a number of channels that is at most `BLOCK`.

    >>> block_of(64), block_of(24), block_of(3)
    (16, 12, 3)
    """
    return max(size for size in range(1, BLOCK + 1) if channels % size == 0)


def blocked_convolution(batch: int, h: int, w: int, ci: int, co: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Convolution: X[n, ci / 16, h, w, 16], W[co / 16, ci / 16, kh, kw, 16, 16] and conv[n, co / 16, h, w, 16]."""
    source, target = block_of(ci), block_of(co)
    x = pad_spatial(placeholder((batch, ci // source, h, w, source), "X"), padding, _AXES, lead=2)
    weight = placeholder((co // target, ci // source, kernel, kernel, source, target), "W")
    extents = {"cib": ci // source, "kh": kernel, "kw": kernel, "ci": source}
    cib, kh, kw, rc = taps = [reduce_axis(extent, name) for name, extent in extents.items()]

    def body(n: Expr, cb: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        return reduce_sum(x[n, cib, i * stride + kh, j * stride + kw, rc] * weight[cb, cib, kh, kw, rc, c], taps)

    sizes = ((extent + 2 * padding - kernel) // stride + 1 for extent in (h, w))
    return compute((batch, co // target, *sizes, target), body, "conv", axes=_AXES)


def blocked_depthwise(batch: int, h: int, w: int, c: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Depthwise convolution: X[n, c / 16, h, w, 16] and W[c / 16, kh, kw, 16]."""
    block = block_of(c)
    x = pad_spatial(placeholder((batch, c // block, h, w, block), "X"), padding, _AXES, lead=2)
    weight = placeholder((c // block, kernel, kernel, block), "W")
    kh, kw = reduce_axis(kernel, "kh"), reduce_axis(kernel, "kw")

    def body(n: Expr, cb: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        return reduce_sum(x[n, cb, i * stride + kh, j * stride + kw, c] * weight[cb, kh, kw, c], (kh, kw))

    sizes = ((extent + 2 * padding - kernel) // stride + 1 for extent in (h, w))
    return compute((batch, c // block, *sizes, block), body, "conv", axes=_AXES)


def _split_last(array: np.ndarray) -> np.ndarray:
    """[..., c] as [..., c / block, block]."""
    block = block_of(array.shape[-1])
    return array.reshape(*array.shape[:-1], -1, block)


def block_data(x: np.ndarray) -> np.ndarray:
    """[n, h, w, c] to [n, c / 16, h, w, 16].

    >>> x = np.arange(2 * 2 * 32).reshape(1, 2, 2, 32)
    >>> block_data(x).shape, int(x[0, 0, 1, 19]), int(block_data(x)[0, 1, 0, 1, 3])
    ((1, 2, 2, 2, 16), 51, 51)
    """
    return np.ascontiguousarray(np.moveaxis(_split_last(x), -2, 1))


def unblock_data(x: np.ndarray) -> np.ndarray:
    """[n, c / 16, h, w, 16] to [n, h, w, c]: the way back."""
    outside = np.moveaxis(x, 1, -2)
    return np.ascontiguousarray(outside.reshape(*outside.shape[:-2], -1))


def block_weights(w: np.ndarray) -> np.ndarray:
    """[kh, kw, ci, co] to [co / 16, ci / 16, kh, kw, 16, 16]."""
    out = np.moveaxis(_split_last(w), -2, 0)  # [co / 16, kh, kw, ci, 16]
    return np.ascontiguousarray(np.moveaxis(np.moveaxis(_split_last(np.moveaxis(out, -2, -1)), -2, 1), -1, -2))


def block_depthwise_weights(w: np.ndarray) -> np.ndarray:
    """[kh, kw, c] to [c / 16, kh, kw, 16]."""
    return np.ascontiguousarray(np.moveaxis(_split_last(w), -2, 0))


C2D_NCHW16C = Alternative("C2D_NCHW16c", {"X": block_data, "W": block_weights}, unblock_data)
DEP_NCHW16C = Alternative("DEP_NCHW16c", {"X": block_data, "W": block_depthwise_weights}, unblock_data)
