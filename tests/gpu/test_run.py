"""The one command without a GPU: it rehearses, says so, and no section takes the others down."""

from __future__ import annotations

import json

import pytest

from runtime import cuda_library
from runtime.compile_cuda import NvccNotFound
from runtime.measure_case import MeasureResult
from tests.gpu import peers, run
from tests.gpu.report import Row, row_of, table
from tests.gpu.session import Session, with_peer


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    cuda_library._open_driver.cache_clear()
    monkeypatch.setattr(cuda_library, "LIBRARY", "libcuda-that-is-not-there.so.1")
    monkeypatch.delenv("MINI_CUDA_DRIVER", raising=False)
    yield
    cuda_library._open_driver.cache_clear()


def sections(monkeypatch, **chosen):
    monkeypatch.setattr(run, "SECTIONS", chosen)


def good(session):
    yield Row("good", "one", seconds=[2e-6, 1e-6, 3e-6], flops=2e6)


def bad(session):
    yield Row("bad", "before", seconds=[1.0])
    raise RuntimeError("it went wrong")


@pytest.mark.cc
def test_a_section_that_fails_is_a_line_and_the_others_run(monkeypatch, tmp_path, capsys) -> None:
    sections(monkeypatch, bad=bad, good=good)
    out = tmp_path / "results.json"
    assert run.main(["--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "REHEARSED on the stand-in driver" in said.out and "nothing was measured" in said.out
    assert "failed: RuntimeError: it went wrong" in said.out and "1 TFLOPS" in said.out
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rows"]] == ["before", "bad", "one"]
    assert report["environment"]["rehearsal"] is True and report["rows"][2]["seconds"] == [2e-6, 1e-6, 3e-6]


@pytest.mark.cc
def test_what_no_time_is_left_for_is_skipped_and_said(monkeypatch, capsys) -> None:
    sections(monkeypatch, good=good, bad=bad)
    assert run.main(["--budget-seconds", "0"]) == 0
    assert capsys.readouterr().out.count("skipped: the time budget was used up") == 2


def test_a_section_that_is_not_there(capsys) -> None:
    assert run.main(["--sections", "copy,nonsense"]) == 2
    assert "no section is called 'nonsense'" in capsys.readouterr().err


@pytest.mark.cc
def test_a_gpu_without_a_compiler_is_one_sentence(monkeypatch, capsys) -> None:
    def missing():
        raise NvccNotFound("no CUDA compiler found: set $NVCC")

    monkeypatch.setattr("tests.gpu.session.default_builder", missing)
    assert run.main(["--sections", "copy"]) == 2
    assert "error: no CUDA compiler found: set $NVCC\n" in capsys.readouterr().err


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["copy", "matmul", "ladder", "sanitizer", "failures"])
def test_sections_run_on_the_stand_in(name, capsys) -> None:
    assert run.main(["--sections", name]) == 0
    assert "REHEARSED" in capsys.readouterr().out


def test_a_row_beside_its_peer() -> None:
    row = Row("matmul", "4096", seconds=[2e-3, 2e-3, 9.0], flops=1e9)
    with_peer(row, "cuBLAS", {"m": [1e-3, 1e-3]}, "m")
    assert row.share == 0.5
    assert table([row]) == "matmul\n  4096  2000 us  0.5 TFLOPS  50.0 % of cuBLAS"


def test_a_peer_that_failed_is_said_in_the_facts() -> None:
    row = with_peer(Row("matmul", "4096", seconds=[1.0]), "cuBLAS", {"m": "PyTorch is not installed"}, "m")
    assert row.share is None and row.facts["peer"] == "PyTorch is not installed"


def test_a_failure_has_no_time_and_a_bandwidth_is_compared_with_a_copy() -> None:
    failed = row_of("a", "b", MeasureResult("crash", (), "killed by SIGSEGV\nand more"), flops=1.0)
    assert failed.cells == ("b", "", "", "", "crash: killed by SIGSEGV")
    row = Row("a", "c", seconds=[1e-3], nbytes=2e9, copy_rate=4e12)
    assert row.rate == "2000 GB/s, 50.0 % of a copy"


def test_peers_keep_what_was_finished_when_the_process_fails(monkeypatch) -> None:
    answers = json.dumps({"first": [1.0]})
    monkeypatch.setattr(peers.sys, "executable", "/bin/sh")
    real = peers.subprocess.run
    monkeypatch.setattr(
        peers.subprocess,
        "run",
        lambda command, **options: real(["/bin/sh", "-c", f"echo '{answers}'; exit 3"], **options),
    )
    found = peers.peer_seconds([{"name": "first", "kind": "copy"}, {"name": "second", "kind": "copy"}], 20.0)
    assert found == {"first": [1.0], "second": "the process ended with status 3"}


def test_a_peer_is_asked_once_for_the_same_work(monkeypatch) -> None:
    asked = []

    def answer(requests, timeout):
        asked.append([request["name"] for request in requests])
        return {request["name"]: [1.0] for request in requests}

    monkeypatch.setattr("tests.gpu.session.peer_seconds", answer)
    session = object.__new__(Session)
    session.rehearsal, session.deadline, session._answers = False, 0.0, {}
    same = {"kind": "matmul", "shape": [1, 1, 1]}
    assert session.peers([{"name": "a", **same}]) == {"a": [1.0]}
    assert session.peers([{"name": "b", **same}, {"name": "c", "kind": "copy"}]) == {"b": [1.0], "c": [1.0]}
    assert asked == [["a"], ["c"]]
