"""Reductions over neighbours, factored into vectors of partial results."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.accumulators import ACCUMULATORS
from ansor_mini.local_measurer import case_of
from ansor_mini.sketch import derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_max, reduce_sum
from ansor_mini.workloads import WORKLOADS
from runtime.emit_c import prepare
from runtime.loop_nest import VECTORIZE, Allocate, For, walk_stmts
from tests.strategies.programs import SMALL_MACHINE, check_nest, random_nests


def matrix_sum(rows: int, columns: int) -> ComputeDAG:
    x, i, j = placeholder((rows, columns), "X"), reduce_axis(rows, "i"), reduce_axis(columns, "j")
    return ComputeDAG([compute((1,), lambda n: reduce_sum(x[i, j] * x[i, j], (i, j)), "S")])


def row_max(rows: int, columns: int) -> ComputeDAG:
    x, j = placeholder((rows, columns), "X"), reduce_axis(columns, "j")
    return ComputeDAG([compute((rows,), lambda n: reduce_max(x[n, j], j), "M")])


@pytest.mark.parametrize("dag", [matrix_sum(8, 64), matrix_sum(3, 18), row_max(3, 16), row_max(5, 37), row_max(2, 64)])
def test_every_sketch_computes_the_reduction(dag: ComputeDAG) -> None:
    case = case_of(dag, np.random.default_rng(0))
    found = derive(dag, (ACCUMULATORS, *CPU_RULES), SMALL_MACHINE)
    assert all(any(rule.startswith("accumulators") for rule in sketch.rules) for sketch in found)
    nests = list(random_nests(found, 4, threads=2))
    assert nests
    for nest in nests:
        check_nest(nest, case)
        check_nest(prepare(nest, vector_bytes=16), case)


def test_accumulators_are_vectors_in_registers() -> None:
    dag = row_max(4, 256)
    (sketch,) = derive(dag, (ACCUMULATORS, *CPU_RULES), SMALL_MACHINE)
    nest = prepare(sample(sketch, np.random.default_rng(0), SMALL_MACHINE).lower(), vector_bytes=16)
    tiles = [stmt.buffer for stmt in walk_stmts(nest.body) if isinstance(stmt, Allocate)]
    assert (4, 4) in [tile.shape[-2:] for tile in tiles if tile.scope == "register"]
    assert [stmt.extent for stmt in walk_stmts(nest.body) if isinstance(stmt, For) and stmt.kind == VECTORIZE]


@pytest.mark.parametrize("workload", ["matmul", "DEP", "C2D"])
def test_other_reductions_are_left_alone(workload: str) -> None:
    dag = WORKLOADS[workload].dag(*WORKLOADS[workload].shapes[-1])
    plain = derive(dag, CPU_RULES)
    assert [s.key for s in derive(dag, (ACCUMULATORS, *CPU_RULES))] == [s.key for s in plain]
