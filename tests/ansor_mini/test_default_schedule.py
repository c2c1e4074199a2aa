"""The default schedule: legal and right for any DAG, with tiles that fit the registers."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from ansor_mini import default_schedule
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import choose_tile, default_steps
from ansor_mini.lowering import lower
from ansor_mini.schedule import replay
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.workloads import parse_workload
from runtime.interpreter import interpret
from runtime.machine import detect
from runtime.verify_nest import verify
from tests.strategies.dags import dags, small_inputs

WIDE, NARROW = detect(vector_bytes=64), detect(vector_bytes=32)


@given(dags(), st.sampled_from([1, 2, 3]), st.booleans(), st.sampled_from([1, default_schedule.PARALLEL_WORK]))
def test_default_schedules_mean_what_the_dag_means(dag: ComputeDAG, threads: int, by_rows: bool, work: int) -> None:
    with patch.object(default_schedule, "PARALLEL_WORK", work):
        nest = lower(replay(dag, default_steps(dag, WIDE, threads, by_rows=by_rows)))
    note(str(nest))
    verify(nest)
    inputs = small_inputs(dag, 0)
    for found, wanted in zip(interpret(nest, *inputs), dag.evaluate(*inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def product(n: int, m: int) -> ComputeDAG:
    a, b, k = placeholder((n, 64), "A"), placeholder((64, m), "B"), reduce_axis(64, "k")
    return ComputeDAG([compute((n, m), lambda i, j: reduce_sum(a[i, k] * b[k, j], k), "C")])


@pytest.mark.parametrize("machine", [WIDE, NARROW], ids=["512-bit", "256-bit"])
@pytest.mark.parametrize(("n", "m"), [(512, 512), (1, 1000), (13, 1000), (7, 24), (109, 64), (3, 3)])
def test_accumulators_fit_the_registers(n: int, m: int, machine) -> None:
    tile = choose_tile(product(n, m), product(n, m)["C"], machine)
    vectors = -(-tile.columns // machine.lanes)
    assert tile.rows <= n and tile.columns <= m
    assert tile.rows * vectors + vectors < (32 if machine.vector_bytes == 64 else 16)
    assert (tile.row_axis is None) == (n == 1)


def test_a_long_product_keeps_the_multiply_add_units_busy() -> None:
    tile = choose_tile(product(512, 512), product(512, 512)["C"], WIDE)
    assert tile.rows * tile.columns // WIDE.lanes >= 12 and tile.columns % WIDE.lanes == 0


@pytest.mark.parametrize("machine", [WIDE, NARROW], ids=["512-bit", "256-bit"])
@pytest.mark.parametrize("text", ["DEP:28,28,192,3,1,1", "DEP:14,14,64,5,2,2"])
def test_a_window_that_slides_along_the_rows_is_unrolled_and_its_weights_fit_beside_the_tile(text: str, machine):
    dag = parse_workload(text)
    tile, taps = choose_tile(dag, dag["conv"], machine), dag["conv"].reduce_axes[-1].extent
    vectors = -(-tile.columns // machine.lanes)
    assert tile.row_axis == "w" and 1 < tile.rows * vectors + taps * vectors < (32 if machine.lanes == 16 else 16)
    assert f"for kw in unroll({taps})" in str(lower(replay(dag, default_steps(dag, machine))))


def test_by_rows_every_thread_has_a_share_of_the_rows_and_all_columns():
    dag = product(100, 200)
    columns, rows = (str(lower(replay(dag, default_steps(dag, WIDE, 2, by_rows=own)))) for own in (False, True))
    assert columns.splitlines()[1].lstrip().startswith("for j0") and "parallel" in columns
    share = rows.splitlines()[1].strip()
    assert share.startswith("for i0 in parallel(2)"), share
    assert default_steps(dag, WIDE, 1, by_rows=True) == default_steps(dag, WIDE, 1)
