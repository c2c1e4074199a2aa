"""Plain layers for the references of built-in networks: a convolution is one sum over all windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray


class Reference:
    """The layers on float64 arrays; weights come from a graph, by the name of their layer."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.used: set[str] = set()
        self.values: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        self.used.add(name)
        return self.weights[name]

    def keep(self, name: str, value: Array) -> Array:
        """Remember what a layer computes."""
        self.values[name] = value
        return value

    def conv(self, x: Array, name: str, stride: int = 1, same: bool = True, relu: bool = True) -> Array:
        w = self[f"{name}_w"]
        groups = x.shape[1] // w.shape[1]
        seen = windows(x, w.shape[2:], stride, same, 0.0)
        seen = seen.reshape(len(x), groups, w.shape[1], *seen.shape[2:])
        by_group = w.reshape(groups, -1, *w.shape[1:])
        y = np.einsum("ngchwij,gocij->ngohw", seen, by_group, optimize=True)
        y = y.reshape(len(x), -1, *y.shape[3:])
        return self.keep(name, np.maximum(y, 0) if relu else y)

    def dense(self, x: Array, name: str) -> Array:
        return self.keep(name, x @ self[f"{name}_w"])


def windows(x: Array, kernel: tuple[int, ...], stride: int, same: bool, fill: float) -> Array:
    top, left = (n // 2 if same else 0 for n in kernel)
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=fill)
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]


def max_pool(x: Array, size: int, stride: int = 1, same: bool = True) -> Array:
    return windows(x, (size, size), stride, same, -np.inf).max((-1, -2))


def avg_pool(x: Array, size: int, stride: int = 1, same: bool = True) -> Array:
    return windows(x, (size, size), stride, same, 0.0).sum((-1, -2)) / size**2


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
