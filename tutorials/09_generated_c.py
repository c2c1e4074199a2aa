"""Reading the generated C: what each line is for, and what it costs without
=========================================================================

After this you can read an emitted kernel, say which decision of the loop nest became which line, and measure what a
line is worth by taking it away.

Papers: Ansor §4, §7. Time: about one minute on a laptop. Needs gcc or clang. Read before: 02_loop_nests.
"""

# %% [markdown]
# ## 1. A kernel with everything in it
# A matrix product in tiles of 6 rows × 2 vectors, run by two cores. 64 is no multiple of 6.

# %%
import re
from collections.abc import Callable

import numpy as np

from ansor_mini.lowering import lower
from ansor_mini.schedule import replay
from ansor_mini.steps import CacheWrite, ComputeAt, FollowSplit, Parallel, Reorder, Split, Vectorize
from ansor_mini.workloads import parse_workload
from runtime.compile_c import aligned_empty, build_library, find_compiler, load_kernel
from runtime.emit_c import emit_library, prepare
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.timing import interleaved

machine, compiler = detect(), find_compiler()
print(compiler.version, compiler.flags)
lanes = machine.lanes
columns = 2 * lanes


def tiled(n: int, rows: int, *, height: int = 0, parallel: bool = False) -> LoopNest:
    """A product of n x n matrices (or height x n and n x n) in register tiles of `rows` rows and two vectors."""
    steps: list = [
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
    if parallel:
        steps.append(Parallel("C", "j.0"))
    return lower(replay(parse_workload(f"matmul:{height or n},{n},{n}"), steps))


nest = tiled(64, 6, parallel=True)
print(nest)

# %% [markdown]
# ## 2. Before the text: a nest that can be printed line by line
# Passes bring the nest to a form in which every decision is a loop or a buffer. Whole tiles and the last, shorter one
# are apart (`borders`). A vectorised loop is now one vector long (`vector_loops`). The tile is a register buffer, and
# every loop that indexes it is unrolled, for a register has no address (`register_tiles`). The result is again a loop
# nest: the interpreter runs it, and it computes the same.

# %%
prepared = prepare(nest)
print(prepared)
rng = np.random.default_rng(0)
a, b = (rng.integers(-3, 4, (64, 64)).astype(np.float32) for _ in range(2))
assert np.array_equal(interpret(prepared, a, b)[0], a @ b)
assert "register(" in str(prepared) and "register(" not in str(nest)

# %% [markdown]
# ## 3. The text
# - `f32x16` (or x8, x4) is a vector of the compiler. Arithmetic on it is one instruction.
# - Loads and stores go through `f32x16u`, the same with `aligned(4), may_alias`: rows need not start on 64 bytes.
# - `C_local` is an array of vectors. `UNROLL(6)` makes its indices constants, so it lives in registers.
# - `UNROLL(1)` on the sum keeps the compiler from unrolling a short one, which makes it spill.
# - The body of the parallel loop is a function: a pointer captured by an OpenMP region is no longer `restrict`.

# %%
text = emit_library([nest], threads=2)
print(text)
for needed in ("vector_size", "aligned(4)", "UNROLL(6)", "UNROLL(1)", "#pragma omp parallel for", "_part0("):
    assert needed in text, needed

# %% [markdown]
# ## 4. What is a line worth?
# Take one away, compile again, measure. One core, a 384³ product; every variant still gives the right answer.

# %%
size = 384
nest = tiled(size, 12 if machine.vector_bytes == 64 else 6)
text = emit_library([nest])
a, b = (rng.integers(-3, 4, (size, size)).astype(np.float32) for _ in range(2))
expected = a @ b


def with_rolled_tiles(source: str) -> str:
    """The tile's loops stay loops, so the tile has to stay in memory."""
    return re.sub(r"UNROLL\(\d+\)\n", "UNROLL(1)\n", source)


def with_unrolled_sums(source: str) -> str:
    """The compiler may unroll the sum eight times: more loads in flight, more registers needed."""
    return source.replace("UNROLL(1)\n", "UNROLL(8)\n")


def without_restrict(source: str) -> str:
    """Any store might now change what a pointer reads."""
    return source.replace("restrict ", "")


VARIANTS: dict[str, Callable[[str], str]] = {
    "as emitted": lambda source: source,
    "tile in memory": with_rolled_tiles,
    "sum unrolled": with_unrolled_sums,
    "no restrict": without_restrict,
}
programs: dict[str, Callable[[], object]] = {}
for name, change in VARIANTS.items():
    kernel = load_kernel(build_library(change(text)), nest)
    out = aligned_empty((size, size), "float32")
    kernel(a, b, out)
    assert np.array_equal(out, expected), name
    programs[name] = lambda kernel=kernel, out=out: kernel(a, b, out)  # type: ignore[misc]

seconds = interleaved(programs, rounds=5, min_seconds=0.02)
best = min(seconds.values())
for name, value in seconds.items():
    print(f"{name:>16} {2e-9 * size**3 / value:7.1f} GFLOP/s " + "#" * round(50 * best / value))
assert seconds["tile in memory"] > seconds["as emitted"]

# %% [markdown]
# The tile in registers is the decision that counts. The others matter for other shapes: a sum of 3 or 16 steps is
# unrolled by the compiler itself unless told not to, and a kernel whose output the compiler cannot tell apart from its
# inputs loads them again after each store.
#
# ## 5. A tile of few rows
# With four rows or fewer gcc folds the loads of B into the multiply-adds: each row then loads them again. `KEEP64`, an
# empty instruction that claims to change the vector, stops that.

# %%
short = tiled(size, 3)
text = emit_library([short])
keeps = "KEEP64(B_row" in text
print("KEEP64 in the text:", keeps)
programs = {}
for name, source in (("kept", text), ("folded", re.sub(r"KEEP64\(B_row.*?\);", "", text))):
    kernel = load_kernel(build_library(source), short)
    out = aligned_empty((size, size), "float32")
    kernel(a, b, out)
    assert np.array_equal(out, expected)
    programs[name] = lambda kernel=kernel, out=out: kernel(a, b, out)  # type: ignore[misc]
for name, value in interleaved(programs, rounds=5, min_seconds=0.02).items():
    print(f"{name:>16} {2e-9 * size**3 / value:7.1f} GFLOP/s")
assert keeps

# %% [markdown]
# ## 6. What is far away
# Here B takes 4 MiB, more than a second-level cache, and every line of it is used by one tile. Rows are 4 KiB apart,
# where no processor foresees which comes next. So the loop asks for the lines that it reads some iterations later
# (`prefetches`): nobody waits for a request.

# %%
size, height = 1024, 8
wide = tiled(size, 8, height=height)
text = emit_library([wide])
print("\n".join(line.strip() for line in text.splitlines() if "prefetch" in line))
assert "__builtin_prefetch(&B" in text and "__builtin_prefetch" not in emit_library([tiled(384, 8)])
a, b = (rng.integers(-3, 4, (rows, size)).astype(np.float32) for rows in (height, size))
programs = {}
for name, source in (("asked for", text), ("waited for", re.sub(r".*__builtin_prefetch.*\n", "", text))):
    kernel = load_kernel(build_library(source), wide)
    out = aligned_empty((height, size), "float32")
    kernel(a, b, out)
    assert np.array_equal(out, a @ b)
    programs[name] = lambda kernel=kernel, out=out: kernel(a, b, out)  # type: ignore[misc]
for name, value in interleaved(programs, rounds=5, min_seconds=0.02).items():
    print(f"{name:>16} {2e-9 * height * size**2 / value:7.1f} GFLOP/s")

# %% [markdown]
# Question: `python -m ansor_mini explain RECORD` prints the C of any measured program. Tune `C2D:14,14,256,256,3,1,1`
# and find in its text where padding went.
