"""Finding out why a layer is slow
===============================

After this you can tell which kernel of a network takes the time, whether it takes more than the machine needs, and what
in its loops is the reason; and you can check a repair.

Papers: Ansor §3, §4.1, §4.2. Time: about one minute on a laptop (MINI_TUTORIAL_SECONDS sets another budget for the
search). Needs a C compiler. Read before: 02_loop_nests, 09_generated_c.
"""

# %% [markdown]
# ## 1. A network with a slow layer
# Three layers, the one in the middle with the least to do. It got a schedule that somebody wrote by hand, and the
# network is slow.

# %%
import os

import numpy as np

from ansor_mini.default_schedule import default_nest
from ansor_mini.lowering import lower
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph, partition
from ansor_mini.schedule import replay
from ansor_mini.steps import Reorder
from runtime.layout import to_channels_last
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from taso_mini.models.layers import Layers

layers = Layers("three", np.random.default_rng(0))
x = layers.input("image", (1, 32, 28, 28))
for name, channels, window in (("wide", 64, 3), ("narrow", 64, 1), ("last", 32, 3)):
    x = layers.conv(x, name, channels, window)
graph = to_channels_last(layers.finish(x))
machine = detect()
parts = [part for part in partition(graph) if part.kind == "compute" and part.anchor.operator == "conv"]


def by_hand(part: Subgraph) -> LoopNest:
    """Channels outermost and the image innermost, as for images that have their channels in front."""
    dag = declare(part.fragment)
    return lower(replay(dag, [Reorder("v0_conv", ("c", "n", "k0", "k1", "ci", "h", "w"))]))


nests = [default_nest(parts[0], machine, 1), by_hand(parts[1]), default_nest(parts[2], machine, 1)]
assert len(parts) == 3

# %% [markdown]
# ## 2. Which one is it?
# A sum tells little, so put a clock between the steps of an inference (`python -m runtime run DIR --profile` does it
# for a network in a directory).

# %%
from ansor_mini.network import assemble
from runtime import executor

chosen = {part.key: nest for part, nest in zip(parts, nests)}
every = partition(graph)
others = {part.key: default_nest(part, machine, 1) for part in every if part.kind == "compute"}
network = executor.build(assemble(graph, every, {**others, **chosen}))
laps = network.profile(rounds=5)
for lap in sorted(laps, key=lambda lap: -lap.seconds):
    print(f"{lap.seconds * 1e6:9.1f} us  {lap.text}")

# %% [markdown]
# That is what each step takes where it stands, with the caches as the steps before it leave them. To see what a kernel
# can do, measure it alone, on the sizes that it has in the network, in a process of its own; and check its answer,
# since a fast wrong kernel is no repair.

# %%
from runtime.measure import measure
from runtime.measure_case import MeasureCase


def case_of(part: Subgraph) -> MeasureCase:
    """Small integers, on which all orders of summation agree, and what NumPy makes of them."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.integers(-2, 3, kind.shape).astype(np.float32) for name, kind in part.fragment.inputs.items()}
    return MeasureCase(list(feeds.values()), list(part.fragment.evaluate(feeds).values()))


def seconds_of(part: Subgraph, nest: LoopNest) -> float:
    """The time of one run."""
    (result,) = measure([nest], case_of(part))
    assert result.ok, result
    return result.cost


times = [seconds_of(part, nest) for part, nest in zip(parts, nests)]
rates = [part.fragment.flops / seconds / 1e9 for part, seconds in zip(parts, times)]
for name, part, seconds, rate in zip(("wide", "narrow", "last"), parts, times, rates):
    print(f"{name:7} {part.fragment.flops / 1e6:6.1f} MFLOP {seconds * 1e6:9.1f} us {rate:7.2f} GFLOP/s")
slow = int(np.argmin(rates))
assert max(laps, key=lambda lap: lap.seconds).text.startswith("narrow"), "in place it is the slowest too"
assert slow == 1, "the narrow layer has less than a quarter of its neighbours' work, and takes longer than they do"

# %% [markdown]
# Rates are compared, not times: a layer with much to do may take long. What rate could it have? A multiply-add unit
# does two operations for each number in a register, at each cycle; and each byte has to come from somewhere. A layer
# with many operations for each byte is held up by the first, one with few by the second.

# %%
fragment = parts[slow].fragment
moved = sum(kind.nbytes for kind in (*fragment.inputs.values(), *(fragment.types[name] for name in fragment.outputs)))
print(f"{fragment.flops / moved:.1f} operations for each byte; its neighbours reach {max(rates):.0f} GFLOP/s")
assert fragment.flops / moved > 10, "enough work for each byte: memory is no excuse"
assert rates[slow] < max(rates) / 4, "it could be several times as fast"

# %% [markdown]
# ## 3. What is the reason?
# Look at the loops. Which index runs fastest, and which elements does it walk over?

# %%
print(nests[slow])
innermost = str(nests[slow]).split("\n")
walk = next(line for line in innermost if "x1[" in line)
print("the statement that runs most often:", walk.strip())

# %% [markdown]
# The innermost loop runs over `w`. With the channels last, `x0[n, h, w, ci]` and the result are then read and written
# with a stride of 64 numbers: one number from each cache line, and no vector load. The sum also goes through memory,
# since the loop over `ci` lies outside of those over the image: each product is one load and one store of the sum.
# A count says the same without a clock: distinct cache lines that 16 steps of the innermost loop touch.

# %%
channels = fragment.types[fragment.outputs[0]].shape[-1]


def lines_touched(stride: int, steps: int = 16, line: int = 64) -> int:
    """Cache lines of float32 numbers that are `stride` apart."""
    return len({4 * stride * step // line for step in range(steps)})


print(f"along w: {lines_touched(channels)} lines; along c: {lines_touched(1)}")
assert lines_touched(channels) == 16 and lines_touched(1) == 1

# %% [markdown]
# ## 4. One change at a time
# First the order alone: channels innermost, where they are neighbours. Then vectors and a tile of sums in registers,
# which is what the default schedule does. The answer is checked each time.

# %%
from ansor_mini.steps import Vectorize

dag = declare(fragment)
order = Reorder("v0_conv", ("n", "h", "w", "k0", "k1", "ci", "c"))
repairs = {
    "as it was": nests[slow],
    "channels innermost": lower(replay(dag, [order])),
    "and as vectors": lower(replay(dag, [order, Vectorize("v0_conv", "c")])),
    "tile in registers": default_nest(parts[slow], machine, 1),
}
found = {name: fragment.flops / seconds_of(parts[slow], nest) / 1e9 for name, nest in repairs.items()}
for name, rate in found.items():
    print(f"{name:20} {rate:7.2f} GFLOP/s")
assert found["tile in registers"] > 4 * found["as it was"]

# %% [markdown]
# ## 5. Ask the search
# The search starts from the default schedule and tries what nobody would write by hand. If it gains little, the layer
# was near what the machine can do; if it gains much, look at what it did: `python -m ansor_mini explain` prints the
# steps, the loops and the C of a recorded program, and what the cost model thinks of each statement.

# %%
from ansor_mini.default_schedule import default_steps
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.sketch import Program, Sketch
from ansor_mini.tuner import Task, tune

budget = float(os.environ.get("MINI_TUTORIAL_SECONDS", "20"))
rng = np.random.default_rng(0)
with LocalMeasurer(dag, rng=rng, constants=("x1",)) as measurer:
    task = Task("narrow", dag, constants=frozenset(("x1",)))
    seed = Program(Sketch(dag, default_steps(dag, machine, 1)))
    result = tune(task, trials=64, budget_seconds=budget, rng=rng, measurer=measurer, seeds=[seed])
print(f"{result.trials} trials: {result.gflops:.1f} GFLOP/s, {result.gflops / found['as it was']:.0f} times as it was")
assert result.gflops > 4 * found["as it was"]

# %% [markdown]
# ## 6. Where it stands
# What is fastest alone need not be fastest in the network, where the weights come from memory and the layer before
# leaves the caches as it pleases. `compile` therefore lets the best few programs of each kernel and its default
# schedule take their time in the network, and keeps what is fastest there. Here each layer has what it began with, and
# the default schedule:

# %%
from ansor_mini.in_place import choose_in_place

candidates = {key: [nest] for key, nest in others.items()}
for key, nest in chosen.items():
    candidates[key] = [nest, others[key]]
choice = choose_in_place(graph, every, candidates)
for name, seconds in choice.seconds.items():
    print(f"{seconds * 1e6:9.1f} us  {name}")
assert choice.picked[parts[slow].key] == 1, "the narrow layer gets its default schedule"

# %% [markdown]
# ## Questions
# 1. The other order of loops is right for images in NCHW. Declare the layer in that layout: which order is slow now?
# 2. "Channels innermost" has the loads right, and still is far from the tile. What goes through memory at each step?
# 3. Make the image 7 x 7 with 512 channels. Which rates change, and is it still the multiply-adds that hold it up?
