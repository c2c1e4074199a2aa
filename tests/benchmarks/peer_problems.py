"""The paper's operators and subgraphs as libraries know them: arrays in their layouts, and the way back.

A family's input arrays become a problem: a product, a norm, a convolution with what belongs to it, or the scores of
attention. `operator_peers` says how each library solves one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Union

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Matmul:
    """C = a @ b."""

    a: Array
    b: Array


@dataclass(frozen=True)
class Norm:
    """The Frobenius norm of x[1, rows, columns]."""

    x: Array


@dataclass(frozen=True)
class Convolution:
    """x[n, ci, *spatial] with weight[co, ci / groups, *kernel]; transposed: weight[ci, co, *kernel].

    bias, relu: what is added to each channel, and whether negative results become zero.
    back: from an answer [n, co, *spatial] to the layout of the workload.
    """

    x: Array
    weight: Array
    stride: int
    padding: int
    dilation: int = 1
    groups: int = 1
    transposed: bool = False
    bias: Array | None = None
    relu: bool = False
    back: Callable[[Array], Array] = lambda answer: np.moveaxis(answer, 1, -1)

    @property
    def dimensions(self) -> int:
        """Spatial axes."""
        return self.x.ndim - 2


@dataclass(frozen=True)
class Scores:
    """Softmax over j of Σ_d query[n, i, head, d] · key[n, j, head, d], as [n, head, i, j]."""

    query: Array
    key: Array


Problem = Union[Matmul, Norm, Convolution, Scores]


def _convolution(numbers: Sequence[int], arrays: Sequence[Array], *, dilation: int = 1, groups: int = 1) -> Convolution:
    """X[n, *spatial, ci] with W[*kernel, ci / groups, co]."""
    weight = np.moveaxis(arrays[1], (-1, -2), (0, 1))
    return Convolution(_first(arrays[0]), np.ascontiguousarray(weight), numbers[-2], numbers[-1], dilation, groups)


def _layer(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """Convolution, batch normalisation and relu; the scale is part of the weights, as it is wherever models run."""
    source, weight, scale, shift = arrays
    return replace(_convolution(numbers, (source, weight * scale)), bias=shift, relu=True)


def _depthwise(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """X[n, h, w, c] with W[kh, kw, c]."""
    weight = np.ascontiguousarray(np.moveaxis(arrays[1], -1, 0)[:, None])
    return Convolution(_first(arrays[0]), weight, numbers[-2], numbers[-1], groups=arrays[0].shape[-1])


def _transposed(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """X[n, h, w, ci] with W[kh, kw, ci, co]."""
    weight = np.ascontiguousarray(np.moveaxis(arrays[1], (2, 3), (0, 1)))
    return Convolution(_first(arrays[0]), weight, numbers[-2], numbers[-1], transposed=True)


def _capsule(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """Capsule convolution as the ordinary one it is: rows of the left matrices are images, columns are channels."""
    source, kernel = arrays  # [n, h, w, a, k, ci], [kh, kw, k, b, ci, co]
    n, h, w, _, _, ci = source.shape
    kh, kw, _, _, _, co = kernel.shape
    x = source.transpose(0, 3, 4, 5, 1, 2).reshape(n * 4, 4 * ci, h, w)
    weight = kernel.transpose(3, 5, 2, 4, 0, 1).reshape(4 * co, 4 * ci, kh, kw)

    def back(answer: Array) -> Array:
        return answer.reshape(n, 4, 4, co, *answer.shape[2:]).transpose(0, 4, 5, 1, 2, 3)

    return Convolution(np.ascontiguousarray(x), np.ascontiguousarray(weight), numbers[-2], numbers[-1], back=back)


def _first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


PROBLEMS: dict[str, Callable[[Sequence[int], Sequence[Array]], Problem]] = {
    "matmul": lambda numbers, arrays: Matmul(*arrays),
    "C1D": _convolution,
    "C2D": _convolution,
    "C3D": _convolution,
    "GRP": lambda numbers, arrays: _convolution(numbers, arrays, groups=4),
    "DIL": lambda numbers, arrays: _convolution(numbers, arrays, dilation=2),
    "DEP": _depthwise,
    "T2D": _transposed,
    "CAP": _capsule,
    "NRM": lambda numbers, arrays: Norm(arrays[0]),
    "ConvLayer": _layer,
    "TBS": lambda numbers, arrays: Scores(*arrays),
}
