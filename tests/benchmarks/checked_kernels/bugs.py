"""Mistakes to be planted: a change of a kernel's text or of its launch, and the kinds of report that would be right."""

from __future__ import annotations

from tests.benchmarks.checked_kernels.bug import Bug, removed_barriers
from tests.benchmarks.checked_kernels.cases import CASES

RACE = ("shared-race",)
GLOBAL = ("global-race",)
BOUNDS = ("out-of-bounds",)
UNWRITTEN = ("uninitialised-shared", "shared-race")
MISALIGNED = ("misaligned",)
BARRIER = ("divergent-barrier",)
MASK = ("wrong-mask",)

WRITTEN: tuple[Bug, ...] = (
    # Bounds of global memory.
    Bug("vector_add", "guard forgotten", "if (i < n) ", "", BOUNDS),
    Bug("vector_add", "guard with <=", "i < n", "i <= n", BOUNDS),
    Bug("vector_add", "index shifted by one up", "x[i] +", "x[i + 1] +", BOUNDS),
    Bug("vector_add", "index shifted by one down", "y[i];", "y[i - 1];", BOUNDS),
    Bug("vector_add", "index in bytes", "z[i] =", "z[4 * i] =", BOUNDS),
    Bug("vector_add", "grid too large without a guard", "if (i < n) ", "", BOUNDS, (5, 64, 0)),
    Bug("float4_scale", "guard of the first of four only", "i + 3 < n", "i < n + 4", BOUNDS, (3, 32, 0)),
    Bug("tiled_matmul", "row length forgotten", "A[row * n + k + x]", "A[row * n * n + k + x]", BOUNDS),
    Bug("convolution", "border forgotten below", "row >= 0 && ", "", BOUNDS),
    Bug("convolution", "border forgotten above", "row < h && ", "", BOUNDS),
    Bug("convolution", "return forgotten", "if (y0 + y >= h || x0 + x >= w) return;", "", BOUNDS),
    Bug("convolution", "filter one too large", "i < 3; ++i", "i <= 3; ++i", BOUNDS),
    Bug(
        "transpose",
        "rows and columns exchanged",
        "if (x < rows && y + j < columns)",
        "if (x < columns && y + j < rows)",
        (*BOUNDS, "uninitialised-shared"),
    ),
    Bug("stencil", "loop runs past the halo", "d <= R", "d <= R + 1", ("uninitialised-shared", *BOUNDS)),
    Bug("compact", "position counted from the lane", "kept[first + ", "kept[first + n + ", BOUNDS),
    Bug(
        "softmax",
        "row index without the block",
        "y[blockIdx.x * columns + j] =",
        "y[(blockIdx.x + 1) * columns + j] =",
        BOUNDS,
    ),
    Bug("dot_product", "halves counted as pairs", "i < n / 2", "i < n", BOUNDS),
    Bug("vector_add", "a null pointer", "z[i] =", "((float*)0)[i] =", BOUNDS),
    Bug("vector_add", "write through a pointer to const", "z[i] =", "((float*)x)[i] =", ("write-to-constant",)),
    Bug("vector_add", "a result read before it is written", "z[i] =", "z[i] +=", ("uninitialised-global",)),
    # Bounds of shared memory.
    Bug("tiled_matmul", "shared tile too small", "b[T][T]", "b[T][T - 1]", BOUNDS),
    Bug("tiled_matmul", "loop over the tile one too long", "j < T", "j <= T", BOUNDS),
    Bug("block_sum", "shared array too small", "part[256]", "part[128]", BOUNDS),
    Bug("stencil", "shared array without its halo", "near[128 + 2 * R]", "near[128]", BOUNDS),
    Bug("softmax", "too little dynamic shared memory", "", "", BOUNDS, (3, 128, 1000)),
    Bug("histogram", "values outside the counters", "local[values[i]]", "local[values[i] + 1]", BOUNDS),
    Bug(
        "transpose",
        "tile indices past the tile",
        "tile[threadIdx.y + j][threadIdx.x]",
        "tile[threadIdx.y + j + 8][threadIdx.x]",
        BOUNDS,
    ),
    # Alignment.
    Bug("float4_scale", "float4 at an odd element", "&x[i]", "&x[i + 1]", MISALIGNED),
    Bug("float4_scale", "float4 store at an odd element", "&y[i]", "&y[i + 2]", MISALIGNED),
    Bug(
        "register_matmul",
        "tile rows that float4 cannot follow",
        "&b[t / 16 * BM + x] =",
        "&b[t / 16 * (BM - 1) + x] =",
        MISALIGNED,
    ),
    Bug("register_matmul", "float4 from a shifted shared tile", "&a[j * BM + y]", "&a[j * BM + y + 1]", MISALIGNED),
    Bug("copy_ahead", "asynchronous copy to an odd element", "&tile[0][4 * t]", "&tile[0][4 * t + 1]", MISALIGNED),
    Bug("wmma_matmul", "matrix not at a multiple of 32 bytes", "(a, tile, 24)", "(a, tile + 8, 24)", MISALIGNED),
    Bug("wmma_matmul", "stride not a multiple of 16 bytes", "(a, tile, 24)", "(a, tile, 20)", ("wrong-operand",)),
    Bug(
        "copy_ahead", "asynchronous copy of twelve bytes", "&from[4 * t], 16)", "&from[4 * t], 12)", ("wrong-operand",)
    ),
    # Races and memory that nobody wrote.
    Bug("block_sum", "two threads own one element", "part[t] = i < n", "part[t / 2] = i < n", UNWRITTEN),
    Bug("block_sum", "tree of the wrong half", "if (t < s) part", "if (t <= s) part", (*RACE, *BOUNDS)),
    Bug(
        "block_sum",
        "every thread adds at each level",
        "if (t < s) part[t] += part[t + s]",
        "if (t + s < 256) part[t] += part[t + s]",
        RACE,
    ),
    Bug("block_sum", "every thread writes the sum", "if (t == 0) sums[blockIdx.x]", "sums[blockIdx.x]", GLOBAL),
    Bug("block_sum", "all blocks write one sum", "sums[blockIdx.x] =", "sums[0] =", GLOBAL),
    Bug("scan", "one array in place of two", "part[1 - from][t] =", "part[from][t] =", RACE),
    Bug(
        "histogram",
        "addition that is not atomic, in shared memory",
        "atomicAdd(&local[values[i]], 1u);",
        "local[values[i]] += 1u;",
        RACE,
    ),
    Bug(
        "histogram",
        "addition that is not atomic, in global memory",
        "atomicAdd(&counts[threadIdx.x], local[threadIdx.x]);",
        "counts[threadIdx.x] += local[threadIdx.x];",
        GLOBAL,
    ),
    Bug("histogram", "counters not set to zero", "if (threadIdx.x < 64) local[threadIdx.x] = 0;", "", UNWRITTEN),
    Bug(
        "histogram",
        "half of the counters set to zero",
        "if (threadIdx.x < 64) local",
        "if (threadIdx.x < 32) local",
        UNWRITTEN,
    ),
    Bug("stencil", "halo of one side forgotten", "near[t] = i >= R ? x[i - R] : 0.0f;", "", UNWRITTEN),
    Bug("stencil", "halo loaded by too few threads", "if (t < R) {", "if (t < R - 1) {", UNWRITTEN),
    Bug("convolution", "border pixels not loaded", "i < 100", "i < 64", UNWRITTEN),
    Bug(
        "transpose",
        "written by one row of threads",
        "tile[threadIdx.y + j][threadIdx.x] = A",
        "tile[j][threadIdx.x] = A",
        UNWRITTEN,
    ),
    Bug(
        "shuffle_sum",
        "every lane writes the warp's sum",
        "if (lane == 0) of_warp[warp] = v;",
        "of_warp[warp] = v;",
        RACE,
    ),
    Bug(
        "shuffle_sum",
        "sums of warps that are not there",
        "lane < blockDim.x / 32 ? of_warp[lane] : 0.0f",
        "of_warp[lane]",
        UNWRITTEN,
    ),
    Bug("bitonic_sort", "both partners exchange", "if (other > t) {", "if (other != t) {", RACE),
    Bug("warp_transpose", "warps share one row", "own[warp][lane] = x", "own[0][lane] = x", UNWRITTEN),
    Bug("tiled_matmul", "blocks overlap", "blockIdx.x * T + x", "blockIdx.x * (T - 4) + x", GLOBAL),
    Bug(
        "compact",
        "room reserved without an atomic addition",
        "first = atomicAdd(count, __popc(lanes));",
        "first = *count, *count = first + __popc(lanes);",
        GLOBAL,
    ),
    Bug("dot_product", "sum without an atomic addition", "atomicAdd(result, sum);", "*result += sum;", GLOBAL),
    Bug("copy_ahead", "waits for one group too few", "__pipeline_wait_prior(1)", "__pipeline_wait_prior(2)", UNWRITTEN),
    Bug("copy_ahead", "commit forgotten", "__pipeline_commit();\n    for", "for", UNWRITTEN),
    Bug(
        "copy_ahead", "copies into the tile that is read", "&tile[(k + 1) % 2][4 * t]", "&tile[k % 2][4 * t]", UNWRITTEN
    ),
    Bug(
        "last_block_sum",
        "fence removed",
        "        __threadfence(); // the part is there before the count\n",
        "",
        GLOBAL,
    ),
    Bug(
        "last_block_sum",
        "counted before the part is there",
        "        parts[blockIdx.x] = v;\n        __threadfence();",
        "        __threadfence();\n        parts[blockIdx.x] = v;",
        GLOBAL,
    ),
    Bug("last_block_sum", "every block adds the parts up", "if (!last) return;", "", ("uninitialised-global", *GLOBAL)),
    # Barriers that not all threads reach.
    Bug(
        "tiled_matmul",
        "early return before a barrier",
        "    float sum = 0.0f;\n",
        "    if (row == 5) return;\n    float sum = 0.0f;\n",
        BARRIER,
    ),
    Bug(
        "convolution",
        "return moved before the barrier",
        "    __syncthreads(); // the pixels are there\n",
        "    if (x0 + x >= w) return;\n    __syncthreads();\n",
        BARRIER,
    ),
    Bug(
        "block_sum",
        "barrier inside a condition",
        "if (t < s) part[t] += part[t + s];\n        __syncthreads();",
        "if (t < s) { part[t] += part[t + s]; __syncthreads(); }",
        BARRIER,
    ),
    Bug(
        "bitonic_sort",
        "barrier inside the exchange",
        "s[t] = b, s[other] = a;\n            }\n            __syncthreads();",
        "s[t] = b, s[other] = a;\n            __syncthreads(); }",
        (*BARRIER, *RACE),
    ),
    Bug(
        "stencil",
        "two barriers in place of one",
        "__syncthreads(); // the neighbours are there",
        "if (t < 64) __syncthreads();\n    else\n        __syncthreads();",
        BARRIER,
    ),
    Bug(
        "softmax",
        "loop with a barrier runs differently often",
        "    for (int j = t; j < columns; j += 128) {\n        row[j] = x",
        "    for (int j = t; j < columns; j += 128) {\n        __syncthreads();\n        row[j] = x",
        (*BARRIER, *MASK),
    ),
    # Masks and lanes.
    Bug("shuffle_sum", "mask of half a warp", "__shfl_down_sync(0xffffffff, v", "__shfl_down_sync(0x0000ffff, v", MASK),
    Bug(
        "shuffle_sum",
        "shuffle that half of the warp reaches",
        "    v = warp_sum(v);\n    if",
        "    if (lane < 16) v = warp_sum(v);\n    if",
        MASK,
    ),
    Bug(
        "shuffle_sum",
        "early return before a shuffle",
        "    v = warp_sum(v);\n    if",
        "    if (lane == 7) return;\n    v = warp_sum(v);\n    if",
        MASK,
    ),
    Bug("shuffle_sum", "block no multiple of a warp", "", "", MASK, (1, 112, 0)),
    Bug(
        "softmax",
        "lanes with different masks",
        "__shfl_xor_sync(0xffffffff, sum, offset)",
        "__shfl_xor_sync(t % 2 ? 0xffffffff : 0x55555555, sum, offset)",
        MASK,
    ),
    Bug(
        "softmax",
        "width that is no power of two",
        "__shfl_xor_sync(0xffffffff, sum, offset)",
        "__shfl_xor_sync(0xffffffff, sum, offset, 24)",
        ("wrong-operand",),
    ),
    Bug(
        "compact",
        "ballot under its condition",
        "bool keep = i < n && x[i] > 0;\n",
        "bool keep = i < n && x[i] > 0;\n    if (!keep) return;\n",
        MASK,
    ),
    Bug(
        "compact",
        "shuffle from a lane that has gone",
        "first = __shfl_sync(",
        "if (lane == 0 && !keep) return;\n    first = __shfl_sync(",
        MASK,
    ),
    Bug(
        "warp_transpose",
        "barrier of half a warp",
        "__syncwarp(); // the warp has written",
        "__syncwarp(lane < 16 ? 0x0000ffff : 0xffff0000);",
        RACE,
    ),
    Bug(
        "warp_transpose",
        "warp barrier that does not name its caller",
        "__syncwarp(); // the warp has written",
        "__syncwarp(0x7fffffff);",
        MASK,
    ),
    Bug(
        "wmma_matmul",
        "matrix operation of half a warp",
        "        wmma::mma_sync(c, a, b, c);\n",
        "        if (threadIdx.x < 16) wmma::mma_sync(c, a, b, c);\n",
        MASK,
    ),
    Bug(
        "wmma_matmul",
        "lanes load different tiles",
        "(b, B + k * n + column, n)",
        "(b, B + (k + threadIdx.x % 2 * 16 % n) % n * n + column, n)",
        ("wrong-operand",),
    ),
    Bug("wmma_matmul", "tile stored twice by two blocks", "C + row * n + column, c", "C + row * n, c", GLOBAL),
    # Arithmetic.
    Bug("vector_add", "division by zero", "z[i] = x[i]", "z[i] = n % (i - 5) + x[i]", ("undefined-arithmetic",)),
    Bug("compact", "shift by 32 bits", "(1u << lane) - 1", "(1u << (lane + 1)) - 1", ("undefined-arithmetic",)),
    Bug("scan", "sum that overflows", "part[0][t] = x", "part[0][t] = 0x7ffffff0 + x", ("undefined-arithmetic",)),
)


def all_bugs() -> list[Bug]:
    """Every bug: those written above, and every barrier removed."""
    return [*(bug for case in CASES for bug in removed_barriers(case)), *WRITTEN]
