"""SqueezeNet 1.0 with bypasses, as MetaFlow, the system before TASO, measures it.

Paper: TASO §7. Architecture: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", Figure 2,
right, with a bypass around every fire module: the input itself, or a 1 x 1 convolution where the number of channels
changes. The graph has 50 operators on an image of (1, 3, 222, 222), as many as MetaFlow counts kernels; it ends before
the softmax. `squeezenet` is the later and smaller version 1.1.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

# (squeeze channels, expand channels of each of the two branches); "pool" halves the image.
STAGES: tuple[tuple[int, int] | str, ...] = (
    (16, 64),
    (16, 64),
    (32, 128),
    "pool",
    (32, 128),
    (48, 192),
    (48, 192),
    (64, 256),
    "pool",
    (64, 256),
)
STEM, CLASSES = 96, 1000
# What a module adds is weak beside what came in, so that eight additions leave activations near the input's size.
BRANCH_GAIN = 0.25


def squeezenet_bypass(rng: np.random.Generator, *, image: int = 222, shrink: int = 1, batch: int = 1) -> Graph:
    """Build the network with random weights.

    shrink: divides every number of channels (at least one stays); 1 is the published network.
    Shapes: data (batch, 3, image, image) -> (batch, 1000 / shrink, 1, 1); images of 30 pixels or more.
    Raises: ValueError: a size that is not positive, or an image that is too small for the windows.
    """
    expect_positive("squeezenet_bypass", image=image, shrink=shrink, batch=batch)
    if image < 30:
        raise ValueError(f"squeezenet_bypass: image: expected at least 30 pixels, got {image}")
    layers = Layers("squeezenet_bypass", rng)
    x = layers.conv(layers.input("data", (batch, 3, image, image)), "conv1", max(1, STEM // shrink), 7, stride=2)
    x = layers.max_pool(x, "pool1", 3, stride=2, same=False)
    for number, stage in enumerate(STAGES, 2):
        if isinstance(stage, str):
            x = layers.max_pool(x, f"pool{number}", 3, stride=2, same=False)
        else:
            squeeze, expand = (max(1, channels // shrink) for channels in stage)
            x = _fire(layers, x, f"fire{number}", squeeze, expand)
    x = layers.conv(x, "conv10", max(1, CLASSES // shrink), 1)
    height, width = layers.types[x].shape[2:]
    return layers.finish(layers.avg_pool(x, "average", (height, width), same=False))


def _fire(layers: Layers, x: str, name: str, squeeze: int, expand: int) -> str:
    """Few channels, then many from two windows, added to what came in."""
    narrow = layers.conv(x, f"{name}_squeeze", squeeze, 1)
    wide = [layers.conv(narrow, f"{name}_expand{window}", expand, window, gain=BRANCH_GAIN) for window in (3, 1)]
    joined = layers.add("concat", *wide, name=f"{name}_join", axis=1)
    if layers.channels(x) != 2 * expand:
        x = layers.conv(x, f"{name}_bypass", 2 * expand, 1)
    value: str = layers.add("add", joined, x, name=name)
    return value
