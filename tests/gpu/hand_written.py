"""Kernels written by hand: what the emitter aims at, and what the one command measures before anything is tuned.

The matrix product is the rung of the published ladder with 128 x 128 x 8 blocks, 8 x 8 results a thread, 16-byte
accesses and A transposed in shared memory (62 % of cuBLAS on an H100); the copy gives the bandwidth that memory-bound
operators are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runtime.expr import Buffer
from runtime.measure_case import MeasureCase


@dataclass(frozen=True)
class HandLaunch:
    """One launch, as `runtime.emit_cuda.Launch`."""

    kernel: str
    grid: int
    block: int
    arguments: tuple[str, ...]
    shared_bytes: int = 0


@dataclass(frozen=True)
class HandModule:
    """Text with its launches, as `runtime.emit_cuda.CudaModule`; with the case that it computes."""

    name: str
    text: str
    launches: tuple[HandLaunch, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    case: MeasureCase = field(compare=False, repr=False)
    workspace: tuple[Buffer, ...] = ()
    flops: float = 0.0
    nbytes: float = 0.0


COPY = """extern "C" __global__ void __launch_bounds__(256) copy(const float* __restrict__ A, float* __restrict__ B) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < %(vectors)d) reinterpret_cast<float4*>(B)[i] = reinterpret_cast<const float4*>(A)[i];
}
"""

MATMUL = """#define N %(size)d
extern "C" __global__ void __launch_bounds__(256)
matmul(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C) {
  __shared__ __align__(16) float a[8 * 128], b[8 * 128];
  const int row = blockIdx.x / (N / 128) * 128, column = blockIdx.x %% (N / 128) * 128;
  const int ty = threadIdx.x / 16 * 8, tx = threadIdx.x %% 16 * 8;
  const int a_row = threadIdx.x / 2, a_column = threadIdx.x %% 2 * 4;
  const int b_row = threadIdx.x / 32, b_column = threadIdx.x %% 32 * 4;
  float sum[8][8] = {};
  for (int k = 0; k < N; k += 8) {
    const float4 x = *reinterpret_cast<const float4*>(&A[(row + a_row) * N + k + a_column]);
    const float4 y = *reinterpret_cast<const float4*>(&B[(k + b_row) * N + column + b_column]);
    a[(a_column + 0) * 128 + a_row] = x.x;
    a[(a_column + 1) * 128 + a_row] = x.y;
    a[(a_column + 2) * 128 + a_row] = x.z;
    a[(a_column + 3) * 128 + a_row] = x.w;
    *reinterpret_cast<float4*>(&b[b_row * 128 + b_column]) = y;
    __syncthreads();
#pragma unroll
    for (int inner = 0; inner < 8; ++inner) {
      float left[8], right[8];
#pragma unroll
      for (int i = 0; i < 8; i += 4) {
        *reinterpret_cast<float4*>(&left[i]) = *reinterpret_cast<const float4*>(&a[inner * 128 + ty + i]);
        *reinterpret_cast<float4*>(&right[i]) = *reinterpret_cast<const float4*>(&b[inner * 128 + tx + i]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] += left[i] * right[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 8; j += 4)
      *reinterpret_cast<float4*>(&C[(row + ty + i) * N + column + tx + j]) =
          make_float4(sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]);
}
"""


def copy(elements: int) -> HandModule:
    """B = A, 16 bytes a thread; elements: a multiple of 4."""
    vectors = elements // 4
    launch = HandLaunch("copy", -(-vectors // 256), 256, ("A", "B"))
    values = np.arange(elements, dtype=np.float32)
    buffers = (Buffer("A", (elements,)),), (Buffer("B", (elements,)),)
    case = MeasureCase([values], [values])
    return HandModule("copy", COPY % {"vectors": vectors}, (launch,), *buffers, case, nbytes=8.0 * elements)


def matmul(size: int) -> HandModule:
    """C = A B, size x size, a multiple of 128; small integers, so that every order of summation agrees."""
    launch = HandLaunch("matmul", (size // 128) ** 2, 256, ("A", "B", "C"), 8192)
    buffers = [Buffer(name, (size, size)) for name in "ABC"]
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (size, size)).astype(np.float32) for _ in range(2))
    case = MeasureCase([a, b], [a @ b])
    text = MATMUL % {"size": size}
    return HandModule("matmul", text, (launch,), tuple(buffers[:2]), (buffers[2],), case, flops=2.0 * size**3)
