"""Annotation and lowering: from a sketch to loops with numbers
============================================================

After this you can fill the holes of a sketch, say how large the space is and how a draw is biased, and follow bound
inference and lowering to the loop nest, where padding is skipped and odd tiles are cut short.

Papers: Ansor §4.2. Time: about one minute on a laptop. Needs a C compiler for the last section. Read before:
03_sketches.
"""

# %% [markdown]
# ## 1. Holes
# A 3 × 3 convolution with padding, on a 7 × 7 image: small, and 7 is prime. One of its sketches:

# %%
import math
from collections import Counter

import numpy as np

from ansor_mini.annotation import register_tiles, sample, uniform_tiles
from ansor_mini.bounds import infer
from ansor_mini.holes import TILE
from ansor_mini.lowering import lower
from ansor_mini.schedule import ScheduleError, replay
from ansor_mini.sketch import Program, derive
from ansor_mini.sketch_text import show_sketch
from ansor_mini.steps import ComputeAt, ComputeInline, Split
from ansor_mini.workloads import parse_workload
from runtime.compile_c import run_nest
from runtime.machine import detect

machine = detect()
rng = np.random.default_rng(0)
dag = parse_workload("C2D:7,7,32,64,3,1,1")
sketches = derive(dag, machine=machine)
sketch = next(sketch for sketch in sketches if "cache-write" in sketch.rules)
print(show_sketch(sketch))
for hole in sketch.holes:
    print(f"{hole.name:22} {hole.kind:10} {len(hole.values):6} values, such as {hole.values[len(hole.values) // 2]}")
size = math.prod(len(hole.values) for hole in sketch.holes)
print(f"{size:.1e} programs in this sketch, one of {len(sketches)}")
assert size > 10**8

# %% [markdown]
# ## 2. Draws
# The paper draws every tile size uniformly. But a tile of 3 accumulators keeps the multiply-add units waiting, and one
# of 100 does not fit the registers. `register_tiles`, the default, draws innermost tiles that fit; one draw in eight is
# uniform, so that nothing is out of reach.


# %%
def accumulators(program: Program) -> int:
    """Vectors in the innermost tile of the convolution."""
    annotation = program.annotation
    inner = [annotation[hole.name][-1] for hole in sketch.holes if hole.kind == TILE and not hole.reduce]
    return math.ceil(math.prod(inner) / machine.lanes)


for name, policy in (("uniform", uniform_tiles), ("registers", register_tiles)):
    counts = Counter(min(accumulators(sample(sketch, rng, machine, tiles=policy)).bit_length(), 7) for _ in range(400))
    print(f"\n{name}: accumulators of 400 random programs")
    for bits in range(1, 8):
        label = f"{2 ** (bits - 1)}–{2**bits - 1}" if bits < 7 else "64 and more"
        print(f"{label:>12} " + "#" * (counts[bits] // 5))
    if name == "registers":
        assert counts[4] + counts[5] > 200

# %% [markdown]
# ## 3. Replay
# A program's steps, replayed, give a state: loops with extents, and where each stage is computed. Nothing else is
# kept anywhere; a record holds the steps and the annotation.

# %%
program = sample(sketch, rng, machine)
state = program.schedule()
print(state)
assert str(Program(program.sketch, program.frozen).schedule()) == str(state)

# %% [markdown]
# ## 4. Bounds
# Going from consumers to producers, each stage attached at a loop must compute what one iteration of that loop reads.
# For a window of three taps that is two more rows than the tile: tiles of 2 rows of outputs need 4 of inputs.

# %%
steps = [Split("conv", "h", (2,)), ComputeAt("pad", "conv", "h.0")]
bounds = infer(replay(dag, steps))
for name, found in bounds.items():
    print(f"{name:6} computes { ({axis: span.extent for axis, span in found.region.items()}) }")
assert bounds["pad"].region["h"].extent == 2 + 3 - 1

# %% [markdown]
# ## 5. Guards, and taps that are skipped
# 7 rows in tiles of 2: the last tile sticks out, so there is a guard. Padding that is inlined is not multiplied by
# zero: the tap is skipped, and the condition stands in the outermost loop where it is known.

# %%
nest = lower(replay(dag, [ComputeInline("pad"), Split("conv", "h", (2,))]))
print(nest)
assert "< 7" in str(nest) and "select" not in str(nest)

# %% [markdown]
# ## 6. What is illegal says why
# A location must be inside the loops of all readers, and no core may write what another reads.

# %%
try:
    replay(dag, [ComputeAt("conv", "pad", "h")])
except ScheduleError as error:
    print("refused:", error.reason)
    refused = True
assert refused

# %% [markdown]
# ## 7. Any program is right
# Small integers in float32 add up exactly in every order, so equality is equality of bits.

# %%
small = parse_workload("C2D:7,7,4,8,3,2,1")
x = rng.integers(-3, 4, (1, 7, 7, 4)).astype(np.float32)
w = rng.integers(-3, 4, (3, 3, 4, 8)).astype(np.float32)
(expected,) = small.evaluate(x, w)
outcomes: Counter[str] = Counter()
for small_sketch in derive(small, machine=machine):
    for _ in range(6):
        candidate = sample(small_sketch, rng, machine)
        try:
            lowered = candidate.lower()
        except ScheduleError as error:
            outcomes[f"infeasible: {error.reason}"] += 1
            continue
        assert np.array_equal(run_nest(lowered, x, w)[0], expected), candidate
        outcomes["equal to NumPy"] += 1
for outcome, times in outcomes.most_common():
    print(f"{times:4} {outcome}")
assert outcomes["equal to NumPy"] > 10

# %% [markdown]
# Question: which of the holes above can make a program infeasible, and why can tile sizes never?
