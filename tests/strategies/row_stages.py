"""Attention's scores and softmax in small, with stages that keep integers integers."""

from __future__ import annotations

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_max, reduce_sum
from runtime.expr import select


def scores_of(heads: int, rows: int, columns: int, depth: int) -> Tensor:
    """A batched matrix product, scores[h, i, j]."""
    a, b, k = placeholder((heads, rows, depth), "A"), placeholder((heads, depth, columns), "B"), reduce_axis(depth, "k")
    shape = (heads, rows, columns)
    return compute(shape, lambda h, i, j: reduce_sum(a[h, i, k] * b[h, k, j], k), "scores", axes=("h", "i", "j"))


def row_stages(heads: int, rows: int, columns: int, depth: int) -> ComputeDAG:
    """Scores, the largest of each row, a ramp instead of powers, their total, and both together."""
    scores = scores_of(heads, rows, columns, depth)
    shape, r, s = scores.shape, reduce_axis(columns, "r"), reduce_axis(columns, "s")
    scaled = compute(shape, lambda h, i, j: scores[h, i, j] * 2.0, "scaled")
    largest = compute(shape[:2], lambda h, i: reduce_max(scaled[h, i, r], r), "largest")

    def ramp_at(h, i, j):
        below = scaled[h, i, j] - largest[h, i]
        return select(below > -9.0, below + 9.0, 0.0)

    ramp = compute(shape, ramp_at, "ramp")
    total = compute(shape[:2], lambda h, i: reduce_sum(ramp[h, i, s], s), "total")
    return ComputeDAG([compute(shape, lambda h, i, j: ramp[h, i, j] * 4.0 - total[h, i], "out")])
