"""Why loop nests matter: one matrix product, from naive to the limit
==================================================================

After this you can read a loop nest, say in which order it visits memory, and change that order step by step until the
same additions run at the speed limit of the machine.

Papers: Ansor §1, §2, §4. Time: about one minute on a laptop. Needs a C compiler. Read before: 01_quickstart, sections
1 and 3.
"""

# %% [markdown]
# ## 1. One computation, and a way to time its nests
# A product of two 512 × 512 matrices is 268 million operations, whatever the loops. Each section below applies one
# call, prints the loop nest and the order in which a 4 × 4 result is visited, and measures.

# %%
import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.lowering import lower
from ansor_mini.schedule import replay
from ansor_mini.steps import CacheWrite, ComputeAt, FollowSplit, Reorder, Split, Vectorize
from ansor_mini.workloads import parse_workload
from runtime.compile_c import aligned_empty, build_library, load_kernel
from runtime.emit_c import emit_library
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.timing import interleaved

machine = detect()
rng = np.random.default_rng(0)
n = 512
dag = parse_workload(f"matmul:{n},{n},{n}")
a, b = (rng.integers(-3, 4, (n, n)).astype(np.float32) for _ in range(2))
expected = a @ b
speeds: dict[str, float] = {}


def measure(name: str, nest: LoopNest) -> None:
    """Check a nest's answer, time it, and remember its speed."""
    kernel = load_kernel(build_library(emit_library([nest])), nest)
    out = aligned_empty((n, n), "float32")
    kernel(a, b, out)
    assert np.array_equal(out, expected)
    seconds = interleaved({name: lambda: kernel(a, b, out)}, rounds=3, min_seconds=0.02)[name]
    speeds[name] = dag.flops / seconds / 1e9
    print(f"\n{name}: {seconds * 1e3:.2f} ms, {speeds[name]:.1f} GFLOP/s")


def visits(steps: list, size: int = 4) -> list[tuple[int, int]]:
    """The places of a small result in the order in which the nest first writes them."""
    small: ComputeDAG = parse_workload(f"matmul:{size},{size},{size}")
    order: dict[tuple[int, ...], None] = {}
    ones = np.ones((size, size), np.float32)
    interpret(lower(replay(small, steps)), ones, ones, on_store=lambda name, where: order.setdefault(where))
    grid = [[list(order).index((i, j)) for j in range(size)] for i in range(size)]
    print("\n".join(" ".join(f"{number:2}" for number in row) for row in grid))
    return list(order)  # type: ignore[arg-type]


# %% [markdown]
# ## 2. The formula, read as loops
# For each element of C a sum over k. The elements of C come row by row, as in a plain Python loop.

# %%
steps: list = []
print(lower(replay(dag, steps)))
order = visits(steps)
assert order == [(i, j) for i in range(4) for j in range(4)]
measure("i j k", lower(replay(dag, steps)))

# %% [markdown]
# B[k, j] with k innermost walks down a column: each step lands in another cache line, and nothing can be a vector.
#
# ## 3. Reorder
# The additions are the same, in another order. Now j is innermost, and B and C are read along rows.

# %%
steps = [Reorder("C", ("i", "k", "j"))]
print(lower(replay(dag, steps)))
assert visits(steps) == order  # C is visited as before: what changed is how often, and what is read meanwhile
measure("i k j", lower(replay(dag, steps)))

# %% [markdown]
# ## 4. Vectorise
# The innermost loop runs 16 (or 8, or 4) iterations in one instruction. What did not change: the visiting order.

# %%
steps = [Split("C", "j", (machine.lanes,)), Reorder("C", ("i", "j.0", "k", "j.1")), Vectorize("C", "j.1")]
print(lower(replay(dag, steps)))
visits([Split("C", "j", (2,)), Reorder("C", ("i", "j.0", "k", "j.1")), Vectorize("C", "j.1")])
measure("vectors", lower(replay(dag, steps)))

# %% [markdown]
# One vector of C is now kept in a register for all of k. But each multiply-add needs the result of the one before, and
# for each there is a load of B: the units wait.
#
# ## 5. A register tile
# A tile of rows × vectors of C shares its loads: a vector of B serves all rows, an element of A all vectors. And there
# are enough independent sums to keep the units busy. 14 × 2 vectors take 28 of 32 registers.


# %%
def tiled(rows: int, columns: int) -> list:
    """Compute a tile of C in a local buffer, with the whole sum around the tile."""
    return [
        CacheWrite("C"),
        Split("C.local", "i", (rows,)),
        Split("C.local", "j", (columns,)),
        Reorder("C.local", ("i.0", "j.0", "k", "i.1", "j.1")),
        Vectorize("C.local", "j.1"),
        FollowSplit("C", "i", ("C.local", "i"), 2),
        FollowSplit("C", "j", ("C.local", "j"), 2),
        Reorder("C", ("j.0", "i.0", "i.1", "j.1")),
        Vectorize("C", "j.1"),
        ComputeAt("C.local", "C", "i.0"),
    ]


rows, vectors = (14, 2) if machine.vector_bytes == 64 else (6, 2)
steps = tiled(rows, vectors * machine.lanes)
nest = lower(replay(dag, steps))
print(nest)
first = [where for where in visits(tiled(2, 2)) if len(where) == 2]
assert first[:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
measure("register tile", nest)

# %% [markdown]
# 512 is not a multiple of 14, so the last tile is shorter: lowering put a guard, and the emitter made two texts of it,
# whole tiles without guards and the rest.
#
# ## 6. What is left
# The limit is what the multiply-add units can do: two vectors (or one) per cycle. This loop does nothing else.

# %%
lanes, steps_of_loop, sums = machine.lanes, 20000, 16
text = f"""
typedef float vf __attribute__((vector_size({4 * lanes})));
void limit(float *restrict out, int steps)
{{
    vf acc[{sums}], x = *(vf *)out;
    #pragma GCC unroll {sums}
    for (int i = 0; i < {sums}; i++) acc[i] = x;
    for (int s = 0; s < steps; s++) {{
        #pragma GCC unroll {sums}
        for (int i = 0; i < {sums}; i++) {{ acc[i] = acc[i] * x + x; __asm__("" : "+v"(acc[i])); }}
    }}
    for (int i = 1; i < {sums}; i++) acc[0] += acc[i];
    *(vf *)out = acc[0];
}}
"""
import cffi

ffi = cffi.FFI()
ffi.cdef("void limit(float *, int);")
library = ffi.dlopen(str(build_library(text)))
scratch = aligned_empty((lanes,), "float32")
scratch[:] = 0.5
place = ffi.cast("float *", scratch.ctypes.data)
seconds = interleaved({"limit": lambda: library.limit(place, steps_of_loop)}, rounds=3, min_seconds=0.02)["limit"]
speeds["multiply-adds only"] = 2 * sums * lanes * steps_of_loop / seconds / 1e9

# %%
best = max(speeds.values())
for name, speed in speeds.items():
    print(f"{name:>20} {speed:7.1f} GFLOP/s " + "#" * max(1, round(50 * speed / best)))
assert speeds["register tile"] > speeds["i k j"] > speeds["i j k"]

# %% [markdown]
# Question: try tiles of 4 × 1, 8 × 2, 16 × 2 and 30 × 2 vectors. Which are slow because the sums are too few, and which
# because the registers are?
#
# The space of such choices (which loops to split, into how many parts, in which order, what to compute where) is what
# the next tutorial derives by rules instead of by hand.
