"""Operators on batches of integer tensors, for fingerprints.

Paper: TASO §2.2. Values live in the integers modulo 2**23 (a scalar's modulo 2**32), held in int32: sums and products
wrap by themselves, and a convolution's products are exact in float64, so that a fast matrix product can compute them.

What is no sum of products is replaced. `published` does what the published generator does: relu is x(x + 1) + 1, an
average pool is a sum and its constant is all ones, a max pool starts from zero. Each makes false things equal:
pool constants and all-ones, relu and four operators that compute it, max pools of nothing. `sound` takes a random
function with relu(0) = 0, a random odd factor for the pool and its constant, and pads a max pool with the least number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from taso_mini.enumeration.space import Template
from taso_mini.enumeration.tensor_types import TensorType

Array = np.ndarray
BITS = 23
_SPARE = 32 - BITS
_LEAST = -(1 << (BITS - 1))


def reduced(x: Array, rank: int) -> Array:
    """Return the representative of each number modulo 2**BITS, symmetric around zero; scalars keep all 32 bits."""
    return x if rank == 0 else (x << _SPARE) >> _SPARE


def _polynomial(x: Array) -> Array:
    return x * (x + 1) + 1


def random_function(x: Array) -> Array:
    """Return a fixed one-to-one scrambling of 32-bit integers that maps 0 to 0.

    >>> [int(y) for y in random_function(np.array([0, 1], dtype=np.int32))]
    [0, -315337211]
    """
    bits = np.ascontiguousarray(x).view(np.uint32)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    bits = (bits ^ (bits >> np.uint32(12))) * np.uint32(0x297A2D39)
    return (bits ^ (bits >> np.uint32(15))).view(np.int32)


@dataclass(frozen=True)
class Surrogates:
    """What stands for relu, for the factor of an average pool and for the numbers around a max pool's image."""

    relu: Callable[[Array], Array]
    pool_factor: int
    max_padding: int


SURROGATES: Mapping[str, Surrogates] = {
    "published": Surrogates(_polynomial, 1, 0),
    "sound": Surrogates(random_function, 0x5A6B3, _LEAST),
}


def _padded(x: Array, rows: int, columns: int, fill: int, dtype: type) -> Array:
    wide = np.full((*x.shape[:3], x.shape[3] + 2 * rows, x.shape[4] + 2 * columns), fill, dtype=dtype)
    wide[:, :, :, rows : rows + x.shape[3], columns : columns + x.shape[4]] = x
    return wide


def _conv(x: Array, w: Array) -> Array:
    """Convolve images (B, N, C, H, W) with kernels (B, O, C / groups, KH, KW); either B may be 1."""
    batch, n, channels, height, width = x.shape
    outputs, depth, rows, columns = w.shape[1:]
    groups = channels // depth
    wide = _padded(reduced(x, 4), rows // 2, columns // 2, 0, np.float64)
    patches = sliding_window_view(wide, (rows, columns), axis=(3, 4))
    patches = patches.reshape(batch, n, groups, depth, height, width, rows, columns)
    patches = patches.transpose(0, 2, 1, 4, 5, 3, 6, 7)
    kernels = reduced(w, 4).astype(np.float64).reshape(len(w), groups, outputs // groups, depth * rows * columns)
    kernels = kernels.transpose(0, 1, 3, 2)
    if len(w) == 1 and groups == 1:  # one large matrix product instead of many small ones
        result = patches.reshape(-1, depth * rows * columns) @ kernels[0, 0]
    else:
        result = patches.reshape(batch, groups, n * height * width, depth * rows * columns) @ kernels
    result = result.reshape(-1, groups, n, height, width, outputs // groups).transpose(0, 2, 1, 5, 3, 4)
    whole: Array = result.astype(np.int64).astype(np.int32).reshape(-1, n, outputs, height, width)
    return whole


def _window_sums(x: Array) -> Array:
    wide = _padded(x, 1, 1, 0, np.int32)
    across = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]
    return across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]


def _window_maxima(x: Array, padding: int) -> Array:
    wide = _padded(reduced(x, 4), 1, 1, padding, np.int32)
    if padding == 0:
        wide = np.maximum(wide, 0)
    across = np.maximum(np.maximum(wide[..., :-2], wide[..., 1:-1]), wide[..., 2:])
    return np.maximum(np.maximum(across[..., :-2, :], across[..., 1:-1, :]), across[..., 2:, :])


def _enlarge(x: Array, kernel: tuple[int, int]) -> Array:
    rows, columns = ((new - old) // 2 for new, old in zip(kernel, x.shape[3:], strict=True))
    return _padded(x, rows, columns, 0, np.int32)


def _concat(x: Array, y: Array, axis: int) -> Array:
    batch = max(len(x), len(y))
    parts = [part if len(part) == batch else np.broadcast_to(part, (batch, *part.shape[1:])) for part in (x, y)]
    return np.concatenate(parts, axis=axis + 1)


def _matmul(x: Array, y: Array) -> Array:
    result: Array = (reduced(x, 2).astype(np.float64) @ reduced(y, 2).astype(np.float64)).astype(np.int64)
    return result.astype(np.int32)


def constant_value(template: Template, surrogates: Surrogates) -> Array:
    """Return a constant's value without a batch axis."""
    dims: Any = template.param("dims")
    if template.operator == "Cpool":
        return np.full(dims, surrogates.pool_factor, dtype=np.int32)
    if template.operator == "Iewmul":
        return np.ones(dims, dtype=np.int32)
    if template.operator == "Imatmul":
        return np.eye(dims[0], dtype=np.int32)
    value = np.zeros(dims, dtype=np.int32)
    value[np.arange(dims[0]), np.arange(dims[0]) % dims[1], dims[2] // 2, dims[3] // 2] = 1
    return value


def apply(template: Template, surrogates: Surrogates, given: tuple[TensorType, ...], *arrays: Array) -> list[Array]:
    """Compute an operator's results for a batch.

    Args:
        template: the operator.
        surrogates: what stands for relu and pools.
        given: the types of the arguments.
        arrays: int32 arguments of shape (batch, *dims); a batch of 1 is broadcast.
    """
    operator = template.operator
    axis: Any = template.param("axis")
    x = arrays[0] if arrays else constant_value(template, surrogates)[None]
    y = arrays[1] if len(arrays) > 1 else x
    if operator in ("add", "mul"):
        return [x + y if operator == "add" else x * y]
    if operator == "smul":
        return [x * y.reshape((len(y),) + (1,) * (x.ndim - 1))]
    if operator == "relu":
        return [surrogates.relu(reduced(x, x.ndim - 1))]
    if operator == "conv":
        result = _conv(x, y)
        return [surrogates.relu(reduced(result, 4)) if template.param("activation") == "relu" else result]
    if operator == "concat":
        return [_concat(x, y, axis)]
    if operator == "split":
        tree: Any = given[0].shape.trees[axis]
        return list(np.split(x, [tree[0]], axis=axis + 1))
    if operator in _SIMPLE:
        return [_SIMPLE[operator](template, surrogates, x, y)]
    return [x]


_SIMPLE: dict[str, Callable[[Template, Surrogates, Array, Array], Array]] = {
    "matmul": lambda template, surrogates, x, y: _matmul(x, y),
    "avg_pool": lambda template, surrogates, x, y: _window_sums(x) * np.int32(surrogates.pool_factor),
    "max_pool": lambda template, surrogates, x, y: _window_maxima(x, surrogates.max_padding),
    "enlarge": lambda template, surrogates, x, y: _enlarge(x, _kernel(template)),
    "transpose": lambda template, surrogates, x, y: x.transpose(0, 2, 1),
}


def _kernel(template: Template) -> tuple[int, int]:
    kernel: Any = template.param("kernel")
    return kernel[0], kernel[1]
