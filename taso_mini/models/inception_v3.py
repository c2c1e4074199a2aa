"""Inception-v3: eleven modules of parallel convolutions, joined along the channels.

Paper: TASO §7. Architecture: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", Table 1, with
the modules of Figures 5, 6 and 7; 119 operators on an image of (1, 3, 299, 299). As in TASO's published script there is
no normalisation and no classifier; that script runs 32 images at once.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, Window, expect_positive

# A branch is convolutions of (channels, window), or (channels, window, 2): stride 2 and no padding.
Step = tuple[int, Window] | tuple[int, Window, int]
WIDE, TALL = (1, 7), (7, 1)


def inception_v3(rng: np.random.Generator, *, image: int = 299, shrink: int = 1, batch: int = 1) -> Graph:
    """Build the network with random weights.

    shrink: divides every number of channels (at least one stays); 1 is the published network.
    Shapes: data (batch, 3, image, image) -> (batch, 2048 / shrink, 1, 1); images of 75 pixels or more.
    Raises: ValueError: a size that is not positive, or an image that is too small for the windows.
    """
    expect_positive("inception_v3", image=image, shrink=shrink, batch=batch)
    if image < 75:
        raise ValueError(f"inception_v3: image: expected at least 75 pixels, got {image}")
    net = _Modules("inception_v3", rng, shrink)
    x = net.stem(net.input("data", (batch, 3, image, image)))
    for name, channels in (("a0", 32), ("a1", 64), ("a2", 64)):
        x = net.module_a(x, name, channels)
    x = net.module_b(x, "b")
    for name, channels in (("c0", 128), ("c1", 160), ("c2", 160), ("c3", 192)):
        x = net.module_c(x, name, channels)
    x = net.module_d(x, "d")
    for name in ("e0", "e1"):
        x = net.module_e(x, name)
    height, width = net.types[x].shape[2:]
    return net.finish(net.avg_pool(x, "pool", (height, width), same=False))


class _Modules(Layers):
    """The stem and the five kinds of module."""

    def __init__(self, name: str, rng: np.random.Generator, shrink: int) -> None:
        super().__init__(name, rng)
        self.shrink = shrink

    def branch(self, x: str, name: str, *steps: Step) -> str:
        """Convolutions one behind the other."""
        for number, (channels, window, *strided) in enumerate(steps):
            stride = strided[0] if strided else 1
            wide = max(1, channels // self.shrink)
            x = self.conv(x, f"{name}_{number}", wide, window, stride=stride, same=not strided)
        return x

    def join(self, name: str, *parts: str) -> str:
        """Put the branches side by side."""
        value: str = self.add("concat", *parts, name=name, axis=1)
        return value

    def stem(self, x: str) -> str:
        """Five convolutions and two pools: 192 channels at an eighth of the size."""
        x = self.branch(x, "stem0", (32, 3, 2))
        x = self.conv(x, "stem1_0", self.channels(x), 3, same=False)
        x = self.max_pool(self.branch(x, "stem2", (64, 3)), "stem_pool0", 3, stride=2, same=False)
        x = self.branch(x, "stem3", (80, 1))
        x = self.conv(x, "stem4_0", max(1, 192 // self.shrink), 3, same=False)
        return self.max_pool(x, "stem_pool1", 3, stride=2, same=False)

    def module_a(self, x: str, name: str, channels: int) -> str:
        """Figure 5: windows of 1, 5, two of 3, and a pool."""
        pool = self.avg_pool(x, f"{name}_pool", 3)
        return self.join(
            name,
            self.branch(x, f"{name}_one", (64, 1)),
            self.branch(x, f"{name}_five", (48, 1), (64, 5)),
            self.branch(x, f"{name}_three", (64, 1), (96, 3), (96, 3)),
            self.branch(pool, f"{name}_pooled", (channels, 1)),
        )

    def module_b(self, x: str, name: str) -> str:
        """Figure 10: half the size."""
        return self.join(
            name,
            self.branch(x, f"{name}_three", (384, 3, 2)),
            self.branch(x, f"{name}_double", (64, 1), (96, 3), (96, 3, 2)),
            self.max_pool(x, f"{name}_pool", 3, stride=2, same=False),
        )

    def module_c(self, x: str, name: str, channels: int) -> str:
        """Figure 6: windows of 7 as a row and a column."""
        pool = self.avg_pool(x, f"{name}_pool", 3)
        double: list[Step] = [(channels, 1), (channels, TALL), (channels, WIDE), (channels, TALL), (192, WIDE)]
        return self.join(
            name,
            self.branch(x, f"{name}_one", (192, 1)),
            self.branch(x, f"{name}_seven", (channels, 1), (channels, WIDE), (192, TALL)),
            self.branch(x, f"{name}_double", *double),
            self.branch(pool, f"{name}_pooled", (192, 1)),
        )

    def module_d(self, x: str, name: str) -> str:
        """Half the size again."""
        return self.join(
            name,
            self.branch(x, f"{name}_three", (192, 1), (320, 3, 2)),
            self.branch(x, f"{name}_seven", (192, 1), (192, WIDE), (192, TALL), (192, 3, 2)),
            self.max_pool(x, f"{name}_pool", 3, stride=2, same=False),
        )

    def module_e(self, x: str, name: str) -> str:
        """Figure 7: windows of 3 as a row beside a column."""
        pool = self.avg_pool(x, f"{name}_pool", 3)
        three = self.branch(x, f"{name}_three", (384, 1))
        double = self.branch(x, f"{name}_double", (448, 1), (384, 3))
        return self.join(
            name,
            self.branch(x, f"{name}_one", (320, 1)),
            self.branch(three, f"{name}_three_wide", (384, (1, 3))),
            self.branch(three, f"{name}_three_tall", (384, (3, 1))),
            self.branch(double, f"{name}_double_wide", (384, (1, 3))),
            self.branch(double, f"{name}_double_tall", (384, (3, 1))),
            self.branch(pool, f"{name}_pooled", (192, 1)),
        )
