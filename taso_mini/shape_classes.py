"""Small worlds of shapes to draw from, one kind of world for each class of grouped convolutions.

A rule is tested on shapes drawn from a world: a few lengths for each kind of tensor, chosen so that they fit together
often (with each length come the sums that concatenations make, and with each image size the sizes that windows make of
it), but different enough to tell axes apart. Convolutions of one group, of two, of four and depthwise ones are classes
of their own, where every convolution of the source has that many groups, because a mixed draw rarely hits the groups
for which a rule is false; in the class `mixed` each convolution has its own number.

>>> image, kernel = Shape((1, 4, 5, 5)), Shape((8, 1, 3, 3))
>>> [group_class for group_class in GROUP_CLASSES if in_class(group_class, image, kernel)]
[4, 'depthwise', 'mixed']
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from taso_mini import shapes
from taso_mini.operator_set import CONVOLUTIONS
from taso_mini.shape_search import leaf_name, leaves
from taso_mini.shape_table import Allowed
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, parameter_variables, subterms

GroupClass = int | str
GROUP_CLASSES: tuple[GroupClass, ...] = (1, 2, 4, "depthwise", "mixed")
Size = tuple[int, int]

_MOST_SIZES = 10  # of images in one world


def in_class(group_class: GroupClass, image: Shape, kernel: Shape) -> bool:
    """Whether a convolution of these arguments belongs to a class."""
    if group_class == "mixed":
        return True
    if group_class == "depthwise":
        return kernel.dims[1] == 1 and image.dims[1] > 1
    return shapes.groups(image, kernel) == group_class


def restriction(source: Sequence[Term], group_class: GroupClass) -> Allowed:
    """Return the test that lets only convolutions of a class stand in the source."""
    restricted = {node for node in subterms(*source) if node.operator in CONVOLUTIONS}

    def allowed(node: Term, given: Sequence[Shape]) -> bool:
        return node not in restricted or in_class(group_class, given[0], given[1])

    return allowed


def draw_parameters(roots: Sequence[Term], rng: np.random.Generator) -> dict[str, Hashable]:
    """Draw a value for each parameter variable: strides, dilations, pool window, activation, padding and axis."""

    def pair(low: int, high: int) -> Size:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    pools = any(node.operator.endswith("_pool") for node in subterms(*roots))
    window = [(3, 3), (1, 3), (3, 1), (2, 2), (3, 2), (5, 3)][int(rng.integers(6))]
    odd = window[0] % 2 == 1 and window[1] % 2 == 1
    paddings: list[Hashable] = [(0, 0, 0, 0)] + ["same"] * (odd or not pools)
    most = [length - 1 for length in window] if pools else [2, 2]  # no window of a pool may lie in the padding alone
    paddings.append(tuple(min((0, 0, 1, 2)[int(rng.integers(4))], most[side % 2]) for side in range(4)))
    values: dict[str, Hashable] = {
        "s": pair(1, 2),
        "d": pair(1, 2),
        "k": window,
        "f": ("none", "relu")[int(rng.integers(2))],
        "p": paddings[int(rng.integers(len(paddings)))],
        "a": (0, 0, 1, 1, 2, 3)[int(rng.integers(6))],
    }
    return {name: values[name] for name in parameter_variables(*roots)}


class World:
    """The shapes of one world, by kind.

    Args:
        roots: the terms of the rule, with parameter variables bound: windows and axes are those that they need.
        group_class: one of `GROUP_CLASSES`.
        large: no length of 1 among batches, channels and matrices, no image smaller than 4.
    """

    def __init__(
        self, roots: Sequence[Term], group_class: GroupClass, rng: np.random.Generator, *, large: bool
    ) -> None:
        """Draw the lengths."""
        self._roots, self._rng, self._least = roots, rng, 2 if large else 1
        self._shapes: dict[str, list[Shape]] = {}
        self._axes = sorted({axis for node in subterms(*roots) if isinstance(axis := node.param("axis"), int)})
        joins = sum(node.operator == "concat" for node in subterms(*roots))
        self._many_sums = joins > 1
        self.batches = self._lengths(3)
        self.channels: list[int] = []
        self.inner: list[int] = []
        self._channels(group_class)
        if any(node.operator == "Cpool" for node in subterms(*roots)):
            self.inner = sorted({1, *self.inner})  # kernels that can meet that constant are depthwise
        same = any(node.param("padding") == "same" for node in subterms(*roots) if not node.is_variable)
        windows = [(3, 3), *itertools.product((1, 3) if same else (1, 2, 3), repeat=2)]
        others = rng.choice(len(windows), size=2)
        self.windows = list(dict.fromkeys([(3, 3)] * large + [windows[int(i)] for i in others]))
        self.sizes = self._image_sizes(large)
        self.matrix = self._lengths(5)
        rank = int(rng.integers(max([2, *(axis + 1 for axis in self._axes)]) - 1, 5))
        self.tensor = [self._lengths(4) for _ in range(max(rank, max(self._axes, default=0) + 1))]

    def _lengths(self, most: int) -> list[int]:
        """Return two random lengths with their sum, and with more sums where concatenations are nested."""
        a, b = (int(n) for n in self._rng.integers(self._least, most + 1, size=2))
        return sorted({a, b, a + b, 2 * a, 2 * a + b} if self._many_sums else {a, b, a + b})

    def _channels(self, group_class: GroupClass) -> None:
        """Set channels of images and vectors, and a kernel's input channels."""
        lengths = self._lengths(3)
        if group_class == "depthwise":
            self.channels, self.inner = [n for n in {n + (n == 1) for n in lengths} | {4}], [1]
        elif group_class == "mixed":
            self.channels, self.inner = sorted({*lengths, *(2 * n for n in lengths)}), sorted({1, *lengths})
        else:
            self.channels, self.inner = [int(group_class) * n for n in lengths], lengths

    def _image_sizes(self, large: bool) -> list[Size]:
        """Return two image sizes and those that the windows make of them, or concatenations along height or width."""
        sizes = [(int(h), int(w)) for h, w in self._rng.integers(4 if large else 1, 7, size=(2, 2))]
        windowed = [node for node in subterms(*self._roots) if node.args and node.param("padding") is not None]
        for _ in range(2 if len(windowed) > 2 else 1):
            for size, node in itertools.product(tuple(sizes), windowed):
                windows = [node.param("kernel")] if node.param("kernel") else self.windows
                sizes += [made for window in windows if (made := _windowed(size, node, window))]
        first, second = sizes[0], sizes[1]
        sizes += [(first[0] + second[0], first[1])] * (2 in self._axes)
        sizes += [(first[0], first[1] + second[1])] * (3 in self._axes)
        return list(dict.fromkeys(sizes))[:_MOST_SIZES]

    def shapes(self, kind: str) -> list[Shape]:
        """Return all shapes of a kind; always the same list."""
        if kind not in self._shapes:
            self._shapes[kind] = self._all_shapes(kind)
        return self._shapes[kind]

    def _all_shapes(self, kind: str) -> list[Shape]:
        dims: list[tuple[int, ...]] = []
        if kind == "image":
            dims = [(n, c, *size) for n in self.batches for c in self.channels for size in self.sizes]
        elif kind == "kernel":
            dims = [(o, i, *window) for o in self.channels for i in self.inner for window in self.windows]
        else:
            axes = {"vector": [self.channels], "matrix": [self.matrix] * 2, "scalar": [], "tensor": self.tensor}[kind]
            dims = list(itertools.product(*axes))
        return [Shape(d) for d in dims]

    def constant_shapes(self, constant: Term) -> list[Shape]:
        """Return shapes that a constant might take."""
        window = constant.param("kernel")
        if isinstance(window, tuple):
            outputs = sorted({*self.channels, *self.inner})
            return [Shape((c, i, *window)) for c in outputs for i in sorted({1, c})]
        if constant.operator == "Imatmul":
            return [Shape((n, n)) for n in self.matrix]
        return [
            shape for kind in ("tensor", "matrix", "image", "kernel", "vector", "scalar") for shape in self.shapes(kind)
        ]

    def choices(self) -> dict[str, list[Shape]]:
        """Return the shapes of each leaf of the roots."""
        return {
            leaf_name(leaf): self.shapes(leaf.kind) if leaf.is_variable else self.constant_shapes(leaf)
            for leaf in leaves(*self._roots)
        }


def _windowed(size: Size, node: Term, window: Hashable) -> Size | None:
    """Return the size of an image of this size after a convolution or pool, None where no window fits."""
    params: Mapping[str, object] = {"dilations": (1, 1), "strides": (1, 1), **dict(node.params)}
    try:
        strides, padding, dilations = params["strides"], params["padding"], params["dilations"]
        image = Shape((1, 1, *size))
        return shapes.window_count(image, window, strides, padding, dilations)  # type: ignore[arg-type]
    except ShapeError:
        return None
