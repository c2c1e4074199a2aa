"""From tiles to blocks, threads, shared memory and barriers, without a GPU
========================================================================

After this you can say which loop of a tiled program becomes a block and which a thread, read the emitted CUDA, run it
on your CPU, and find out why a kernel is wrong: we take a barrier away and are told where it was missing.

Papers: Ansor §4.3. Time: about one minute on a laptop. Needs a C++ compiler, no GPU. Read before: 02_loop_nests.
"""

# %% [markdown]
# ## 1. A tiled product, and who runs which loop
# On a CPU, tiles are for caches and registers. On a GPU the same tiles say who works:
#
# - `block`: iterations go to blocks of threads. Blocks run in any order and cannot wait for one another.
# - `thread`: iterations are the threads of one block. They share memory, and can wait for one another.
# - every other loop runs inside one thread.
#
# Below, each block computes an 8 × 8 tile of C. Its 64 threads copy a tile of A and one of B into shared memory
# together, and then each of them computes one element. The second and third `thread` loops are inside the first: they
# name the same threads again.

# %%
import numpy as np

from runtime.cuda_on_cpu import compile_on_cpu, run_on_cpu
from runtime.emit_cuda import emit_cuda
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse

nest = parse("""def product(A: float32[16, 16], B: float32[16, 16]) -> (C: float32[16, 16]):
    for tile in block(4):
        with shared(float32[8, 8]) as a:
            with shared(float32[8, 8]) as b:
                for t in thread(64):
                    with local(float32[()]) as sum:
                        sum[()] = 0.0
                        for k in range(2):
                            for u in thread(64):
                                a[u // 8, u % 8] = A[tile // 2 * 8 + u // 8, k * 8 + u % 8]
                            for v in thread(64):
                                b[v // 8, v % 8] = B[k * 8 + v // 8, tile % 2 * 8 + v % 8]
                            for j in range(8):
                                sum[()] = sum[()] + a[t // 8, j] * b[j, t % 8]
                        C[tile // 2 * 8 + t // 8, tile % 2 * 8 + t % 8] = sum[()]
""")
print(nest)

# %% [markdown]
# What did *not* change: all these loops mean the same as serial ones. Run one thread after the other, each of them
# repeating the whole copy, and the answer is right, only slow. So the interpreter is the judge of every GPU program.

# %%
rng = np.random.default_rng(0)
A, B = (rng.integers(-3, 4, (16, 16)).astype(np.float32) for _ in range(2))
expected = A @ B
assert np.array_equal(interpret(nest, A, B)[0], expected)

# %% [markdown]
# ## 2. The same nest as CUDA
# `block` has become `blockIdx.x`, the `thread` loops `threadIdx.x`. Real threads do not run one after the other, so the
# emitter has to add what the serial meaning did not need: `__syncthreads()`, where all threads of the block wait. The
# first lets nobody read a tile before everybody has written his part, the second lets nobody overwrite it too early.

# %%
module = emit_cuda(nest)
print(module.text)
BARRIER = "__syncthreads();"
lines = module.text.splitlines()
barriers = [number for number, line in enumerate(lines) if BARRIER in line]
assert len(barriers) == 2
for launch in module.launches:
    print(f"{launch.kernel}: {launch.grid} blocks of {launch.block} threads, {launch.shared_bytes} bytes shared")

# %% [markdown]
# ## 3. Run it on the CPU, under checks
# The text above is built by the C++ compiler as it stands. Each CUDA thread is a fiber: a stack of its own, and a
# switch to the next one at a barrier. The compiler is asked to report every access to memory, and each access is
# compared with who touched that word before, and whether a barrier lies between.

# %%
(result,), reports = run_on_cpu(module, [A, B])
assert np.array_equal(result, expected)
assert not reports

# %% [markdown]
# ## 4. Plant a race
# Take one barrier away, then the other. A race is two threads at one word, one of them writing, and nothing that orders
# them. The report names both lines, the block, the thread and the element.


# %%
def without(line: int) -> str:
    """The text with one line emptied, so that the others keep their numbers."""
    return "\n".join("" if number == line else text for number, text in enumerate(lines))


kernel = module.launches[0]
for number in barriers:
    planted = compile_on_cpu(without(number))
    C = np.zeros_like(expected)
    found = planted.launch(kernel.kernel, kernel.grid, kernel.block, [A, B, C])
    print(f"\nwithout the barrier of line {number + 1}: result {'right' if np.array_equal(C, expected) else 'wrong'}")
    for report in found:
        print(f"  line {report}")
        print(f"      {lines[report.line - 1].strip()}")
    assert any(report.kind == "shared-race" for report in found)

# %% [markdown]
# Running is no proof: a program with a race may give the right result today and on this machine. In this sum the lanes
# of a warp trust that they run in step. On GPUs before 2017 they did, and it came out right; on later ones it may or
# may not. The check does not depend on luck: it reports that nothing orders the two accesses.

# %%
SUM = """
extern "C" __global__ void sum(const float* x, float* y) {
    __shared__ float part[32];
    int t = threadIdx.x;
    part[t] = x[t];
    __syncwarp();
    for (int step = 16; step > 0; step /= 2) {
        if (t < step) part[t] += part[t + step];
        SYNC
    }
    if (t == 0) y[0] = part[0];
}
"""
x, y = np.arange(32, dtype=np.float32), np.zeros(1, np.float32)
for sync in ("", "__syncwarp();"):
    found = compile_on_cpu(SUM.replace("SYNC", sync)).launch("sum", 1, 32, [x, y])
    print(f"with {sync or 'nothing'} between the steps: {y[0]:g}, {[report.kind for report in found]}")
    assert bool(found) == (sync == "")
assert y[0] == x.sum()

# %% [markdown]
# ## 5. Three more mistakes that everybody makes once
# The last block runs over the end; a thread leaves before the others wait for it; a shuffle asks a lane that has gone.

# %%
MISTAKES = {
    "out-of-bounds": "y[i] = x[i];",
    "divergent-barrier": "if (i >= n) return; __syncthreads(); y[i] = x[i];",
    "wrong-mask": "if (i >= n) return; y[i] = __shfl_down_sync(0xffffffff, x[i], 1);",
}
n = 40
for kind, body in MISTAKES.items():
    text = f"__global__ void k(const float* x, float* y, int n) {{ int i = blockIdx.x * 32 + threadIdx.x; {body} }}"
    found = compile_on_cpu(text).launch("k", 2, 32, [np.ones(n, np.float32), np.zeros(n, np.float32), n])
    print(found[0])
    assert found[0].kind == kind

# %% [markdown]
# ## 6. Your own kernels
# The same from a shell, for a file of your own; `--help` says how arguments are written:
#
#     python -m runtime cuda-check kernel.cu --grid 2 --block 32 --arg float:40 --arg float:40=unwritten --arg int=40

# %%
import contextlib
import io
from pathlib import Path

from runtime.__main__ import main

Path("kernel.cu").write_text("__global__ void k(const float* x, float* y, int n) {\n    y[threadIdx.x] = x[n];\n}\n")
told = io.StringIO()
with contextlib.redirect_stdout(told):
    status = main(["cuda-check", "kernel.cu", "--arg", "float:40", "--arg", "float:40", "--arg", "int=40"])
Path("kernel.cu").unlink()
print(told.getvalue())
assert status == 1 and "kernel.cu:2: out-of-bounds: read of 4 bytes at `x[40]`" in told.getvalue()

# %% [markdown]
# Questions. Which of the two barriers of section 2 could go if each step of `k` used other shared arrays in turn? What
# would it cost? Why can no barrier order two blocks, and what does a kernel do that needs it?
