"""Winograd's convolution as graph operators: a transform, a stack of matrix products, a transform back.

With outputs in tiles of m x m and windows of 3 x 3, a tile of (m + 2) x (m + 2) inputs d becomes V = Bᵀ d B, products
with transformed weights are summed over channels (`matmul` on stacks of matrices), and Aᵀ M A is the tile of outputs.
So 9 m² products of a tile become (m + 2)². The results differ from those of a direct sum in the last bits, the more the
larger the tile is: `winograd_error` tells how much. Images have their channels last. In volumes, for windows of
3 x 3 x 3, each slice that a window sees is transformed as an image, and products are summed over slices too.

Matrices: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.graph_operators.base import REQUIRED, Arrays, Operator, Types, expect, expect_tuple
from runtime.node import Params, TensorType

KERNEL = 3
Matrix = tuple[tuple[float, ...], ...]

# For each tile size m: Bᵀ, Aᵀ and G.
MATRICES: dict[int, tuple[Matrix, Matrix, Matrix]] = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    ),
    4: (
        ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
         (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
        ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
         (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
    ),
}  # fmt: skip


def transform_weights(weights: np.ndarray, tile: int = 4) -> np.ndarray:
    """G g Gᵀ of each kernel: (3, 3, ci, co) → (tile + 2, tile + 2, ci, co), in the weights' dtype.

    Those of volumes: (3, 3, 3, ci, co) → (tile + 2, tile + 2, 3 ci, co).
    """
    if weights.ndim == 5:
        return np.concatenate([transform_weights(piece, tile) for piece in weights], axis=2)
    g = np.array(MATRICES[tile][2])
    return np.einsum("ei,nj,ijcd->encd", g, g, weights.astype(np.float64), optimize=True).astype(weights.dtype)


def tiles(extents: Sequence[int], tile: int) -> tuple[int, ...]:
    """How many tiles cover some outputs.

    >>> tiles((28, 30), 4)
    (7, 8)
    """
    return tuple(-(-extent // tile) for extent in extents)


def _expect_tile(tile: object) -> None:
    expect(tile in MATRICES, f"tile: expected one of {sorted(MATRICES)}, got {tile!r}")


def window_positions(shape: Sequence[int], padding: Sequence[int]) -> tuple[int, ...]:
    """How many positions a window has along each axis of an image (N, H, W, C) or a volume (N, D, H, W, C).

    >>> window_positions((1, 7, 9, 3), (1, 1, 1, 1))
    (7, 9)
    """
    extents = shape[1:-1]
    padded = zip(extents, padding[: len(extents)], padding[len(extents) :], strict=True)
    return tuple(before + extent + after - KERNEL + 1 for extent, before, after in padded)


def _infer_input(types: Types, params: Params) -> tuple[TensorType, ...]:
    _expect_tile(params["tile"])
    shape, size = types[0].shape, params["tile"] + KERNEL - 1
    expect(len(shape) in (4, 5), f"x: expected (N, H, W, C) or (N, D, H, W, C), got shape {shape}")
    expect_tuple("padding", params["padding"], 2 * (len(shape) - 2), 0)
    *slices, rows, columns = window_positions(shape, params["padding"])
    expect(min(rows, columns, *slices, 1) >= 1, f"the window does not fit the padded image {shape}")
    count = math.prod((shape[0], *slices, *tiles((rows, columns), params["tile"])))
    return (TensorType((size, size, count, shape[-1] * KERNEL ** len(slices)), types[0].dtype),)


def _evaluate_input(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x, padding = arrays[0], params["padding"]
    if x.ndim == 4:
        return (_transformed_image(x, params["tile"], padding),)
    x = np.pad(x, ((0, 0), (padding[0], padding[3]), (0, 0), (0, 0), (0, 0)))
    positions = x.shape[1] - KERNEL + 1
    seen = (x[:, k : k + positions].reshape(-1, *x.shape[2:]) for k in range(KERNEL))
    images = [_transformed_image(image, params["tile"], (*padding[1:3], *padding[4:])) for image in seen]
    return (np.concatenate(images, axis=3),)


def _transformed_image(x: np.ndarray, tile: int, padding: Sequence[int]) -> np.ndarray:
    size = tile + KERNEL - 1
    down, across = tiles(window_positions(x.shape, padding), tile)
    more = [n * tile + KERNEL - 1 - x.shape[1 + d] - padding[d] for d, n in enumerate((down, across))]
    padded = np.pad(x, ((0, 0), (padding[0], max(0, more[0])), (padding[1], max(0, more[1])), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    seen = seen[:, : down * tile : tile, : across * tile : tile]
    b = np.array(MATRICES[tile][0])
    v = np.einsum("ea,vb,nijcab->evnijc", b, b, seen, optimize=True)
    return np.ascontiguousarray(v.reshape(size, size, -1, x.shape[3]), x.dtype)


def _infer_output(types: Types, params: Params) -> tuple[TensorType, ...]:
    _expect_tile(params["tile"])
    shape, size = params["shape"], params["tile"] + KERNEL - 1
    expect_tuple("shape", shape, len(shape) if len(shape) in (3, 4) else 3, 1)
    wanted = (size, size, math.prod((*shape[:-2], *tiles(shape[-2:], params["tile"]))))
    fits = types[0].rank == 4 and types[0].shape[:3] == wanted
    expect(fits, f"shape {shape} needs {wanted}, got {types[0].shape[:3]}")
    return (TensorType((*shape, types[0].shape[3]), types[0].dtype),)


def _evaluate_output(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    tile, (*outer, rows, columns) = params["tile"], params["shape"]
    down, across = tiles((rows, columns), tile)
    m = arrays[0].reshape(*arrays[0].shape[:2], math.prod(outer), down, across, -1)
    a = np.array(MATRICES[tile][1])
    y = np.einsum("ie,jv,evnhwc->nhiwjc", a, a, m, optimize=True)
    y = y.reshape(-1, down * tile, across * tile, y.shape[-1])[:, :rows, :columns]
    return (np.ascontiguousarray(y.reshape(*params["shape"], -1), arrays[0].dtype),)


def _flops(inputs: Types, outputs: Types, params: Params) -> int:
    """Two products with small matrices, one after the other."""
    return 4 * (params["tile"] + KERNEL - 1) * outputs[0].size


def winograd_error(tile: int, channels: int = 256, seed: int = 0) -> float:
    """Largest difference from a sum in float64, relative to the largest output, of random images and weights.

    >>> winograd_error(2) < 3e-6, winograd_error(4) < 3e-5
    (True, True)
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 12, 12, channels)).astype(np.float32)
    w = rng.standard_normal((KERNEL, KERNEL, channels, 8)).astype(np.float32)
    seen = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (KERNEL, KERNEL), axis=(1, 2))
    wanted = np.einsum("nhwcij,ijcd->nhwd", seen, w.astype(np.float64), optimize=True)
    (v,) = _evaluate_input([x], Params(tile=tile, padding=(0, 0, 0, 0)))
    (y,) = _evaluate_output([v @ transform_weights(w, tile)], Params(tile=tile, shape=wanted.shape[:3]))
    return float(np.abs(y - wanted).max() / np.abs(wanted).max())


WINOGRAD = (
    Operator(
        "winograd_input",
        "Winograd's transform of x (N, H, W, C) for windows of 3 x 3: (tile + 2, tile + 2, tiles, C);"
        " of x (N, D, H, W, C) for windows of 3 x 3 x 3: (tile + 2, tile + 2, tiles, 3 C).",
        (1, 1),
        {"tile": REQUIRED, "padding": (0, 0, 0, 0)},
        _infer_input,
        _evaluate_input,
        _flops,
    ),
    Operator(
        "winograd_output",
        "Winograd's transform of (tile + 2, tile + 2, tiles, C) back to an image of `shape` (N, H, W), or a volume"
        " of (N, D, H, W), channels last.",
        (1, 1),
        {"tile": REQUIRED, "shape": REQUIRED},
        _infer_output,
        _evaluate_output,
        _flops,
    ),
)
