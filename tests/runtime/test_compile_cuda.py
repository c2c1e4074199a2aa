import os
import stat

import pytest

from runtime import compile_cuda as module
from runtime.compile_c import CompileError
from runtime.compile_cuda import CudaCompileError, NvccNotFound, Resources, compile_cuda, find_nvcc, parse_resources
from runtime.compiler_process import CompileTimeout

COPY = """extern "C" __global__ void __launch_bounds__(256) copy(const float* __restrict__ A, float* __restrict__ B) {
  __shared__ float s[256];
  s[threadIdx.x] = A[blockIdx.x * 256 + threadIdx.x];
  __syncthreads();
  B[blockIdx.x * 256 + threadIdx.x] = s[255 - threadIdx.x];
}
"""
SPILL = """extern "C" __global__ void __launch_bounds__(1024)
spill(const float* __restrict__ A, float* __restrict__ B) {
  float r[100], s = 0.0f;
#pragma unroll
  for (int i = 0; i < 100; ++i) r[i] = A[i * 1024 + threadIdx.x];
  for (int j = 0; j < 10; ++j) {
#pragma unroll
    for (int i = 0; i < 100; ++i) { r[i] = r[i] * r[(i + 7) % 100] + s; s += r[i]; }
  }
#pragma unroll
  for (int i = 0; i < 100; ++i) B[i * 1024 + threadIdx.x] = r[i] + s;
}
"""


@pytest.fixture(scope="module")
def nvcc():
    try:
        return find_nvcc()
    except NvccNotFound as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINI_CACHE", str(tmp_path / "cache"))


def fake_nvcc(folder, text):
    path = folder / "nvcc"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_two_kernels_in_one_text_each_with_its_resources(nvcc):
    cubin = compile_cuda(COPY + SPILL, "sm_90")
    assert cubin.path.read_bytes()[:4] == b"\x7fELF"
    assert set(cubin.kernels) == {"copy", "spill"}
    copy, spill = cubin.kernels["copy"], cubin.kernels["spill"]
    assert copy.shared == 1024 and 0 < copy.registers < 40 and not copy.spills
    assert spill.registers == 64 and spill.spills and spill.stack > 0 and spill.shared == 0


def test_an_architecture_of_its_own_for_each_cubin(nvcc):
    first, second = compile_cuda(COPY, "sm_80"), compile_cuda(COPY, "sm_90")
    assert first.path != second.path and (first.arch, second.arch) == ("sm_80", "sm_90")
    assert "for 'sm_80'" in first.log and "for 'sm_90'" in second.log


def test_the_same_text_is_compiled_once(nvcc, monkeypatch):
    first = compile_cuda(COPY)
    monkeypatch.setattr(module, "run_compiler", lambda *_, **__: pytest.fail("compiled again"))
    assert compile_cuda(COPY) == first


def test_a_warning_is_an_error_with_its_line(nvcc):
    with pytest.raises(CudaCompileError, match=r"kernel.cu\(1\).*\"x\" was"):
        compile_cuda('extern "C" __global__ void k(float* B) { int x; B[0] = 1.0f; }\n')


def test_too_much_static_shared_memory_is_refused(nvcc):
    with pytest.raises(CudaCompileError, match="too much shared data"):
        compile_cuda(COPY.replace("s[256]", "s[16384]"))


def test_an_architecture_that_the_compiler_does_not_know(nvcc):
    with pytest.raises(CompileError, match="sm_20|compute_20"):
        compile_cuda(COPY, "sm_20")


@pytest.mark.parametrize("arch", ["sm_9", "compute_90", "90", "sm_90; rm x", ""])
def test_what_is_no_architecture(arch):
    with pytest.raises(ValueError, match="arch must be a GPU architecture such as sm_90, got"):
        compile_cuda(COPY, arch)


def test_no_compiler_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "nvidia_packages", lambda: [])
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with pytest.raises(NvccNotFound, match="no CUDA compiler found: set .NVCC"):
        module._find_nvcc("", str(tmp_path), "")


def test_a_compiler_of_a_package(monkeypatch, tmp_path):
    (tmp_path / "cu13" / "bin").mkdir(parents=True)
    command = fake_nvcc(tmp_path / "cu13" / "bin", "echo 'Cuda compilation tools, release 13.9, V13.9.1'")
    monkeypatch.setattr(module, "nvidia_packages", lambda: [tmp_path])
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    found = module._find_nvcc("", str(tmp_path / "empty"), "")
    assert (found.command, found.release) == (command, "13.9, V13.9.1") and "package" in found.line


def test_a_compiler_that_does_not_run_is_passed_over(monkeypatch, tmp_path):
    broken = fake_nvcc(tmp_path, "exit 3")
    (tmp_path / "good").mkdir()
    good = fake_nvcc(tmp_path / "good", "echo 'release 12.4, V12.4.99'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'good'}{os.pathsep}{os.environ['PATH']}")
    assert module._find_nvcc(broken, os.environ["PATH"], "").command == good


def test_a_compiler_that_takes_too_long(tmp_path):
    slow = module.Nvcc(fake_nvcc(tmp_path, "sleep 60"), "13.0", "a test")
    with pytest.raises(CompileTimeout, match="still compiling after 0.2 s"):
        compile_cuda(COPY, timeout=0.2, nvcc=slow)


def test_resources_of_functions_that_are_not_kernels_are_left_out():
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for helper
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Function properties for a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers, 368 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 1 barriers, 512 bytes smem
"""
    assert parse_resources(log) == {"a": Resources(30), "b": Resources(8, shared=512)}
