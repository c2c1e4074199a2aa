"""DCGAN's generator: 100 random numbers become an image of (3, 64, 64) by four transposed convolutions.

Paper: Ansor §7.3. Architecture: Radford et al., "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", Figure 1, with windows of 4 x 4 and stride 2, which cover every pixel evenly.
Normalisation is folded into weights and biases.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

NOISE, CHANNELS, STAGES = 100, 1024, 4
START = 4  # pixels on a side of the first image
WINDOW, STRIDE = 4, 2
TAPS = (WINDOW // STRIDE) ** 2  # of a window, that meet one output pixel


def dcgan(
    rng: np.random.Generator,
    *,
    noise: int = NOISE,
    channels: int = CHANNELS,
    stages: int = STAGES,
    batch: int = 1,
) -> Graph:
    """Build the network with random weights; every stage doubles the image and halves the channels, down to 3.

    channels: of the first image.
    Shapes: noise (batch, noise) -> image (batch, 3, 4 * 2**stages, 4 * 2**stages) of numbers in [-1, 1].
    Raises: ValueError: a size that is not positive, or channels that cannot be halved so often.
    """
    expect_positive("dcgan", noise=noise, channels=channels, stages=stages, batch=batch)
    if channels % 2 ** (stages - 1):
        raise ValueError(f"dcgan: channels: expected a multiple of {2 ** (stages - 1)}, got {channels}")
    layers = Layers("dcgan", rng)
    x = layers.dense(layers.input("noise", (batch, noise)), "project", START * START * channels, 2.0)
    x = layers.add("relu", layers.bias(x, "project", axis=-1), name="project_relu")
    x = layers.add("reshape", x, name="project_image", shape=(batch, channels, START, START))
    for stage in range(1, stages + 1):
        last = stage == stages
        wide = 3 if last else channels >> stage
        x = _double(layers, x, f"up{stage}", wide, 1.0 if last else 2.0)
        x = layers.add("tanh", x, name="image") if last else layers.add("relu", x, name=f"up{stage}_relu")
    return layers.finish(x)


def _double(layers: Layers, x: str, name: str, channels: int, gain: float) -> str:
    """A transposed convolution that doubles height and width, and its bias."""
    reads = layers.channels(x)
    w = layers.random_weight(f"{name}_w", (reads, channels, WINDOW, WINDOW), reads * TAPS, gain)
    padding = ((WINDOW - STRIDE) // 2,) * 4
    y = layers.add("conv_transpose", x, w, name=name, strides=(STRIDE, STRIDE), padding=padding)
    return layers.bias(y, name)
