"""The operator benchmark: its cases, the operations that count, and peers that compute the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ansor_mini.record import OK, Record
from ansor_mini.workloads import WORKLOADS
from tests.benchmarks.operator_cases import CASES, FAMILIES, Case
from tests.benchmarks.operator_peers import LIBRARIES, PROBLEMS, peers_of
from tests.benchmarks.operator_worker import finalists

SMALL = {
    "matmul": (5, 7, 6),
    "C1D": (11, 3, 4, 3, 2, 1),
    "C2D": (7, 9, 3, 4, 3, 2, 1),
    "C3D": (4, 5, 6, 3, 4, 3, 1, 1),
    "GRP": (7, 7, 8, 12, 3, 2, 1),
    "DIL": (9, 9, 3, 4, 3, 1, 1),
    "DEP": (7, 9, 6, 3, 2, 1),
    "T2D": (4, 5, 6, 3, 4, 2, 1),
    "CAP": (6, 5, 3, 2, 3, 2, 1),
    "NRM": (9, 7),
}


def test_ten_operators_with_four_shapes():
    assert len(CASES) == 40 and set(FAMILIES) == set(PROBLEMS) == set(SMALL)
    assert all(case.text.startswith(case.family) for case in CASES)


@pytest.mark.parametrize("family", [family for family in SMALL if "kernel" in WORKLOADS[family].fields])
def test_operations_on_padding_do_not_count(family):
    case = Case(family, SMALL[family])
    dag = WORKLOADS[family].dag(*case.numbers)
    ones = [np.ones(tensor.shape, tensor.dtype) for tensor in dag.inputs]
    (sums,) = dag.evaluate(*ones)  # each product inside is 1, each on padding or between the inputs 0
    points = dag.outputs[0].reduce_axes
    share = sums.sum() / (sums.size * math.prod(axis.extent for axis in points))
    assert case.executed(dag) / dag.flops == pytest.approx(share)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("family", SMALL)
def test_peers_compute_the_workload(family, library):
    pytest.importorskip(library)
    dag = WORKLOADS[family].dag(*SMALL[family])
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in dag.inputs]
    (expected,) = dag.evaluate(*arrays)
    peers = peers_of(library, family, SMALL[family], arrays, 1)
    assert peers or library == "numpy"
    for peer in peers:
        peer.run()
        np.testing.assert_allclose(peer.result(), expected, rtol=1e-5, err_msg=peer.name)


def test_a_family_without_peers():
    with pytest.raises(ValueError, match="no peers for 'softmax'"):
        peers_of("numpy", "softmax", (4, 4), [], 1)
    with pytest.raises(ValueError, match="no library 'tvm'"):
        peers_of("tvm", "NRM", (4, 4), [], 1)


def test_finalists_are_different_programs_of_every_number_of_threads():
    case = CASES[0]

    def record(program: int, seconds: float, threads: int = 1, kind: str = OK, task: str = case.text) -> Record:
        annotation = {"tile": program}
        return Record(task, ("step",), annotation, kind, (seconds,), threads=threads)

    records = [
        record(0, 3.0), record(0, 1.0), record(1, 2.0), record(2, 4.0), record(3, 0.5, kind="wrong_answer"),
        record(4, 0.1, task="another"), record(5, 1.5, threads=2), record(5, 1.2, threads=2),
    ]  # fmt: skip
    alone = finalists(records, case, 1, 2)
    assert [(r.annotation["tile"], r.cost) for r in alone] == [(0, 1.0), (1, 2.0)]
    both = finalists(records, case, 2, 4)
    assert [(r.threads, r.annotation["tile"], r.cost) for r in both] == [(1, 0, 1.0), (1, 1, 2.0), (2, 5, 1.2)]
