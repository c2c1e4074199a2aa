"""The operator and subgraph benchmarks: cases, the operations that count, and peers that compute the same."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from ansor_mini.annotation import sample
from ansor_mini.record import OK, Record
from ansor_mini.sketch import derive
from ansor_mini.workloads import PAPER_OPERATORS, PAPER_SUBGRAPHS, WORKLOADS
from runtime.machine import detect
from tests.benchmarks import operator_worker
from tests.benchmarks.operator_cases import CASES, OPERATORS, SUBGRAPHS, Case, measured_here
from tests.benchmarks.operator_peers import LIBRARIES, Peer, peers_of
from tests.benchmarks.operator_worker import best_kernels, fastest, finalists, inputs_of, our_program
from tests.benchmarks.operators import relative_errors, summary
from tests.benchmarks.peer_problems import PROBLEMS
from tests.benchmarks.tune_operators import chosen
from tests.benchmarks.turns import calm_medians

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
    "ConvLayer": (7, 9, 3, 4, 3, 2, 1),
    "TBS": (5, 3, 4),
}


def test_ten_operators_with_four_shapes():
    assert len(CASES) == 40 and {case.family for case in CASES} == set(PAPER_OPERATORS)
    assert set(PROBLEMS) == set(SMALL) == {*PAPER_OPERATORS, *PAPER_SUBGRAPHS}
    assert all(case.text.startswith(case.family) for case in CASES)


def test_two_subgraphs_with_four_shapes_and_two_batches():
    assert len({case.text for case in SUBGRAPHS.cases}) == 16
    for case in SUBGRAPHS.cases:
        data = [tensor for tensor in case.dag.inputs if tensor.name not in case.constants]
        assert {tensor.shape[0] for tensor in data} == {case.batch}


def test_cases_are_chosen_by_name_and_batch():
    assert [case for case in chosen(OPERATORS, [], []) if case in CASES] == list(CASES)
    assert [case.text for case in chosen(OPERATORS, ["DEP:7", "DEP_NCHW16c:14", "C1D:32"], [])] == [
        "C1D:32,512,512,3,1,1",
        "DEP_NCHW16c:14,14,512,3,2,1",
        "DEP:7,7,1024,3,1,1",
    ]
    assert [case.text for case in chosen(SUBGRAPHS, ["TBS:64", "ConvLayer:7"], [16])] == [
        "ConvLayer:7,7,512,512,3,1,1 batch=16",
        "TBS:64,12,128 batch=16",
    ]
    with pytest.raises(ValueError, match="no case of subgraphs starts with C2D"):
        chosen(SUBGRAPHS, ["C2D"], [])


def test_only_cases_that_were_tuned_with_as_many_threads_are_recorded():
    first, second, *_ = SUBGRAPHS.cases
    records = [
        Record(first.text, (), {}, OK, (1.0,), threads=1),
        Record(second.text, (), {}, "wrong_answer", threads=1),
        Record(second.text, (), {}, OK, (1.0,), threads=2),
    ]
    assert SUBGRAPHS.recorded(records, 1) == [first] and SUBGRAPHS.recorded(records, 2) == [second]


def test_a_summary_says_the_mean_and_the_least(capsys):
    rows = {"a": {"ratio": 1.0, "ratio_at_the_limit": 2.0}, "b": {"ratio": 4.0, "ratio_at_the_limit": 8.0}}
    assert summary(rows) == {"geomean": 2.0, "min": 1.0, "geomean_at_the_limit": 4.0}
    assert "geometric mean 2.0" in capsys.readouterr().out


PADDED = [family for family in SMALL if "kernel" in WORKLOADS[family].fields and family != "ConvLayer"]


@pytest.mark.parametrize("family", PADDED)
def test_operations_on_padding_do_not_count(family):
    case = Case(family, SMALL[family])
    dag = WORKLOADS[family].dag(*case.numbers)
    ones = [np.ones(tensor.shape, tensor.dtype) for tensor in dag.inputs]
    (sums,) = dag.evaluate(*ones)  # each product inside is 1, each on padding or between the inputs 0
    points = dag.outputs[0].reduce_axes
    share = sums.sum() / (sums.size * math.prod(axis.extent for axis in points))
    assert case.executed() / dag.flops == pytest.approx(share)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("family, batch", [*((family, 1) for family in SMALL), ("ConvLayer", 2), ("TBS", 2)])
def test_peers_compute_the_workload(family, batch, library):
    pytest.importorskip(library)
    dag = Case(family, SMALL[family], batch).dag
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in dag.inputs]
    (expected,) = dag.evaluate(*arrays)
    peers = peers_of(library, family, SMALL[family], arrays, 1)
    assert peers or library == "numpy"
    for peer in peers:
        peer.run()
        np.testing.assert_allclose(peer.result(), expected, rtol=1e-5, atol=1e-6, err_msg=peer.name)


class Told:
    """A library's process that answers what it is told to."""

    def __init__(self, *answer: float) -> None:
        self.answer = np.array(answer, np.float32)

    def send(self, answer: str, file: str) -> None:
        np.save(file, self.answer)

    def receive(self) -> dict[str, str]:
        return {}


def test_a_wrong_answer_ends_the_comparison():
    programs = {"ours": Told(1.0, 2.0), "numpy": Told(1.0, 2.0), "torch": Told(1.0, 2.0001)}
    assert relative_errors(programs, None) == {"ours": 0.0, "numpy": 0.0, "torch": pytest.approx(5e-5, rel=1e-2)}
    with pytest.raises(ValueError, match="ours computes something else: relative error 0.33"):
        relative_errors(programs, np.array([1.0, 3.0], np.float32))
    with pytest.raises(ValueError, match="torch computes something else: relative error nan"):
        relative_errors({**programs, "torch": Told(1.0, np.nan)}, None)


def test_rounds_in_which_all_programs_were_slow_do_not_count():
    rounds = [(1.0, 8.0), (2.0, 9.0), (1.1, 8.0), (9.0, 8.0)]  # in the last only one was held up
    found = calm_medians([dict(zip(("ours", "theirs"), seconds)) for seconds in rounds])
    assert found == {"ours": 1.05, "theirs": 8.0}


def test_a_family_without_peers():
    with pytest.raises(ValueError, match="no peers for 'softmax'"):
        peers_of("numpy", "softmax", (4, 4), [], 1)
    with pytest.raises(ValueError, match="no library 'tvm'"):
        peers_of("tvm", "NRM", (4, 4), [], 1)


def test_programs_of_this_processor_come_first_and_elsewhere_the_best_of_each(monkeypatch):
    case = CASES[0]
    suite = replace(OPERATORS, name="none")
    monkeypatch.setattr(operator_worker, "kernel_of", lambda record, case: record.annotation["tile"])

    def record(program: int, seconds: float, machine: str) -> Record:
        return Record(case.text, (), {"tile": program}, OK, (seconds,), machine=machine)

    one_core = re.sub(r"\d+ cores?", "1 core", detect().line)
    here = [record(0, 3.0, detect().line), record(1, 2.0, one_core)]
    there = [record(2, 1.0, "A, 2 cores"), record(3, 0.5, "B, 2 cores"), record(4, 0.7, "B, 1 core")]
    assert measured_here(here + there) == here
    assert best_kernels(suite, case, here + there, 1) == [1]
    assert best_kernels(suite, case, there, 1) == [2, 3]
    with pytest.raises(ValueError, match="no correct program"):
        best_kernels(suite, case, here, 2)


@pytest.mark.cc
@pytest.mark.parametrize("family", ["C2D", "DEP"])
def test_every_definition_of_a_case_computes_the_same(family):
    case, suite = Case(family, SMALL[family]), replace(OPERATORS, name="none")
    (expected,) = case.dag.evaluate(*inputs_of(case.dag))
    assert len(case.definitions) == 2
    for definition in case.definitions:
        sketch = derive(definition.dag)[0]
        program = sample(sketch, np.random.default_rng(0), detect())
        record = Record(definition.text, sketch.key, dict(program.annotation), OK, (1.0,), machine=detect().line)
        (kernel,) = best_kernels(suite, case, [record], 1)
        peer = our_program(kernel, 1)
        assert peer.task == definition.text
        np.testing.assert_allclose(peer.result(), expected, rtol=1e-5, atol=1e-5)


def test_of_programs_from_elsewhere_the_one_that_is_fastest_here_is_taken():
    slow, fast = Peer("slow", lambda: time.sleep(0.02), list), Peer("fast", lambda: None, list)
    assert fastest([slow, fast]) is fast and fastest([slow]) is slow


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
