"""The command cuda-check: what it prints, its exit status, and mistakes in its arguments."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.__main__ import main

pytestmark = pytest.mark.cc

REVERSE = """// Reverses 64 numbers.
__global__ void reverse(const float* x, float* y, int n) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    BARRIER
    y[threadIdx.x] = s[n - 1 - threadIdx.x];
}
"""
ARGUMENTS = ["--block", "64", "--arg", "float:64=range", "--arg", "float:64=unwritten", "--arg", "int=64"]


@pytest.fixture
def kernel(tmp_path):
    def write(barrier="__syncthreads();", text=REVERSE):
        path = tmp_path / "reverse.cu"
        path.write_text(text.replace("BARRIER", barrier))
        return str(path)

    return write


def test_a_correct_kernel_has_status_0_and_its_arrays_are_kept(kernel, capsys, tmp_path):
    assert main(["cuda-check", kernel(), *ARGUMENTS, "--save", f"y={tmp_path}/y.npy"]) == 0
    printed = capsys.readouterr().out
    assert "reverse<<<1, 64>>>: nothing wrong was found" in printed and "y: float32[64], 0 to 63" in printed
    assert np.array_equal(np.load(tmp_path / "y.npy"), np.arange(64)[::-1])


def test_a_race_has_status_1_a_place_and_the_line_of_text(kernel, capsys):
    path = kernel(barrier="")
    assert main(["cuda-check", path, *ARGUMENTS]) == 1
    printed = capsys.readouterr().out
    assert f"{path}:6: shared-race: read" in printed and "\n    y[threadIdx.x] = s[n - 1 - threadIdx.x];\n" in printed
    assert "mistakes found" in printed


def test_json_holds_every_report(kernel, capsys):
    assert main(["cuda-check", kernel(barrier=""), *ARGUMENTS, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == 1 and report["kernel"] == "reverse"
    assert {"kind", "line", "block", "thread", "message", "times"} == set(report["reports"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "64"], "for example --arg float:1024 --arg float:1024 --arg int=1024"),
        ([*ARGUMENTS[:-1], "float:64"], "`n` is a value: give a number"),
        ([*ARGUMENTS[:-1], "int=x"], "x is no number"),
        ([*ARGUMENTS[:-3], "int:64", "--arg", "int=64"], "`y` points to float32, not int32"),
        ([*ARGUMENTS[:-3], "vector:64", "--arg", "int=64"], "write TYPE:SIZE"),
        ([*ARGUMENTS[:-3], "float:64=many", "--arg", "int=64"], "fill with zeros"),
        ([*ARGUMENTS, "--kernel", "other"], "kernel must be one of reverse"),
        ([*ARGUMENTS, "--grid", "a"], "--grid must be one to three numbers"),
        ([*ARGUMENTS, "--save", "z=z.npy"], "NAME one of x, y"),
        ([*ARGUMENTS[:-3], "none.npy", "--arg", "int=64"], "there is no such file for `y`"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(kernel, capsys, arguments, message):
    assert main(["cuda-check", kernel(), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_text_that_does_not_compile_is_told_with_its_line(kernel, capsys):
    assert main(["cuda-check", kernel(barrier="no semicolon"), *ARGUMENTS]) == 2
    assert "reverse.cu:5" in capsys.readouterr().err


def test_a_file_with_two_kernels_needs_a_name(kernel, capsys):
    path = kernel(text="__global__ void a(float* x) {}\n__global__ void b(float* x) {}")
    assert main(["cuda-check", path, "--arg", "float:4"]) == 2
    assert "a, b" in capsys.readouterr().err
    assert main(["cuda-check", path, "--kernel", "b", "--arg", "float:4"]) == 0
