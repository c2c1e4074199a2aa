"""Winograd's convolution: fewer multiplications, after transforms by small constant matrices.

Paper: Ansor §4.1

With outputs in tiles of m x m and kernels 3 x 3, each tile of (m + 2) x (m + 2) inputs becomes V = Bᵀ d B, each kernel
U = G g Gᵀ (`transform_weights`, once), and the tile of outputs is Aᵀ (Σ_ci U · V) A. The sum over channels is a batch
of matrix products; the two transforms read constant matrices, which the hint `SIMPLIFY_CONST_INDICES` makes vanish.

This is the published code's declaration, whose sketches are counted. Graphs declare the transforms one axis after the
other (`definitions.winograd`), which takes half the operations and stays in registers.

Matrices: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansor_mini.sketch_hints import SIMPLIFY_CONST_INDICES
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_sum
from runtime.expr import Const, Expr, equal, select
from runtime.graph_operators.winograd import KERNEL, MATRICES, transform_weights

__all__ = ["transform_weights", "winograd"]

Matrix = Sequence[Sequence[float]]


def constant(matrix: Matrix, name: str) -> Tensor:
    """A matrix as a tensor that reads nothing: element by element, chosen by the indices."""

    def body(i: Expr, j: Expr) -> Expr:
        value: Expr = Const(0.0, "float32")
        for row, numbers in enumerate(matrix):
            for column, number in enumerate(numbers):
                if number:
                    value = select(equal(i, row) & equal(j, column), Const(float(number), "float32"), value)
        return value

    return compute((len(matrix), len(matrix[0])), body, name)


def winograd(batch: int, h: int, w: int, ci: int, co: int, padding: int, tile: int) -> Tensor:
    """Convolution 3 x 3 of stride 1, channels last, with weights W[tile + 2, tile + 2, ci, co] already transformed.

    Raises: ValueError: no matrices for this tile size.
    """
    if tile not in MATRICES:
        raise ValueError(f"tile: expected one of {sorted(MATRICES)}, got {tile}")
    size = tile + KERNEL - 1
    rows, columns = (extent + 2 * padding - KERNEL + 1 for extent in (h, w))
    tiles_h, tiles_w = -(-rows // tile), -(-columns // tile)
    tiles = batch * tiles_h * tiles_w
    x = placeholder((batch, h, w, ci), "X")

    def pad_body(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        inside = (i >= padding) & (i < h + padding) & (j >= padding) & (j < w + padding)
        return select(inside, x[n, i - padding, j - padding, c], 0.0)

    shape = (batch, tiles_h * tile + KERNEL - 1, tiles_w * tile + KERNEL - 1, ci)
    pad = compute(shape, pad_body, "pad", axes=("n", "h", "w", "c"))
    input_tile = compute(
        (size, size, tiles, ci),
        lambda e, v, p, c: pad[p // (tiles_h * tiles_w), p // tiles_w % tiles_h * tile + e, p % tiles_w * tile + v, c],
        "input_tile",
        axes=("e", "v", "p", "c"),
    )
    data = _both_sides(MATRICES[tile][0], "B", input_tile, "data_pack", ("e", "v"))  # V = Bᵀ d B
    back = _both_sides(MATRICES[tile][1], "A", _products(data, co), "inverse", ("i", "j"))  # Aᵀ M A
    return compute(
        (batch, rows, columns, co),
        lambda n, i, j, c: back[i % tile, j % tile, (n * tiles_h + i // tile) * tiles_w + j // tile, c],
        "conv",
        axes=("n", "h", "w", "c"),
    )


def _products(v: Tensor, co: int) -> Tensor:
    """M[e, v, p, co] = Σ_ci V[e, v, p, ci] · W[e, v, ci, co]."""
    size, _, tiles, ci = v.shape
    weight, rc = placeholder((size, size, ci, co), "W"), reduce_axis(ci, "ci")
    return compute(
        (size, size, tiles, co),
        lambda e, u, p, c: reduce_sum(v[e, u, p, rc] * weight[e, u, rc, c], rc),
        "bgemm",
        axes=("e", "v", "p", "c"),
    )


def _both_sides(matrix: Matrix, name: str, x: Tensor, result: str, axes: tuple[str, str]) -> Tensor:
    """Y[i, j, p, c] = Σ_ab M[i, a] · X[a, b, p, c] · M[j, b], that is M · X · Mᵀ of every tile and channel."""
    m = constant(matrix, name)
    ra, rb = reduce_axis(x.shape[0], "ra"), reduce_axis(x.shape[1], "rb")
    return compute(
        (len(matrix), len(matrix), *x.shape[2:]),
        lambda i, j, p, c: reduce_sum(x[ra, rb, p, c] * m[i, ra] * m[j, rb], (ra, rb)),
        result,
        axes=(*axes, "p", "c"),
        attributes={SIMPLIFY_CONST_INDICES: (*axes, "ra", "rb")},
    )
