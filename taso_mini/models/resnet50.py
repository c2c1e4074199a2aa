"""ResNet-50 as TASO measures it: the four stages of bottleneck blocks, without stem, classifier and normalisation.

Paper: TASO §7. Architecture: He et al., "Deep Residual Learning for Image Recognition", Table 1. The graph is that of
TASO's published script: 84 operators on an image of (1, 64, 56, 56), activations inside the convolutions, and a relu
behind the convolution of a shortcut, where the original has none.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

REPEATS = (3, 4, 6, 3)
EXPANSION = 4
# The last convolution of a block is weak, so that sixteen additions leave activations near the input's size.
BRANCH_GAIN = 0.25


def resnet50(
    rng: np.random.Generator,
    *,
    image: int = 56,
    channels: int = 64,
    repeats: tuple[int, ...] = REPEATS,
    batch: int = 1,
) -> Graph:
    """Build the network with random weights; each stage after the first halves the image and doubles the channels.

    Shapes: data (batch, channels, image, image) -> (batch, 32 * channels, image / 8, image / 8) with four stages.
    Raises: ValueError: a size that is not positive.
    """
    expect_positive("resnet50", image=image, channels=channels, repeats=repeats, batch=batch)
    layers = Layers("resnet50", rng)
    x = layers.input("data", (batch, channels, image, image))
    for stage, blocks in enumerate(repeats):
        for number in range(blocks):
            stride = 2 if stage > 0 and number == 0 else 1
            x = _block(layers, x, f"block{stage + 1}_{number}", channels << stage, stride)
    return layers.finish(x)


def _block(layers: Layers, x: str, name: str, channels: int, stride: int) -> str:
    """Three convolutions beside a shortcut, added; the shortcut is the input itself where the shapes allow it."""
    y = layers.conv(x, f"{name}_reduce", channels, 1)
    y = layers.conv(y, f"{name}_middle", channels, 3, stride=stride)
    y = layers.conv(y, f"{name}_expand", EXPANSION * channels, 1, relu=False, gain=BRANCH_GAIN)
    if stride > 1 or layers.channels(x) != EXPANSION * channels:
        x = layers.conv(x, f"{name}_shortcut", EXPANSION * channels, 1, stride=stride)
    value: str = layers.add("relu", layers.add("add", x, y, name=f"{name}_add"), name=f"{name}_relu")
    return value
