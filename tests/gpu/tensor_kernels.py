"""Matrix products for Tensor Cores, by hand and as `emit_cuda` writes them, to be timed beside one another on a GPU.

Each entry of `tensor_kernels(size)` is a kernel's text with its launch: C (float32) = A (size x size, float16) times B.
`wmma` copies tiles to shared memory through registers and multiplies through the WMMA interface; the others copy with
`cp.async`, several steps ahead, load fragments with `ldmatrix` and multiply with `mma.sync`. Shared tiles have no
padding: the 16-byte chunks of a row are permuted so that the eight rows of an `ldmatrix` lie in different banks.
The emitted ones come from nests with tensor loops (`ansor_mini.gpu_rules.tensor_lowering`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.gpu_rules.contraction import contraction
from ansor_mini.gpu_rules.tensor_lowering import Result, TensorTiling, tensor_nest
from ansor_mini.schedule import initial_state
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from runtime.cuda_text.tensor_cores import prelude_of
from runtime.emit_cuda import emit_cuda
from runtime.expr import Buffer, cast
from runtime.loop_nest import LoopNest


@dataclass(frozen=True)
class Tiling:
    """Sizes of one kernel: the block's tile (m, n, k), the warp's (warp_m, warp_n), and steps of k held at once."""

    m: int
    n: int
    k: int
    warp_m: int
    warp_n: int
    stages: int
    ahead: bool = False  # load the next fragments before the multiplications of the present ones
    minimum_blocks: int = 1

    @property
    def name(self) -> str:
        """A name for tables and kernels."""
        rest = f"w{self.warp_m}x{self.warp_n}_s{self.stages}{'_ahead' if self.ahead else ''}"
        return f"mma_{self.m}x{self.n}x{self.k}_{rest}"

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * (self.m // self.warp_m) * (self.n // self.warp_n)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return self.stages * (self.m + self.n) * self.k * 2


@dataclass(frozen=True)
class TensorKernel:
    """One kernel with its launch. Arguments: A, B (float16) and C (float32), all size x size.

    dynamic_bytes: shared memory to be given at the launch, beyond what the text declares.
    """

    name: str
    text: str
    grid: int
    block: int
    dynamic_bytes: int
    size: int

    @property
    def flops(self) -> int:
        """Operations of one launch, a multiply-add counted as two."""
        return 2 * self.size**3


TILINGS = (
    Tiling(128, 128, 32, 64, 64, 3, minimum_blocks=2),
    Tiling(128, 128, 32, 64, 64, 3, ahead=True, minimum_blocks=2),
    Tiling(128, 128, 32, 64, 32, 3, minimum_blocks=2),
    Tiling(128, 256, 32, 64, 64, 4),
    Tiling(128, 256, 32, 64, 64, 4, ahead=True),
    Tiling(256, 128, 32, 64, 64, 4),
    Tiling(128, 256, 64, 64, 64, 3),
    Tiling(128, 128, 64, 64, 64, 3, minimum_blocks=2),
)


EMITTED = (
    TensorTiling(128, 128, 32, 64, 64, 3),
    TensorTiling(128, 128, 64, 64, 64, 3),
    TensorTiling(128, 256, 32, 64, 64, 4),
    TensorTiling(128, 256, 64, 64, 64, 3),
)


def emitted_kernel(tiling: TensorTiling, size: int, tensor_cores: str = "mma") -> TensorKernel:
    """The kernel that `emit_cuda` makes of the nest of one tiling."""
    t = tiling
    ahead = "_ahead" if tensor_cores == "mma-ahead" else ""
    name = f"emitted_{t.m}x{t.n}x{t.k}_w{t.warp_m}x{t.warp_n}_s{t.stages}{ahead}"
    A, B, k = (
        placeholder((size, size), "A", "float16"),
        placeholder((size, size), "B", "float16"),
        reduce_axis(size, "k"),
    )
    body = lambda i, j: reduce_sum(cast("float32", A[i, k]) * cast("float32", B[k, j]), k)  # noqa: E731
    C = compute((size, size), body, "C")
    work = contraction(initial_state(ComputeDAG([C])), "C")
    assert work is not None
    result = Buffer("C", C.shape)
    nest = tensor_nest(work, tiling, Result(result, tuple(C.axes), lambda total: total))
    inputs = tuple(Buffer(tensor.name, tensor.shape, tensor.dtype) for tensor in (A, B))
    module = emit_cuda(LoopNest(name, inputs, (result,), nest), tensor_cores=tensor_cores)
    (launch,) = module.launches
    dynamic = launch.shared_bytes if launch.shared_bytes > 48 * 1024 else 0
    return TensorKernel(name, module.text, launch.grid, launch.block, dynamic, size)


def tensor_kernels(size: int = 4096) -> list[TensorKernel]:
    """All kernels for one size.  Raises: ValueError: a tile does not divide it."""
    by_hand = [wmma_kernel(size), *(mma_kernel(tiling, size) for tiling in TILINGS)]
    return by_hand + [emitted_kernel(tiling, size, how) for tiling in EMITTED for how in ("mma", "mma-ahead")]


def _swizzle(row: str, chunk: str, per_row: int) -> str:
    """Where the 16-byte chunk of a row lies in it."""
    if per_row >= 8:
        return f"({chunk} ^ ({row} & 7))"
    return f"({chunk} ^ ({row} >> 1 & 3))"


def mma_kernel(tiling: Tiling, size: int) -> TensorKernel:
    """The kernel of one tiling through cp.async, ldmatrix and mma.sync."""
    t = tiling
    if size % t.m or size % t.n or size % t.k or size // t.k < t.stages:
        raise ValueError(f"size: expected a multiple of {t.m}, {t.n} and {t.k}, with {t.stages} steps; got {size}")
    static = t.shared_bytes <= 48 * 1024
    steps, blocks_n = size // t.k, size // t.n
    group = 8 if (size // t.m) % 8 == 0 else 1
    body = (_MMA_AHEAD if t.ahead else _MMA_PLAIN).format(
        wait=t.stages - 2, kk=t.k // 16, steps=steps, stages=t.stages, step_k=t.k, later=t.stages - 1,
        fm=t.warp_m // 16, fn=t.warp_n // 8,
    )  # fmt: skip
    text = _MMA_KERNEL.format(
        name=t.name, size=size, threads=t.threads, least=t.minimum_blocks, m=t.m, n=t.n, k=t.k, stages=t.stages,
        shared=_STATIC.format(bytes=t.shared_bytes) if static else _DYNAMIC,
        a_elements=t.m * t.k, b_elements=t.k * t.n, group=group, per_group=group * blocks_n,
        warps_n=t.n // t.warp_n, warp_m=t.warp_m, warp_n=t.warp_n, fm=t.warp_m // 16, fn=t.warp_n // 8,
        a_copies=t.m * t.k // 8 // t.threads, a_chunks=t.k // 8,
        b_copies=t.n * t.k // 8 // t.threads, b_chunks=t.n // 8,
        a_place=_swizzle("row", "chunk", t.k // 8), b_place=_swizzle("row", "chunk", t.n // 8),
        a_load=_swizzle("row", "(kk * 2 + lane / 16)", t.k // 8),
        b_load=_swizzle("row", "(warp_n / 8 + j * 2 + lane / 16)", t.n // 8),
        body=body,
    )  # fmt: skip
    source = f"#include <cuda_fp16.h>\n\n{prelude_of(text)}{text}"
    grid = (size // t.m) * blocks_n
    return TensorKernel(t.name, source, grid, t.threads, 0 if static else t.shared_bytes, size)


_STATIC = "__shared__ __align__(128) half shared[{bytes} / 2];"
_DYNAMIC = "extern __shared__ __align__(128) half shared[];"

_MMA_KERNEL = """
extern "C" __global__ void __launch_bounds__({threads}, {least})
    {name}(const half* __restrict__ A, const half* __restrict__ B, float* __restrict__ C) {{
    {shared}
    half* const As = shared;
    half* const Bs = shared + {stages} * {a_elements};
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    // Blocks of {group} rows of tiles run together, so that their operands meet in the L2 cache.
    const int inside = blockIdx.x % {per_group};
    const int block_m = (blockIdx.x / {per_group} * {group} + inside % {group}) * {m};
    const int block_n = inside / {group} * {n};
    const int warp_m = warp / {warps_n} * {warp_m}, warp_n = warp % {warps_n} * {warp_n};

    auto copy = [&](int stage, int k) {{
#pragma unroll
        for (int i = 0; i < {a_copies}; ++i) {{
            const int row = (thread + i * {threads}) / {a_chunks}, chunk = (thread + i * {threads}) % {a_chunks};
            cp_async16(&As[stage * {a_elements} + row * {k} + {a_place} * 8],
                       &A[(block_m + row) * {size} + k + chunk * 8]);
        }}
#pragma unroll
        for (int i = 0; i < {b_copies}; ++i) {{
            const int row = (thread + i * {threads}) / {b_chunks}, chunk = (thread + i * {threads}) % {b_chunks};
            cp_async16(&Bs[stage * {b_elements} + row * {n} + {b_place} * 8],
                       &B[(k + row) * {size} + block_n + chunk * 8]);
        }}
    }};
    auto load = [&](unsigned (*a)[4], unsigned (*b)[2], int stage, int kk) {{
#pragma unroll
        for (int i = 0; i < {fm}; ++i) {{
            const int row = warp_m + i * 16 + lane % 16;
            ldmatrix_x4(a[i], &As[stage * {a_elements} + row * {k} + {a_load} * 8]);
        }}
#pragma unroll
        for (int j = 0; j < {fn} / 2; ++j) {{
            const int row = kk * 16 + lane % 16;
            ldmatrix_x4_trans(b[j * 2], &Bs[stage * {b_elements} + row * {n} + {b_load} * 8]);
        }}
    }};

    float c[{fm}][{fn}][4] = {{}};
{body}
#pragma unroll
    for (int i = 0; i < {fm}; ++i) {{
#pragma unroll
        for (int j = 0; j < {fn}; ++j) {{
            const int row = block_m + warp_m + i * 16 + lane / 4, column = block_n + warp_n + j * 8 + lane % 4 * 2;
            *(float2*)&C[row * {size} + column] = make_float2(c[i][j][0], c[i][j][1]);
            *(float2*)&C[(row + 8) * {size} + column] = make_float2(c[i][j][2], c[i][j][3]);
        }}
    }}
}}
"""

_MMA_PLAIN = """
#pragma unroll
    for (int stage = 0; stage < {later}; ++stage) {{
        copy(stage, stage * {step_k});
        cp_async_commit();
    }}
#pragma unroll 1
    for (int step = 0; step < {steps}; ++step) {{
        cp_async_wait_{wait}();
        __syncthreads();
        if (step + {later} < {steps}) {{
            copy((step + {later}) % {stages}, (step + {later}) * {step_k});
        }}
        cp_async_commit();
#pragma unroll
        for (int kk = 0; kk < {kk}; ++kk) {{
            unsigned a[{fm}][4], b[{fn}][2];
            load(a, b, step % {stages}, kk);
#pragma unroll
            for (int i = 0; i < {fm}; ++i) {{
#pragma unroll
                for (int j = 0; j < {fn}; ++j) {{
                    mma_float16(c[i][j], a[i], b[j][0], b[j][1]);
                }}
            }}
        }}
    }}"""

_MMA_AHEAD = """
    unsigned a[2][{fm}][4], b[2][{fn}][2];
#pragma unroll
    for (int stage = 0; stage < {later}; ++stage) {{
        copy(stage, stage * {step_k});
        cp_async_commit();
    }}
    cp_async_wait_{wait}();
    __syncthreads();
    load(a[0], b[0], 0, 0);
#pragma unroll 1
    for (int step = 0; step < {steps}; ++step) {{
#pragma unroll
        for (int kk = 0; kk < {kk}; ++kk) {{
            if (kk == {kk} - 1) {{
                cp_async_wait_{wait}();
                __syncthreads();
            }}
            const int next = (kk + 1) / {kk};
            load(a[(kk + 1) % 2], b[(kk + 1) % 2], (step + next) % {stages}, (kk + 1) % {kk});
            if (kk == 0) {{
                if (step + {later} < {steps}) {{
                    copy((step + {later}) % {stages}, (step + {later}) * {step_k});
                }}
                cp_async_commit();
            }}
#pragma unroll
            for (int i = 0; i < {fm}; ++i) {{
#pragma unroll
                for (int j = 0; j < {fn}; ++j) {{
                    mma_float16(c[i][j], a[kk % 2][i], b[kk % 2][j][0], b[kk % 2][j][1]);
                }}
            }}
        }}
    }}"""


def wmma_kernel(size: int) -> TensorKernel:
    """Tiles of 128 x 128 x 32 through registers into two shared buffers; each of 8 warps holds 64 x 32 of C."""
    if size % 128:
        raise ValueError(f"size: expected a multiple of 128, got {size}")
    text = _WMMA_KERNEL.format(size=size, tiles=size // 128, steps=size // 32, group=8 if size % 1024 == 0 else 1)
    return TensorKernel("wmma_128x128x32", text.lstrip(), (size // 128) ** 2, 256, 0, size)


_WMMA_KERNEL = """
#include <cuda_fp16.h>
#include <mma.h>

extern "C" __global__ void __launch_bounds__(256, 2)
    wmma_128x128x32(const half* __restrict__ A, const half* __restrict__ B, float* __restrict__ C) {{
    // 8 more columns put the rows of a fragment into different banks.
    __shared__ __align__(128) half As[2][128][40];
    __shared__ __align__(128) half Bs[2][32][136];
    const int thread = threadIdx.x, warp = thread / 32;
    const int inside = blockIdx.x % ({group} * {tiles});
    const int block_m = (blockIdx.x / ({group} * {tiles}) * {group} + inside % {group}) * 128;
    const int block_n = inside / {group} * 128;
    const int warp_m = warp / 4 * 64, warp_n = warp % 4 * 32;
    float4 a_next[2], b_next[2];

    auto fetch = [&](int k) {{
#pragma unroll
        for (int i = 0; i < 2; ++i) {{
            const int chunk = thread + i * 256;
            a_next[i] = *(const float4*)&A[(block_m + chunk / 4) * {size} + k + chunk % 4 * 8];
            b_next[i] = *(const float4*)&B[(k + chunk / 16) * {size} + block_n + chunk % 16 * 8];
        }}
    }};
    auto put = [&](int stage) {{
#pragma unroll
        for (int i = 0; i < 2; ++i) {{
            const int chunk = thread + i * 256;
            *(float4*)&As[stage][chunk / 4][chunk % 4 * 8] = a_next[i];
            *(float4*)&Bs[stage][chunk / 16][chunk % 16 * 8] = b_next[i];
        }}
    }};

    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> c[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {{
#pragma unroll
        for (int j = 0; j < 2; ++j) {{
            nvcuda::wmma::fill_fragment(c[i][j], 0.0f);
        }}
    }}
    fetch(0);
    put(0);
    __syncthreads();
#pragma unroll 1
    for (int step = 0; step < {steps}; ++step) {{
        if (step + 1 < {steps}) {{
            fetch((step + 1) * 32);
        }}
#pragma unroll
        for (int k = 0; k < 32; k += 16) {{
            nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, half, nvcuda::wmma::row_major> a[4];
            nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, half, nvcuda::wmma::row_major> b[2];
#pragma unroll
            for (int i = 0; i < 4; ++i) {{
                nvcuda::wmma::load_matrix_sync(a[i], &As[step % 2][warp_m + i * 16][k], 40);
            }}
#pragma unroll
            for (int j = 0; j < 2; ++j) {{
                nvcuda::wmma::load_matrix_sync(b[j], &Bs[step % 2][k][warp_n + j * 16], 136);
            }}
#pragma unroll
            for (int i = 0; i < 4; ++i) {{
#pragma unroll
                for (int j = 0; j < 2; ++j) {{
                    nvcuda::wmma::mma_sync(c[i][j], a[i], b[j], c[i][j]);
                }}
            }}
        }}
        if (step + 1 < {steps}) {{
            put((step + 1) % 2);
        }}
        __syncthreads();
    }}
#pragma unroll
    for (int i = 0; i < 4; ++i) {{
#pragma unroll
        for (int j = 0; j < 2; ++j) {{
            float* const to = &C[(block_m + warp_m + i * 16) * {size} + block_n + warp_n + j * 16];
            nvcuda::wmma::store_matrix_sync(to, c[i][j], {size}, nvcuda::wmma::mem_row_major);
        }}
    }}
}}
"""
