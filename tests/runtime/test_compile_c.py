"""Finding compilers, building libraries once, and calling kernels with checked arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import compile_c
from runtime.compile_c import CompileError, CompilerNotFound, build_library, find_compiler, load_kernel, run_nest
from runtime.emit_c import EmitError, emit_kernel, emit_library, workspace_bytes
from runtime.loop_nest_text import parse

DOUBLE = parse("def double(A: float32[3]) -> (B: float32[3]):\n    for i in range(3):\n        B[i] = A[i] * 2.0")


def test_no_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "missing-compiler")
    monkeypatch.setattr(compile_c.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CompilerNotFound, match="install gcc or clang"):
        find_compiler()


@pytest.mark.cc
def test_compiler_is_described() -> None:
    compiler = find_compiler()
    assert compiler.version and compiler.vector_bytes in (16, 32, 64)
    assert "-ffast-math" not in compiler.flags


@pytest.mark.cc
def test_run() -> None:
    np.testing.assert_array_equal(run_nest(DOUBLE, np.array([1, 2, 3], np.float32))[0], [2, 4, 6])


@pytest.mark.cc
def test_same_source_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINI_CACHE", str(tmp_path))  # where no other test is building
    source = emit_library([DOUBLE])
    path = build_library(source)
    stamp = path.stat().st_mtime_ns
    assert build_library(source) == path and path.stat().st_mtime_ns == stamp
    assert build_library(source + "\n") != path
    assert sorted(path.parent.glob("tmp*")) == []


@pytest.mark.cc
def test_compiler_message_is_passed_on() -> None:
    with pytest.raises(CompileError, match="error"):
        build_library("this is not C")


@pytest.mark.cc
def test_arguments_are_checked() -> None:
    kernel = load_kernel(build_library(emit_library([DOUBLE])), DOUBLE)
    good, out = np.zeros(3, np.float32), np.zeros(3, np.float32)
    with pytest.raises(TypeError, match=r"takes 2 arrays \(A, B\), got 1"):
        kernel(good)
    with pytest.raises(TypeError, match="`A` must be float32, got float64"):
        kernel(good.astype(np.float64), out)
    with pytest.raises(TypeError, match="`A` must be a NumPy array, got list"):
        kernel([1, 2, 3], out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`B` must have shape \(3,\), got \(4,\)"):
        kernel(good, np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="C-contiguous"):
        kernel(np.zeros(6, np.float32)[::2], out)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        kernel(good, out)


@pytest.mark.cc
def test_missing_kernel() -> None:
    other = parse("def other(A: float32[3]) -> (B: float32[3]):\n    B[0] = A[0]")
    with pytest.raises(ValueError, match="no kernel `other`"):
        load_kernel(build_library(emit_library([DOUBLE])), other)


@pytest.mark.cc
def test_infinities_and_denormals_survive() -> None:
    nest = parse(
        "def f(A: float32[4]) -> (B: float32[4]):\n    for i in vectorize(4):\n        B[i] = max(A[i], -inf) * 0.5"
    )
    values = np.array([-np.inf, np.inf, 1e-38, -0.0], np.float32)
    np.testing.assert_array_equal(run_nest(nest, values)[0], values * np.float32(0.5))


def test_workspace_is_stacked() -> None:
    nest = parse("""def f() -> (B: float32[1]):
    with workspace(float32[3]) as S:
        with workspace(float32[20]) as T:
            B[0] = 1.0
        with workspace(float64[1]) as U:
            B[0] = 1.0""")
    assert workspace_bytes(nest) == 64 + 128


def test_big_local_buffers_are_refused() -> None:
    nest = parse("""def f() -> (B: float32[1]):
    for i in parallel(2):
        with local(float32[80000]) as S:
            with local(float32[80000]) as T:
                B[0] = 1.0""")
    with pytest.raises(EmitError, match="local buffers of a thread take 640000 bytes"):
        emit_kernel(nest, vector_bytes=32)


def test_kernels_of_a_library_have_different_names() -> None:
    with pytest.raises(ValueError, match="different names"):
        emit_library([DOUBLE, DOUBLE], vector_bytes=32)
