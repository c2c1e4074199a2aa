"""NasNet-A as TASO measures it: stem and three stages of five normal cells and a reduction cell each.

Paper: TASO §7, Fig. 8. Architecture: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition",
Figure 4. The graph is that of TASO's published script: 383 operators on an image of (1, 3, 224, 224), where the normal
cell has only 3 x 3 separable convolutions and each is applied once. Every cell reads its two predecessors; in a stage's
first cell both are the stage's input.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

STAGES = 3
CELLS = 5
# A cell adds pairs, which raises mean squares; the 1 x 1 convolutions before it take as much away.
SQUEEZE_GAIN = 1.0


def nasnet_a(
    rng: np.random.Generator,
    *,
    image: int = 224,
    channels: int = 128,
    stem: int = 64,
    stages: int = STAGES,
    cells: int = CELLS,
    batch: int = 1,
    nested_concats: bool = False,
) -> Graph:
    """Build the network with random weights; each stage ends in a cell that halves the image and doubles the channels.

    nested_concats: join five values by four concatenations of two, the only kind in the paper's Table 1 (437
        operators), instead of one of five.
    Shapes: data (batch, 3, image, image) -> (batch, 40 * channels, image / 32, image / 32) with three stages.
    Raises: ValueError: a size that is not positive.
    """
    expect_positive("nasnet_a", image=image, channels=channels, stem=stem, stages=stages, cells=cells, batch=batch)
    cell = _Cells("nasnet_a", rng, nested_concats)
    x = cell.conv(cell.input("data", (batch, 3, image, image)), "stem", stem, 7, stride=2)
    x = cell.max_pool(x, "stem_pool", 3, stride=2)
    for stage in range(1, stages + 1):
        previous = x
        for number in range(cells):
            x, previous = cell.normal(x, previous, f"cell{stage}_{number}", channels), x
        channels *= 2
        x = cell.reduction(x, previous, f"reduce{stage}", channels)
    return cell.finish(x)


class _Cells(Layers):
    """The two cells, each with the values it joins."""

    def __init__(self, name: str, rng: np.random.Generator, nested: bool) -> None:
        super().__init__(name, rng)
        self.nested = nested

    def normal(self, current: str, previous: str, name: str, channels: int) -> str:
        """Five sums at the size of the input, joined."""
        h, p = self.squeezed(current, previous, name, channels)

        def sep(x: str, part: str) -> str:
            return self.separable(x, f"{name}_{part}", channels, 3)

        def avg(x: str, part: str) -> str:
            return self.avg_pool(x, f"{name}_{part}", 3)

        pairs = [
            (sep(h, "0a"), h),
            (sep(p, "1a"), sep(h, "1b")),
            (avg(h, "2a"), p),
            (avg(p, "3a"), avg(p, "3b")),
            (sep(p, "4a"), sep(p, "4b")),
        ]
        return self.join([self.sum(*pair, f"{name}_{i}") for i, pair in enumerate(pairs)], name)

    def reduction(self, current: str, previous: str, name: str, channels: int) -> str:
        """Five sums at half the size, two of them made from another one, joined."""
        h, p = self.squeezed(current, previous, name, channels)

        def sep(x: str, part: str, window: int, stride: int = 2) -> str:
            return self.separable(x, f"{name}_{part}", channels, window, stride)

        def highest(part: str) -> str:
            return self.max_pool(h, f"{name}_{part}", 3, stride=2)

        first = self.sum(sep(p, "0a", 7), sep(h, "0b", 5), f"{name}_0")
        second = self.sum(highest("1a"), sep(p, "1b", 7), f"{name}_1")
        third = self.sum(self.avg_pool(h, f"{name}_2a", 3, stride=2), sep(p, "2b", 5), f"{name}_2")
        fourth = self.sum(highest("3a"), sep(first, "3b", 3, 1), f"{name}_3")
        fifth = self.sum(self.avg_pool(first, f"{name}_4a", 3), second, f"{name}_4")
        return self.join([first, second, third, fourth, fifth], name)

    def squeezed(self, current: str, previous: str, name: str, channels: int) -> tuple[str, str]:
        """The two inputs of a cell with its number of channels; the older one is halved where it is larger."""
        h = self.conv(current, f"{name}_squeeze", channels, 1, gain=SQUEEZE_GAIN)
        if self.types[previous].shape[2:] != self.types[current].shape[2:]:
            return h, self.conv(previous, f"{name}_fit", channels, 3, stride=2, gain=SQUEEZE_GAIN)
        return h, self.conv(previous, f"{name}_fit", channels, 1, gain=SQUEEZE_GAIN)

    def separable(self, x: str, name: str, channels: int, window: int, stride: int = 1) -> str:
        """One window per channel, then a 1 x 1 convolution; no activation."""
        wide = self.channels(x)
        y = self.conv(x, f"{name}_depthwise", wide, window, stride=stride, groups=wide, relu=False)
        return self.conv(y, f"{name}_pointwise", channels, 1, relu=False)

    def sum(self, left: str, right: str, name: str) -> str:
        """Add two values."""
        value: str = self.add("add", left, right, name=name)
        return value

    def join(self, parts: list[str], name: str) -> str:
        """Put values side by side along the channels."""
        if self.nested:
            for number, part in enumerate(parts[1:-1]):
                parts[0] = self.add("concat", parts[0], part, name=f"{name}_join{number}", axis=1)
            parts = [parts[0], parts[-1]]
        value: str = self.add("concat", *parts, name=name, axis=1)
        return value
