"""Shapes with split trees, and the shape rule of each operator.

Paper: TASO §2.1. Every axis of a tensor remembers the concatenations that made it, as a binary tree of lengths; a split
undoes the last one, which is why a split's only parameter is its axis. An axis that was never concatenated has no tree
and cannot be split.

>>> whole = concat_shape(Shape((2, 3)), Shape((2, 5)), axis=1)
>>> whole.dims, whole.trees[1]
((2, 8), (3, None, None))
>>> split_shape(whole, axis=1, half=1).dims
(2, 5)
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Union

Tree = Union[tuple[Any, ...], None]  # (length of the left part, tree of the left part, tree of the right part)


class ShapeError(ValueError):
    """An operator was given tensors or parameters that it is not defined for."""


@dataclass(frozen=True)
class Shape:
    """The lengths of a tensor's axes and their split trees (None: never concatenated)."""

    dims: tuple[int, ...]
    trees: tuple[Tree, ...] = ()

    def __post_init__(self) -> None:
        """Give every axis a tree."""
        if not self.trees:
            object.__setattr__(self, "trees", (None,) * len(self.dims))


def need(condition: bool, reason: str) -> None:
    """Raise ShapeError with the reason unless the condition holds."""
    if not condition:
        raise ShapeError(reason)


def _rank(shape: Shape, rank: int, what: str) -> None:
    if len(shape.dims) != rank:
        raise ShapeError(f"{what} must have {rank} axes, not {len(shape.dims)}")


def _common(a: Tree, b: Tree) -> Tree:
    return a if a == b else None


def same_shape(x: Shape, y: Shape) -> Shape:
    """Shape of an elementwise operator on two tensors: no broadcasting; a tree survives when both agree on it."""
    if x.dims != y.dims:
        raise ShapeError(f"elementwise operands differ: {x.dims} and {y.dims}")
    return x if x.trees == y.trees else Shape(x.dims, tuple(map(_common, x.trees, y.trees)))


def scalar_shape(x: Shape, c: Shape) -> Shape:
    """Shape of a tensor times a scalar."""
    _rank(c, 0, "the scalar")
    return x


def matmul_shape(x: Shape, y: Shape) -> Shape:
    """Shape of a 2-D matrix product."""
    _rank(x, 2, "the left matrix")
    _rank(y, 2, "the right matrix")
    if x.dims[1] != y.dims[0]:
        raise ShapeError(f"inner lengths differ: {x.dims} and {y.dims}")
    return Shape((x.dims[0], y.dims[1]), (x.trees[0], y.trees[1]))


def transpose_shape(x: Shape, perm: tuple[int, ...]) -> Shape:
    """Shape of a tensor with permuted axes."""
    need(sorted(perm) == list(range(len(x.dims))), f"perm {perm} does not fit {len(x.dims)} axes")
    return Shape(tuple(x.dims[i] for i in perm), tuple(x.trees[i] for i in perm))


def concat_shape(x: Shape, y: Shape, axis: int) -> Shape:
    """Shape of two tensors side by side along an axis."""
    left, right = x.dims, y.dims
    if len(left) != len(right) or not 0 <= axis < len(left):
        raise ShapeError(f"cannot concatenate {left} and {right} on {axis}")
    after = axis + 1
    if left[:axis] != right[:axis] or left[after:] != right[after:]:
        raise ShapeError(f"other axes than {axis} differ: {left} and {right}")
    trees = list(x.trees if x.trees == y.trees else map(_common, x.trees, y.trees))
    trees[axis] = (left[axis], x.trees[axis], y.trees[axis])
    return Shape((*left[:axis], left[axis] + right[axis], *left[after:]), tuple(trees))


def split_shape(x: Shape, axis: int, half: int) -> Shape:
    """Shape of the left (0) or right (1) half of what the last concatenation on the axis joined."""
    need(0 <= axis < len(x.dims), f"no axis {axis} in {x.dims}")
    tree = x.trees[axis]
    if tree is None:
        raise ShapeError(f"axis {axis} of {x.dims} is not a concatenation")
    length = tree[0] if half == 0 else x.dims[axis] - tree[0]
    part: Tree = tree[1 + half]
    return Shape((*x.dims[:axis], length, *x.dims[axis + 1 :]), (*x.trees[:axis], part, *x.trees[axis + 1 :]))


def pads(padding: Hashable, window: tuple[int, int], dilations: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) for a padding: that tuple itself, or `same`.

    `same` is symmetric, dilation * (window - 1) / 2 on each side, and asks for an odd window: the only convention for
    which a window may be enlarged at any stride and image size.
    """
    if isinstance(padding, tuple):
        return padding[0], padding[1], padding[2], padding[3]
    if padding != "same":
        raise ShapeError(f"unknown padding {padding!r}")
    if not window[0] % 2 or not window[1] % 2:
        raise ShapeError(f"same padding needs an odd window, not {window}")
    top, left = dilations[0] * (window[0] // 2), dilations[1] * (window[1] // 2)
    return top, left, top, left


def window_count(
    x: Shape, window: tuple[int, int], strides: tuple[int, int], padding: Hashable, dilations: tuple[int, int]
) -> tuple[int, int]:
    """Return how many windows fit vertically and horizontally; at least one of each must."""
    top, left, bottom, right = pads(padding, window, dilations)
    rows = (x.dims[2] + top + bottom - dilations[0] * (window[0] - 1) - 1) // strides[0] + 1
    columns = (x.dims[3] + left + right - dilations[1] * (window[1] - 1) - 1) // strides[1] + 1
    if rows < 1 or columns < 1:
        raise ShapeError(f"window {window} does not fit in {x.dims}")
    return rows, columns


def groups(x: Shape, w: Shape) -> int:
    """Return the number of groups of a convolution: channels of the image / input channels of the kernel."""
    if x.dims[1] % w.dims[1]:
        raise ShapeError(f"{x.dims[1]} channels are no multiple of the kernel's {w.dims[1]}")
    count = x.dims[1] // w.dims[1]
    if w.dims[0] % count:
        raise ShapeError(f"{w.dims[0]} output channels do not divide into {count} groups")
    return count


def conv_shape(
    x: Shape, w: Shape, strides: tuple[int, int], padding: Hashable, dilations: tuple[int, int], activation: str
) -> Shape:
    """Shape of a (grouped) convolution, NCHW by OIHW."""
    _rank(x, 4, "the image")
    _rank(w, 4, "the kernel")
    groups(x, w)
    rows, columns = window_count(x, (w.dims[2], w.dims[3]), strides, padding, dilations)
    return Shape((x.dims[0], w.dims[0], rows, columns), (x.trees[0], w.trees[0], None, None))


def channel_shape(x: Shape, v: Shape) -> Shape:
    """Shape of an image with a vector applied along its channels."""
    _rank(x, 4, "the image")
    _rank(v, 1, "the vector")
    if x.dims[1] != v.dims[0]:
        raise ShapeError(f"{x.dims[1]} channels but a vector of {v.dims[0]}")
    return Shape(x.dims, (x.trees[0], _common(x.trees[1], v.trees[0]), x.trees[2], x.trees[3]))


def conv_bias_shape(
    x: Shape,
    w: Shape,
    v: Shape,
    strides: tuple[int, int],
    padding: Hashable,
    dilations: tuple[int, int],
    activation: str,
) -> Shape:
    """Shape of a convolution with a bias per output channel."""
    return channel_shape(conv_shape(x, w, strides, padding, dilations, activation), v)


def scale_kernel_shape(w: Shape, v: Shape) -> Shape:
    """Shape of a kernel whose output channels are scaled."""
    _rank(w, 4, "the kernel")
    _rank(v, 1, "the vector")
    need(w.dims[0] == v.dims[0], f"{w.dims[0]} output channels but a vector of {v.dims[0]}")
    return Shape(w.dims, (_common(w.trees[0], v.trees[0]), *w.trees[1:]))


def enlarge_shape(w: Shape, kernel: tuple[int, int]) -> Shape:
    """Shape of a kernel padded with zeros to a window; along an axis where it is as large already, it stays."""
    _rank(w, 4, "the kernel")
    window = (max(w.dims[2], kernel[0]), max(w.dims[3], kernel[1]))
    return Shape(w.dims[:2] + window, (w.trees[0], w.trees[1], None, None))


def enlarge_like_shape(w: Shape, like: Shape) -> Shape:
    """Shape of a kernel padded with zeros to the window of another; both odd, the other one at least as large."""
    _rank(w, 4, "the kernel")
    _rank(like, 4, "the kernel to be like")
    for old, new in zip(w.dims[2:], like.dims[2:], strict=True):
        need(old <= new and old % 2 == 1 and new % 2 == 1, f"cannot enlarge window {w.dims[2:]} to {like.dims[2:]}")
    return Shape(w.dims[:2] + like.dims[2:], (w.trees[0], w.trees[1], None, None))


def pool_kernel_shape(given: Shape, kernel: tuple[int, int]) -> Shape:
    """Shape of Cpool, the kernel of a depthwise convolution that computes an average pool: (C, 1, KH, KW)."""
    _rank(given, 4, "Cpool")
    need(
        given.dims[1:] == (1, *kernel),
        f"Cpool of window {kernel} must be (C, 1, {kernel[0]}, {kernel[1]}), not {given.dims}",
    )
    return given


def identity_kernel_shape(given: Shape, kernel: tuple[int, int]) -> Shape:
    """Shape of Iconv, the kernel that convolves to the same image: depthwise (C, 1, KH, KW) or dense (C, C, KH, KW)."""
    _rank(given, 4, "Iconv")
    need(kernel[0] % 2 == 1 and kernel[1] % 2 == 1, f"Iconv needs an odd window, not {kernel}")
    need(
        given.dims[2:] == tuple(kernel) and given.dims[1] in (1, given.dims[0]),
        f"Iconv of window {kernel} must be (C, 1, {kernel[0]}, {kernel[1]}) or (C, C, {kernel[0]}, {kernel[1]}), "
        f"not {given.dims}",
    )
    return given


def identity_matrix_shape(given: Shape) -> Shape:
    """Shape of Imatmul: a square matrix."""
    _rank(given, 2, "Imatmul")
    need(given.dims[0] == given.dims[1], f"Imatmul must be square, not {given.dims}")
    return given


def pool_shape(x: Shape, kernel: tuple[int, int], strides: tuple[int, int], padding: Hashable) -> Shape:
    """Shape of a pooled image; no window may lie in the padding alone."""
    _rank(x, 4, "the image")
    top, left, bottom, right = pads(padding, kernel, (1, 1))
    if max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:
        raise ShapeError(f"padding {padding} hides window {kernel}")
    rows, columns = window_count(x, kernel, strides, padding, (1, 1))
    return Shape((x.dims[0], x.dims[1], rows, columns), (x.trees[0], x.trees[1], None, None))
