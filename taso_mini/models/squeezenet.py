"""SqueezeNet 1.1: a classifier of (1, 3, 224, 224) images into 1000 classes, with 1.2 million weights.

Architecture: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", version 1.1. Convolutions
and their activations are separate nodes, as a model arrives from a training framework.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph, GraphBuilder

# (squeeze channels, expand channels of each of the two branches); "pool" halves the image.
STAGES: tuple[tuple[int, int] | str, ...] = (
    "pool",
    (16, 64),
    (16, 64),
    "pool",
    (32, 128),
    (32, 128),
    "pool",
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)
CLASSES = 1000


def squeezenet(rng: np.random.Generator, *, image: int = 224) -> Graph:
    """Build SqueezeNet 1.1 with He-scaled random weights for square images of `image` pixels.

    Shapes: data (1, 3, image, image) -> prob (1, 1000).
    """
    build = GraphBuilder("squeezenet")

    def conv(x: str, name: str, channels: int, size: int, *, stride: int = 1, padding: int = 0) -> str:
        reads = build.types[x].shape[1]
        scale = np.sqrt(2.0 / (reads * size * size))
        w = build.weight(f"{name}_w", rng.normal(0.0, scale, (channels, reads, size, size)).astype(np.float32))
        b = build.weight(f"{name}_b", rng.normal(0.0, 0.1, channels).astype(np.float32))
        y = build.add("conv", x, w, b, name=name, strides=(stride, stride), padding=(padding,) * 4)
        return build.add("relu", y, name=f"{name}_relu")

    x = conv(build.input("data", (1, 3, image, image)), "conv1", 64, 3, stride=2)
    pools, fires = 0, 1
    for stage in STAGES:
        if isinstance(stage, str):
            pools += 1
            x = build.add("max_pool", x, name=f"pool{pools}", kernel=(3, 3), strides=(2, 2))
            continue
        fires += 1
        squeeze, expand = stage
        x = conv(x, f"fire{fires}_squeeze", squeeze, 1)
        left = conv(x, f"fire{fires}_expand1", expand, 1)
        right = conv(x, f"fire{fires}_expand3", expand, 3, padding=1)
        x = build.add("concat", left, right, name=f"fire{fires}", axis=1)
    x = conv(x, "conv10", CLASSES, 1)
    x = build.add("reduce_mean", x, name="pool10", axes=(2, 3), keepdims=False)
    return build.finish(build.add("softmax", x, name="prob", axis=1))
