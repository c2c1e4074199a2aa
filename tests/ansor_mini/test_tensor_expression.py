"""Declarations that make sense are read back; those that do not are refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule_examples import matmul
from ansor_mini.tensor_expression import Axis, compute, placeholder, reduce_axis, reduce_max, reduce_sum
from runtime.expr import Buffer, Var, call, cast, maximum, select


def test_axes_are_named_after_the_parameters():
    x = placeholder((2, 3), "X")
    assert [axis.name for axis in compute((2, 3), lambda row, column: x[row, column], "Y").axes] == ["row", "column"]
    assert [axis.name for axis in compute((2, 3), lambda *at: x[at], "Y").axes] == ["i", "j"]
    assert [axis.name for axis in compute((2, 3), lambda *at: x[at], "Y", axes=("n", "c")).axes] == ["n", "c"]


def test_body_holds_plain_variables():
    x, k = placeholder((2, 3), "X"), reduce_axis(3, "k")
    total = compute((2,), lambda i: reduce_sum(x[i, k], k), "total")
    assert total.expression == x[Var("i"), Var("k")]
    assert total.reduce_axes == (Axis("k", "int32", 3),)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda x, k: compute((0,), lambda i: x[i, i], "Y"), "shape of Y"),
        (lambda x, k: compute((2,), lambda i: reduce_sum(x[i, k], k) * 2.0, "Y"), "whole expression"),
        (lambda x, k: compute((2,), lambda i: x[i, k], "Y"), "neither an index"),
        (lambda x, k: compute((2,), lambda k_: reduce_sum(x[k_, k], k), "Y", axes=("k",)), "must differ"),
        (lambda x, k: compute((2, 2), lambda i, j: x[i, j], "Y", axes=("i",)), "expected 2 axis names"),
        (lambda x, k: placeholder((2,), "X", "float8"), "dtype of X"),
        (lambda x, k: reduce_axis(0, "k"), "extent of reduction axis k"),
        (lambda x, k: ComputeDAG([x]), "outputs"),
        (lambda x, k: ComputeDAG([compute((2,), lambda i: Buffer("B", (2,))[i], "Y")]), "is not a tensor"),
        (lambda x, k: ComputeDAG([compute((2,), lambda i: x[i, 0], "X")]), "two tensors are named X"),
    ],
)
def test_nonsense_is_refused(declare, message):
    with pytest.raises(ValueError, match=message):
        declare(placeholder((2, 3), "X"), reduce_axis(3, "k"))


def test_reduction_over_something_else_is_a_type_error():
    with pytest.raises(TypeError, match="reduce_axis"):
        reduce_sum(placeholder((2,), "X")[0], 3)


def test_inputs_come_in_the_order_of_reading_unless_told():
    a, b = placeholder((2,), "A"), placeholder((2,), "B")
    total = compute((2,), lambda i: b[i] + a[i], "T")
    assert [tensor.name for tensor in ComputeDAG([total]).inputs] == ["B", "A"]
    assert [tensor.name for tensor in ComputeDAG([total], inputs=[a, b]).inputs] == ["A", "B"]
    with pytest.raises(ValueError, match="inputs: expected the placeholders"):
        ComputeDAG([total], inputs=[a])


def test_evaluation_is_numpy_and_checks_its_inputs():
    dag = matmul(5, 7, 3, relu=True)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in dag.inputs)
    (result,) = dag.evaluate(a, b)
    assert np.array_equal(result, np.maximum(a @ b, 0))
    with pytest.raises(ValueError, match="expected 2 arrays"):
        dag.evaluate(a)
    with pytest.raises(ValueError, match="input B"):
        dag.evaluate(a, b.T)


def test_reduction_sums_in_order_however_it_is_chunked():
    data = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    x, k = placeholder((3000,), "X"), reduce_axis(3000, "k")
    dag = ComputeDAG([compute((), lambda: reduce_sum(x[k], k), "total")])
    assert dag.evaluate(data)[0] == np.add.accumulate(data)[-1]


def test_load_that_a_select_drops_may_be_out_of_bounds():
    x = placeholder((3,), "X")
    data = np.arange(3, dtype=np.float32)
    padded = compute((5,), lambda i: select((i >= 1) & (i < 4), x[i - 1], 0.0), "P")
    assert ComputeDAG([padded]).evaluate(data)[0].tolist() == [0, 0, 1, 2, 0]
    with pytest.raises(IndexError, match=r"X\[i - 1\] reads index -1"):
        ComputeDAG([compute((3,), lambda i: x[i - 1], "P")]).evaluate(data)


def test_flops_count_element_arithmetic_only():
    assert matmul(4, 5, 6).flops == 2 * 4 * 5 * 6
    assert matmul(4, 5, 6, relu=True).flops == 2 * 4 * 5 * 6 + 20
    x = placeholder((8,), "X")
    padded = compute((4,), lambda i: select(i < 2, x[i * 2 + 1], x[i] + 1.0), "P")
    assert ComputeDAG([padded]).flops == 4
    assert ComputeDAG([compute((4,), lambda i: x[i], "P", attributes={"flops": 99})]).flops == 99


def test_exactness_ends_at_division_and_roots():
    x = placeholder((8,), "X")
    assert ComputeDAG([compute((8,), lambda i: maximum(x[i], 0.0) + cast("float32", i), "Y")]).exact
    assert not ComputeDAG([compute((8,), lambda i: x[i] / 3.0, "Y")]).exact
    assert not ComputeDAG([compute((8,), lambda i: call("exp", x[i]), "Y")]).exact


def test_key_tells_computations_apart_and_survives_rebuilding():
    assert matmul(4, 4, 4).key() == matmul(4, 4, 4).key()
    assert len({matmul(4, 4, 4).key(), matmul(4, 4, 5).key(), matmul(4, 4, 4, relu=True).key()}) == 3


def test_max_starts_from_the_lowest_number():
    x, k = placeholder((3,), "X"), reduce_axis(3, "k")
    dag = ComputeDAG([compute((), lambda: reduce_max(x[k], k), "top")])
    assert dag.evaluate(np.array([-5, -3, -9], dtype=np.float32))[0] == -3
