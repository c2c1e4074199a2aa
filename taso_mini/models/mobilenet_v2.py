"""MobileNet-V2: a classifier of (1, 3, 224, 224) images into 1000 classes, with 3.5 million weights.

Architecture: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Table 2, width 1.0. Batch
normalisation is folded into weights and biases, as exporters do; convolutions and their activations are separate nodes.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph, GraphBuilder

# Table 2: expansion factor, output channels, repeats, stride of the first repeat.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
RELU6 = {"min": 0.0, "max": 6.0}


def mobilenet_v2(rng: np.random.Generator, *, image: int = 224) -> Graph:
    """Build MobileNet-V2 with He-scaled random weights for square images of `image` pixels, a multiple of 32.

    Shapes: data (1, 3, image, image) -> prob (1, 1000).
    """
    build = GraphBuilder("mobilenet_v2")

    def conv(
        x: str, name: str, channels: int, size: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> str:
        reads = build.types[x].shape[1] // groups
        scale = np.sqrt((2.0 if active else 1.0) / (reads * size * size))
        w = build.weight(f"{name}_w", rng.normal(0.0, scale, (channels, reads, size, size)).astype(np.float32))
        b = build.weight(f"{name}_b", rng.normal(0.0, 0.1, channels).astype(np.float32))
        padding = (size // 2,) * 4
        y = build.add("conv", x, w, b, name=name, strides=(stride, stride), padding=padding, groups=groups)
        return build.add("clip", y, name=f"{name}_relu6", **RELU6) if active else y

    def block(x: str, name: str, expansion: int, channels: int, stride: int) -> str:
        before = build.types[x].shape[1]
        wide = before * expansion
        y = conv(x, f"{name}_expand", wide, 1) if expansion > 1 else x
        y = conv(y, f"{name}_depthwise", wide, 3, stride=stride, groups=wide)
        y = conv(y, f"{name}_project", channels, 1, active=False)
        return build.add("add", x, y, name=f"{name}_add") if stride == 1 and before == channels else y

    x = conv(build.input("data", (1, 3, image, image)), "stem", STEM, 3, stride=2)
    for stage, (expansion, channels, repeats, stride) in enumerate(BLOCKS, 1):
        for repeat in range(repeats):
            x = block(x, f"block{stage}_{repeat}", expansion, channels, stride if repeat == 0 else 1)
    x = conv(x, "head", HEAD, 1)
    x = build.add("reduce_mean", x, name="pool", axes=(2, 3), keepdims=False)
    w = build.weight("classifier_w", rng.normal(0.0, HEAD**-0.5, (HEAD, CLASSES)).astype(np.float32))
    b = build.weight("classifier_b", rng.normal(0.0, 0.1, CLASSES).astype(np.float32))
    x = build.add("add", build.add("matmul", x, w, name="classifier"), b, name="logits")
    return build.finish(build.add("softmax", x, name="prob", axis=1))
