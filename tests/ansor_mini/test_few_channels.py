"""Lanes over the reduction, for outputs with few channels."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.few_channels import LANES_OVER_REDUCTION
from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
from ansor_mini.local_measurer import case_of
from ansor_mini.schedule_examples import matmul
from ansor_mini.sketch import derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.workloads import WORKLOADS
from runtime.emit_c import prepare
from runtime.machine import detect
from runtime.passes.direct_stores import store_directly
from tests.strategies.programs import SMALL_MACHINE, check_nest, random_nests

RULES = (RESIDUE_CLASSES, LANES_OVER_REDUCTION, *CPU_RULES)
DAGS = [
    matmul(9, 2, 12),
    matmul(16, 2, 8),
    WORKLOADS["T2D"].dag(3, 8, 8, 2, 4, 2, 1),
    WORKLOADS["C2D"].dag(4, 9, 4, 1, 3, 1, 1),
]


@pytest.mark.parametrize("dag", DAGS)
def test_every_sketch_computes_what_was_declared(dag: ComputeDAG) -> None:
    case = case_of(dag, np.random.default_rng(0))
    found = [s for s in derive(dag, RULES, SMALL_MACHINE) if any(r.startswith("lanes-over") for r in s.rules)]
    nests = list(random_nests(found, 2))
    assert found and nests
    for nest in nests:
        check_nest(prepare(nest, vector_bytes=16), case)


def test_only_few_channels_and_long_reductions_qualify() -> None:
    for dag in (matmul(16, 4, 64), matmul(16, 2, 6), WORKLOADS["DEP"].dag(8, 8, 1, 3, 1, 1)):
        plain = derive(dag, CPU_RULES, SMALL_MACHINE)
        assert [s.key for s in derive(dag, (LANES_OVER_REDUCTION, *CPU_RULES), SMALL_MACHINE)] == [s.key for s in plain]


def test_threads_get_rows_with_all_residue_classes() -> None:
    dag, machine = WORKLOADS["T2D"].dag(4, 8, 16, 3, 4, 2, 1), detect(vector_bytes=64)
    (sketch, *_) = (s for s in derive(dag, RULES, machine) if "lanes-over-reduction-8" in s.rules)
    alone = {hole.name: 0 for hole in sketch.holes}
    loops = sketch.program(alone).schedule()["conv.classes"].names()
    assert loops[:5] == ("n", "h", "h_class", "w_class", "w.0")
    shared = store_directly(sketch.program({**alone, "conv.classes.parallel": 2}).lower())
    assert "parallel(4)" in str(shared) and "as conv_classes:" not in str(shared)
