"""ResNeXt-50 (32 x 4d) as TASO measures it: stem and four stages, without classifier and normalisation.

Paper: TASO §7, Fig. 9. Architecture: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks",
Table 1. The graph is that of TASO's published script: 86 operators on an image of (1, 3, 224, 224). The 32 branches of
a block are one grouped convolution (the third form in Xie et al., Figure 3), the one that TASO regroups.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

REPEATS = (3, 4, 6, 3)
EXPANSION = 2
STEM = 64
# As in ResNet-50: sixteen additions, activations near the input's size.
BRANCH_GAIN = 0.25


def resnext50(
    rng: np.random.Generator,
    *,
    image: int = 224,
    channels: int = 128,
    groups: int = 32,
    repeats: tuple[int, ...] = REPEATS,
    batch: int = 1,
) -> Graph:
    """Build the network with random weights; each stage after the first halves the image and doubles the channels.

    Shapes: data (batch, 3, image, image) -> (batch, 16 * channels, image / 32, image / 32) with four stages.
    Raises: ValueError: a size that is not positive, or channels that do not divide into the groups.
    """
    expect_positive("resnext50", image=image, channels=channels, groups=groups, repeats=repeats, batch=batch)
    if channels % groups:
        raise ValueError(f"resnext50: channels: expected a multiple of groups = {groups}, got {channels}")
    layers = Layers("resnext50", rng)
    x = layers.conv(layers.input("data", (batch, 3, image, image)), "stem", STEM, 7, stride=2)
    x = layers.max_pool(x, "stem_pool", 3, stride=2)
    for stage, blocks in enumerate(repeats):
        for number in range(blocks):
            stride = 2 if stage > 0 and number == 0 else 1
            x = _block(layers, x, f"block{stage + 1}_{number}", channels << stage, groups, stride)
    return layers.finish(x)


def _block(layers: Layers, x: str, name: str, channels: int, groups: int, stride: int) -> str:
    """Three convolutions, the middle one grouped, beside a shortcut, added."""
    y = layers.conv(x, f"{name}_reduce", channels, 1)
    y = layers.conv(y, f"{name}_grouped", channels, 3, stride=stride, groups=groups)
    y = layers.conv(y, f"{name}_expand", EXPANSION * channels, 1, relu=False, gain=BRANCH_GAIN)
    if stride > 1 or layers.channels(x) != EXPANSION * channels:
        x = layers.conv(x, f"{name}_shortcut", EXPANSION * channels, 1, stride=stride)
    value: str = layers.add("relu", layers.add("add", x, y, name=f"{name}_add"), name=f"{name}_relu")
    return value
