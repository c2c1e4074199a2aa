import pytest

from runtime import nvrtc as module
from runtime.compile_cuda import CudaCompileError, NvccNotFound, compile_cuda, find_nvcc
from runtime.nvrtc import NvrtcNotFound, compile_nvrtc, find_nvrtc

COPY = """#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(256) copy(const half* __restrict__ A, float* __restrict__ B) {
  __shared__ float s[256];
  s[threadIdx.x] = __half2float(A[blockIdx.x * 256 + threadIdx.x]);
  __syncthreads();
  B[blockIdx.x * 256 + threadIdx.x] = s[255 - threadIdx.x];
}
"""


@pytest.fixture
def nvrtc(monkeypatch, tmp_path):
    monkeypatch.setenv("MINI_CACHE", str(tmp_path))
    try:
        return find_nvrtc()
    except NvrtcNotFound as error:
        pytest.skip(str(error))


def test_the_same_resources_as_nvcc_says(nvrtc):
    cubin = compile_nvrtc(COPY)
    assert cubin.path.read_bytes()[:4] == b"\x7fELF" and cubin.kernels["copy"].shared == 1024
    try:
        find_nvcc()
    except NvccNotFound as error:
        pytest.skip(str(error))
    assert compile_cuda(COPY).kernels == cubin.kernels


def test_the_same_text_is_compiled_once(nvrtc, monkeypatch):
    first = compile_nvrtc(COPY, "sm_80")
    monkeypatch.setattr(module, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compile_nvrtc(COPY, "sm_80") == first


@pytest.mark.parametrize("line", ["int unused;", "B[0] = missing;"])
def test_a_warning_or_a_mistake_is_an_error_with_its_line(nvrtc, line):
    with pytest.raises(CudaCompileError, match=r"kernel.cu\(1\)"):
        compile_nvrtc(f'extern "C" __global__ void k(float* B) {{ {line} B[0] = 1.0f; }}\n')


def test_none_is_one_sentence():
    with pytest.raises(NvrtcNotFound, match="no NVRTC found: `pip install nvidia-cuda-nvrtc`"):
        module._find_nvrtc("/nowhere/libnvrtc.so.13")


def test_what_is_no_architecture():
    with pytest.raises(ValueError, match="arch must be a GPU architecture"):
        compile_nvrtc(COPY, "90", nvrtc=object())
