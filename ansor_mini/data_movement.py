"""Concat and split as loop nests: operators that only move data, so there is nothing to search.

Both see their tensors as matrices (everything before the axis × the axis and everything behind it) and copy rows. The
buffers of a nest have those matrix shapes: the memory is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.expr import Buffer, Const, Var
from runtime.loop_nest import PARALLEL, SERIAL, VECTORIZE, For, LoopNest, Store, block

Shape = tuple[int, ...]


def _as_matrix(shape: Shape, axis: int) -> tuple[int, int]:
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def concat_nest(shapes: Sequence[Shape], axis: int, dtype: str, name: str, threads: int = 1) -> LoopNest:
    """Join tensors along an axis.

    >>> print(concat_nest([(2, 3), (2, 4)], 1, "float32", "join"))
    def join(x0: float32[2, 3], x1: float32[2, 4]) -> (y: float32[2, 7]):
        for row in range(2):
            for c0 in vectorize(3):
                y[row, c0] = x0[row, c0]
            for c1 in vectorize(4):
                y[row, 3 + c1] = x1[row, c1]
    """
    matrices = [_as_matrix(shape, axis) for shape in shapes]
    rows, widths = matrices[0][0], [width for _, width in matrices]
    sources = tuple(Buffer(f"x{i}", matrix, dtype) for i, matrix in enumerate(matrices))
    joined = Buffer("y", (rows, sum(widths)), dtype)
    row = Var("row")
    copies, start = [], 0
    for i, (source, width) in enumerate(zip(sources, widths, strict=True)):
        column = Var(f"c{i}")
        target = Const(start) + column if start else column
        copies.append(For(column, width, VECTORIZE, Store(joined, (row, target), source[row, column])))
        start += width
    kind = PARALLEL if threads > 1 and rows > 1 else SERIAL
    return LoopNest(name, sources, (joined,), For(row, rows, kind, block(*copies)))


def split_nest(shape: Shape, sizes: Sequence[int], axis: int, dtype: str, name: str, threads: int = 1) -> LoopNest:
    """Cut a tensor into consecutive parts along an axis; the inverse of `concat_nest`."""
    rows, width = _as_matrix(shape, axis)
    inner = math.prod(shape[axis + 1 :])
    source = Buffer("x", (rows, width), dtype)
    parts = tuple(Buffer(f"y{i}", (rows, size * inner), dtype) for i, size in enumerate(sizes))
    row = Var("row")
    copies, start = [], 0
    for i, part in enumerate(parts):
        column = Var(f"c{i}")
        origin = Const(start) + column if start else column
        copies.append(For(column, part.shape[1], VECTORIZE, Store(part, (row, column), source[row, origin])))
        start += part.shape[1]
    kind = PARALLEL if threads > 1 and rows > 1 else SERIAL
    return LoopNest(name, (source,), parts, For(row, rows, kind, block(*copies)))
