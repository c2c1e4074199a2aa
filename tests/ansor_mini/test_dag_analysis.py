"""The predicates of the sketch rules on the shapes that the paper talks about."""

from __future__ import annotations

import pytest

from ansor_mini import dag_analysis as facts
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule_examples import matmul
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_max, reduce_sum
from runtime.expr import call, maximum, select


def chain() -> ComputeDAG:
    """Padding, a convolution along one axis, bias, relu."""
    x, w, b = placeholder((1, 16, 8), "X"), placeholder((3, 8, 32), "W"), placeholder((32,), "bias")
    pad = compute((1, 18, 8), lambda n, w, c: select((w >= 1) & (w < 17), x[n, w - 1, c], 0.0), "pad")
    taps, ci = reduce_axis(3, "taps"), reduce_axis(8, "ci")
    conv = compute((1, 16, 32), lambda n, w_, c: reduce_sum(pad[n, w_ + taps, ci] * w[taps, ci, c], (taps, ci)), "conv")
    add = compute((1, 16, 32), lambda n, w, c: conv[n, w, c] + b[c], "add")
    return ComputeDAG([compute((1, 16, 32), lambda n, w, c: maximum(add[n, w, c], 0.0), "relu")])


def softmax(rows: int = 4, columns: int = 64) -> ComputeDAG:
    x, k, m = placeholder((rows, columns), "X"), reduce_axis(columns, "k"), reduce_axis(columns, "m")
    top = compute((rows,), lambda i: reduce_max(x[i, m], m), "top")
    exp = compute((rows, columns), lambda i, j: call("exp", x[i, j] - top[i]), "exp")
    total = compute((rows,), lambda i: reduce_sum(exp[i, k], k), "total")
    return ComputeDAG([compute((rows, columns), lambda i, j: exp[i, j] / total[i], "softmax")])


def test_only_plain_stages_are_strictly_inlineable():
    dag = chain()
    inlineable = [op.name for op in dag.ops if facts.is_strictly_inlineable(dag, op.name)]
    assert inlineable == ["add", "relu"]
    dag = softmax()
    assert [op.name for op in dag.ops if facts.is_strictly_inlineable(dag, op.name)] == ["softmax"]


def test_transposed_read_is_not_strictly_inlineable():
    dag = matmul(4, 5, 6, transposed=True)
    assert not facts.is_strictly_inlineable(dag, "T")


def test_products_need_tiling_and_poolings_do_not():
    dag = chain()
    assert [op.name for op in dag.ops if facts.needs_multi_level_tiling(dag, op.name)] == ["conv"]
    dag = softmax()
    assert not any(facts.needs_multi_level_tiling(dag, op.name) for op in dag.ops)


def test_consumer_is_found_through_inlined_stages():
    dag = chain()
    assert facts.fusible_consumer(dag, "conv") == "relu"
    assert facts.fusible_consumer(dag, "pad") is None
    assert facts.fusible_consumer(dag, "relu") is None
    assert not facts.has_fusible_consumer(matmul(4, 4, 4), "C")


@pytest.mark.parametrize(
    ("shape", "expected"), [((512, 512, 512), False), ((8, 8, 512), True), ((16, 16, 16), False), ((64, 1, 64), True)]
)
def test_small_output_with_a_long_reduction_wants_partial_sums(shape, expected):
    assert facts.has_more_reduction_parallel(matmul(*shape), "C", cores=4) is expected


def test_reduction_without_reuse_wants_partial_sums_when_longer_than_the_cores():
    dag = softmax(4, 64)
    assert facts.has_more_reduction_parallel(dag, "total", cores=4)
    assert not facts.has_more_reduction_parallel(dag, "total", cores=64)
    assert not facts.has_more_reduction_parallel(dag, "exp", cores=4)


def test_common_outer_axes_stop_where_the_reads_leave_their_place():
    dag = chain()
    assert facts.common_outer_axes(dag, "conv", "add") == 3
    assert facts.common_outer_axes(dag, "pad", "conv") == 1
    assert facts.common_outer_axes(softmax(), "total", "softmax") == 1
