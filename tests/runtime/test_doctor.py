"""The report on the machine, with and without a compiler."""

from __future__ import annotations

import json

import pytest

from runtime import cuda_stand_in, doctor
from runtime.__main__ import main
from runtime.compile_c import CompilerNotFound


@pytest.mark.cc
def test_a_healthy_machine_runs_the_test_kernel(capsys) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert "answers rightly" in report["kernel"]
    assert "vectors" in report["machine"] and "-O3" in report["flags"]


def test_a_machine_without_a_gpu_is_healthy(capsys, monkeypatch) -> None:
    monkeypatch.setenv("MINI_CUDA_DRIVER", "/nowhere/libcuda.so.1")
    findings = {finding.subject: finding for finding in doctor._gpu_findings()}
    assert findings["gpu"].text.startswith("no GPU: this machine has no CUDA driver") and findings["gpu"].good
    assert "gpu kernel" not in findings


@pytest.mark.cc
def test_a_gpu_runs_a_test_kernel() -> None:
    with cuda_stand_in.use():
        findings = {finding.subject: finding.text for finding in doctor._gpu_findings()}
    assert findings["gpu"].startswith(cuda_stand_in.NAME) and "answers rightly" in findings["gpu kernel"]


def test_without_a_compiler_it_says_what_to_do_and_status_1(capsys, monkeypatch) -> None:
    def missing():
        raise CompilerNotFound("no C compiler found: install gcc")

    monkeypatch.setattr(doctor, "find_compiler", missing)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM: no C compiler found: install gcc" in said


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["doctor", "--nonsense"]])
def test_bad_usage_is_status_2(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_starts_with_an_example(capsys) -> None:
    for arguments in (["--help"], ["doctor", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        assert capsys.readouterr().out.startswith("example: python -m runtime ")
