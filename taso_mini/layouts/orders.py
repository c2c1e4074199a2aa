"""What a layout is: the order in which a tensor's dimensions stand in memory.

Paper: TASO §5. `order[i]` is the dimension at place i, outermost first: (0, 1) is row-major and (1, 0) column-major,
(0, 1, 2, 3) is NCHW and (0, 2, 3, 1) NHWC. A tensor stored in an order is a plain tensor of another shape, its
transpose; so a transpose, and many a reshape, only gives another name to memory that is there already. Such an operator
is a *view*: `through_transpose` and `through_reshape` tell in which order its result is stored when nothing moves.

Dimensions of extent 1 may stand anywhere, and `canonical` puts them all where a comparison expects them.

>>> stored((8, 3, 224, 224), NHWC)
(8, 224, 224, 3)
>>> through_transpose((1, 0), (0, 1))  # the transpose of a row-major matrix is stored column by column
(1, 0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Order = tuple[int, ...]
Shape = tuple[int, ...]

NHWC: Order = (0, 2, 3, 1)
KERNEL: Order = (2, 3, 1, 0)


def plain(rank: int) -> Order:
    """Return the order of a tensor that is stored as it is written."""
    return tuple(range(rank))


def stored(shape: Shape, order: Order) -> Shape:
    """Return the shape that a tensor stored in an order has in memory."""
    return tuple(shape[dimension] for dimension in order)


def between(source: Order, target: Order) -> Order:
    """Return the `perm` of the transpose that turns memory in one order into memory in another.

    >>> between(NHWC, plain(4))
    (0, 3, 1, 2)
    """
    return tuple(source.index(dimension) for dimension in target)


def canonical(shape: Shape, order: Order) -> Order:
    """Return the first of the orders that mean the same memory.

    >>> canonical((1, 10, 1, 1), NHWC), canonical((1, 10, 5, 5), NHWC)
    ((0, 1, 2, 3), (0, 2, 3, 1))
    """
    wide = [d for d in order if shape[d] > 1]
    ones = [d for d in range(len(shape)) if shape[d] == 1]
    merged: list[int] = []
    while wide or ones:
        merged.append(ones.pop(0) if ones and (not wide or ones[0] < wide[0]) else wide.pop(0))
    return tuple(merged)


def same_memory(shape: Shape, a: Order, b: Order) -> bool:
    """Whether two orders differ only in where dimensions of extent 1 stand."""
    return a == b or canonical(shape, a) == canonical(shape, b)


def through_transpose(order: Order, perm: Order) -> Order:
    """Return the order in which a transpose's result is stored when its input, stored in `order`, stays where it is.

    >>> through_transpose((0, 2, 1, 3), (0, 2, 1, 3))
    (0, 1, 2, 3)
    """
    return tuple(perm.index(dimension) for dimension in order)


def through_reshape(old: Shape, new: Shape, order: Order) -> Order | None:
    """Return the order in which a reshape's result is stored when nothing moves; None when something must.

    Dimensions that a reshape splits or merges have to stay neighbours; those it leaves alone may stand anywhere.

    >>> through_reshape((1024, 1024), (16, 64, 16, 64), (1, 0))
    (2, 3, 0, 1)
    >>> print(through_reshape((16, 64), (1024,), (1, 0)))
    None
    """
    found: list[int] = []
    wide = tuple(d for d in order if old[d] > 1)
    at = {dimension: block for block in _blocks(old, new) for dimension in block[0]}
    while wide:
        ours, theirs = at[wide[0]]
        if wide[: len(ours)] != ours:
            return None
        found += theirs
        wide = wide[len(ours) :]
    return canonical(new, tuple(found + [d for d in range(len(new)) if d not in found]))


def _blocks(old: Shape, new: Shape) -> list[tuple[Order, Order]]:
    """Return the smallest groups of neighbouring dimensions of both shapes that hold the same elements."""
    blocks: list[tuple[Order, Order]] = []
    ours: list[int] = []
    theirs: list[int] = []
    left, right = (list(d for d, extent in enumerate(shape) if extent > 1) for shape in (old, new))
    while left or right:
        have, want = _extent(old, ours), _extent(new, theirs)
        if left and (have <= want or not right):
            ours.append(left.pop(0))
        else:
            theirs.append(right.pop(0))
        if ours and theirs and _extent(old, ours) == _extent(new, theirs):
            blocks.append((tuple(ours), tuple(theirs)))
            ours, theirs = [], []
    return blocks


def _extent(shape: Shape, dimensions: Sequence[int]) -> int:
    return math.prod(shape[d] for d in dimensions)
