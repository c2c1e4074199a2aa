"""3D-ResNet-18: a classifier of clips, (1, 3, 16, 112, 112), into 400 actions, with 33 million weights.

Paper: Ansor §7.3. Architecture: Hara et al., "Learning Spatio-Temporal Features with 3D Residual Networks for Action
Recognition", Table 1, with convolutions as shortcuts where the shape changes. Normalisation is folded into weights and
biases, as exporters do; convolutions, biases, additions and activations are nodes of their own.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, Window, expect_positive

CHANNELS = (64, 128, 256, 512)
BLOCKS = 2  # in each stage
CLASSES = 400
# The last convolution of a block is weak, so that eight additions leave activations near the input's size.
BRANCH_GAIN = 0.25


def resnet3d_18(
    rng: np.random.Generator,
    *,
    frames: int = 16,
    image: int = 112,
    channels: tuple[int, ...] = CHANNELS,
    classes: int = CLASSES,
    batch: int = 1,
) -> Graph:
    """Build the network with random weights; each stage after the first halves all three dimensions.

    channels: of each stage.
    Shapes: data (batch, 3, frames, image, image) -> prob (batch, classes).
    Raises: ValueError: a size that is not positive.
    """
    expect_positive("resnet3d_18", frames=frames, image=image, channels=channels, classes=classes, batch=batch)
    layers = Layers("resnet3d_18", rng)
    x = layers.input("data", (batch, 3, frames, image, image))
    x = _conv(layers, x, "stem", channels[0], 7, (1, 2, 2))
    x = layers.max_pool(x, "stem_pool", 3, stride=2)
    for stage, wide in enumerate(channels):
        for number in range(BLOCKS):
            stride = 2 if stage > 0 and number == 0 else 1
            x = _block(layers, x, f"block{stage + 1}_{number}", wide, stride)
    x = layers.add("reduce_mean", x, name="pool", axes=(2, 3, 4), keepdims=False)
    x = layers.bias(layers.dense(x, "classifier", classes), "classifier", axis=-1)
    return layers.finish(layers.add("softmax", x, name="prob", axis=1))


def _conv(layers: Layers, x: str, name: str, channels: int, window: int, stride: Window = 1) -> str:
    """Convolution, bias, relu."""
    y = layers.bias(layers.conv(x, name, channels, window, stride=stride, relu=False, gain=2.0), name)
    value: str = layers.add("relu", y, name=f"{name}_relu")
    return value


def _block(layers: Layers, x: str, name: str, channels: int, stride: int) -> str:
    """Two convolutions beside a shortcut, added; the shortcut is the input itself where the shapes allow it."""
    y = _conv(layers, x, f"{name}_first", channels, 3, stride)
    y = layers.conv(y, f"{name}_second", channels, 3, relu=False, gain=BRANCH_GAIN)
    y = layers.bias(y, f"{name}_second")
    if stride > 1 or layers.channels(x) != channels:
        x = layers.bias(layers.conv(x, f"{name}_shortcut", channels, 1, stride=stride, relu=False), f"{name}_shortcut")
    value: str = layers.add("relu", layers.add("add", y, x, name=f"{name}_add"), name=f"{name}_relu")
    return value
