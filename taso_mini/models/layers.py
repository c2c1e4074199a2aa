"""The layers that the built-in networks share, with seeded random weights of a chosen scale.

"Same" padding puts half of the window on each side, at any stride, as the published TASO does it: with stride 2 and an
even height the windows start one row above the image, where TensorFlow's start at its first row.

>>> layers = Layers("tiny", np.random.default_rng(0))
>>> y = layers.conv(layers.input("data", (1, 3, 8, 8)), "c", 4, 3, stride=2)
>>> print(layers.finish(layers.max_pool(y, "p", 3)))
graph tiny:
    input data: float32[1, 3, 8, 8]
    weight c_w: float32[4, 3, 3, 3]
    c = conv(data, c_w, activation='relu', padding=(1, 1, 1, 1), strides=(2, 2))  # float32[1, 4, 4, 4]
    p = max_pool(c, kernel=(3, 3), padding=(1, 1, 1, 1))  # float32[1, 4, 4, 4]
    return p
"""

from __future__ import annotations

import math

import numpy as np

from runtime.graph import GraphBuilder

Window = int | tuple[int, ...]


class Layers(GraphBuilder):
    """A graph builder that draws the weights of the layers it adds.

    A weight whose products are summed over `terms` has the variance gain / terms: a gain of 1 keeps the mean square of
    activations through a linear layer, 2 through one with a relu behind it (He et al. 2015).
    """

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        """Start an empty graph; weights are drawn from `rng` in the order of the layers."""
        super().__init__(name)
        self.rng = rng

    def random_weight(self, name: str, shape: tuple[int, ...], terms: int, gain: float = 1.0) -> str:
        """Add a weight of normally distributed numbers."""
        array = self.rng.standard_normal(shape, dtype=np.float32)
        array *= np.float32(math.sqrt(gain / terms))
        return self.weight(name, array)

    def channels(self, x: str) -> int:
        """The number of channels of an image."""
        return self.types[x].shape[1]

    def conv(
        self,
        x: str,
        name: str,
        channels: int,
        window: Window,
        *,
        stride: Window = 1,
        groups: int = 1,
        same: bool = True,
        relu: bool = True,
        gain: float | None = None,
    ) -> str:
        """Convolve, with a weight called `name`_w; the gain is 2 with a relu and 1 without unless given."""
        geometry = self._geometry(x, window, stride, same)
        kernel = geometry.pop("kernel")
        reads = self.channels(x) // groups
        gain = (2.0 if relu else 1.0) if gain is None else gain
        w = self.random_weight(f"{name}_w", (channels, reads, *kernel), reads * math.prod(kernel), gain)
        activation = "relu" if relu else "none"
        if len(kernel) != 2:
            geometry["dilations"] = (1,) * len(kernel)
        value: str = self.add("conv", x, w, name=name, groups=groups, activation=activation, **geometry)
        return value

    def bias(self, x: str, name: str, axis: int = 1) -> str:
        """Add a small weight called `name`_b to every channel, or along another axis; the result is `name`_biased."""
        array = self.rng.standard_normal(self.types[x].shape[axis], dtype=np.float32) * np.float32(0.1)
        behind = 0 if axis == -1 else self.types[x].rank - 1 - axis
        b = self.weight(f"{name}_b", array.reshape(-1, *(1,) * behind))
        value: str = self.add("add", x, b, name=f"{name}_biased")
        return value

    def max_pool(self, x: str, name: str, window: Window, *, stride: Window = 1, same: bool = True) -> str:
        """Take the largest element of each window."""
        return self._pool("max_pool", x, name, window, stride, same)

    def avg_pool(self, x: str, name: str, window: Window, *, stride: Window = 1, same: bool = True) -> str:
        """Take the mean of each window; padding counts as zeros."""
        return self._pool("avg_pool", x, name, window, stride, same, count_include_pad=True)

    def _pool(self, operator: str, x: str, name: str, window: Window, stride: Window, same: bool, **more: bool) -> str:
        value: str = self.add(operator, x, name=name, **self._geometry(x, window, stride, same), **more)
        return value

    def _geometry(self, x: str, window: Window, stride: Window, same: bool) -> dict[str, tuple[int, ...]]:
        """Kernel, strides and padding for an image of as many dimensions as x has."""
        rank = self.types[x].rank - 2
        kernel, strides = ((n,) * rank if isinstance(n, int) else n for n in (window, stride))
        return {"kernel": kernel, "strides": strides, "padding": tuple(n // 2 if same else 0 for n in kernel) * 2}

    def dense(self, x: str, name: str, columns: int, gain: float = 1.0) -> str:
        """Multiply by a weight matrix called `name`_w."""
        rows = self.types[x].shape[-1]
        value: str = self.add("matmul", x, self.random_weight(f"{name}_w", (rows, columns), rows, gain), name=name)
        return value


def expect_positive(model: str, **sizes: int | tuple[int, ...]) -> None:
    """Check the sizes that a model was asked for.

    >>> expect_positive("resnet50", image=0)
    Traceback (most recent call last):
        ...
    ValueError: resnet50: image: expected positive integers, got 0
    """
    for name, value in sizes.items():
        extents = value if isinstance(value, tuple) else (value,)
        if not extents or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in extents):
            raise ValueError(f"{model}: {name}: expected positive integers, got {value!r}")
