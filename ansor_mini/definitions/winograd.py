"""Tensor expressions of Winograd's transforms as graph operators; the products between them are a `matmul`.

Each transform is two one-dimensional ones, whose rows of constants are written out as sums without their zeros:

    rows[0, v] = 4 * d[0, v] - 5 * d[2, v] + d[4, v]
    rows[1, v] = -4 * d[1, v] - 4 * d[2, v] + d[3, v] + d[4, v], and so on

With e and v unrolled (`SIMPLIFY_CONST_INDICES`) one case of each is left: sums of 264 terms in all for a tile of 6 x 6
inputs, where the sum over both axes at once of `ansor_mini.winograd` takes 484.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ansor_mini.definitions.base import Definition, pad_constant
from ansor_mini.sketch_hints import SIMPLIFY_CONST_INDICES
from ansor_mini.tensor_expression import Tensor, compute
from runtime.expr import Const, Expr, equal, select
from runtime.graph import Node, TensorType
from runtime.graph_operators.winograd import KERNEL, MATRICES, Matrix, tiles, window_positions

_IMAGE, _VOLUME = ("n", "h", "w", "c"), ("n", "d", "h", "w", "c")


def row_of(matrix: Matrix, row: Expr, element: Callable[[int], Expr]) -> Expr:
    """Σ_k matrix[row, k] · element(k), a case for each row.

    >>> from runtime.expr import Var
    >>> from ansor_mini.tensor_expression import placeholder
    >>> x = placeholder((3,), "X")
    >>> print(row_of(((1, 0, -1), (0, 2, 1)), Var("i"), lambda k: x[k]))
    select(i == 0, X[0] - X[2], X[1] * 2.0 + X[2])
    """
    *others, last = [_weighted_sum(numbers, element) for numbers in matrix]
    result = last
    for number, value in reversed(list(enumerate(others))):
        result = select(equal(row, number), value, result)
    return result


def _weighted_sum(numbers: Sequence[float], element: Callable[[int], Expr]) -> Expr:
    total: Expr | None = None
    for k, number in enumerate(numbers):
        if total is not None and number == -1:
            total = total - element(k)
        elif number:
            term = element(k) if number == 1 else element(k) * Const(float(number), "float32")
            total = term if total is None else total + term
    return Const(0.0, "float32") if total is None else total


def _input(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, tile, padding, name = tensors[0], node["tile"], node["padding"], node.outputs[0]
    size, matrix, channels = tile + KERNEL - 1, MATRICES[tile][0], x.shape[-1]
    *slices, rows_out, columns_out = window_positions(x.shape, padding)
    down, across = tiles((rows_out, columns_out), tile)
    axes = _VOLUME if slices else _IMAGE
    dimensions = len(padding) // 2
    before, behind = [0, *padding[:dimensions], 0], [0, *padding[dimensions:], 0]
    # The last tiles may reach beyond the image.
    for d, count in ((-3, down), (-2, across)):
        behind[d] = max(0, count * tile + KERNEL - 1 - x.shape[d] - before[d])
    padded = pad_constant(x, before, behind, 0.0, f"{name}_pad", axes) if any((*before, *behind)) else x

    def row(e: Expr, v: Expr, p: Expr, c: Expr) -> Expr:
        image, first, second = p // (down * across), p // across % down * tile, p % across * tile + v
        place = [image // slices[0], image % slices[0] + c // channels] if slices else [image]
        channel = c % channels if slices else c
        return row_of(matrix, e, lambda i: padded[(*place, first + i, second, channel)])

    shape, names, hint = (size, size, *result.shape[2:]), ("e", "v", "p", "c"), {SIMPLIFY_CONST_INDICES: ("e", "v")}
    rows = compute(shape, row, f"{name}_rows", axes=names, attributes=hint)

    def both(e: Expr, v: Expr, p: Expr, c: Expr) -> Expr:
        return row_of(matrix, v, lambda j: rows[e, j, p, c])

    return compute(shape, both, name, axes=names, attributes=hint)


def _output(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    m, tile, name = tensors[0], node["tile"], node.outputs[0]
    *outer, height, width, channels = result.shape
    matrix, (down, across) = MATRICES[tile][1], tiles((height, width), tile)
    names, hint = ("n", "y", "x", "c"), {SIMPLIFY_CONST_INDICES: ("i", "j")}
    shape = (math.prod(outer), down, across, channels)
    rows = compute(
        (tile, m.shape[1], *shape),
        lambda i, v, n, y, x, c: row_of(matrix, i, lambda a: m[a, v, (n * down + y) * across + x, c]),
        f"{name}_rows",
        axes=("i", "j", *names),
        attributes=hint,
    )
    back = compute(
        (tile, tile, *shape),
        lambda i, j, n, y, x, c: row_of(matrix, j, lambda a: rows[i, a, n, y, x, c]),
        f"{name}_inverse",
        axes=("i", "j", *names),
        attributes=hint,
    )

    def pixel(*place: Expr) -> Expr:
        *first, h, w, c = place
        image = first[0] * outer[1] + first[1] if len(outer) == 2 else first[0]
        return back[h % tile, w % tile, image, h // tile, w // tile, c]

    return compute(result.shape, pixel, name, axes=_VOLUME if len(outer) == 2 else _IMAGE)


WINOGRAD: dict[str, Definition] = {"winograd_input": _input, "winograd_output": _output}
