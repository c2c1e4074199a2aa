"""Writing your own sketch rule: tiles for transposes
==================================================

After this you can extend the search space by one function and one list entry, see the new sketches, check that they are
right, and let the search use them.

Papers: Ansor §4.1 (Table 1, last row: user-defined rules). Time: about one minute on a laptop. Needs a C compiler.
Read before: 03_sketches.
"""

# %% [markdown]
# ## 1. What Table 1 does with a transpose
# A transpose has no reduction and reads each element once, so no rule finds reuse to exploit: one sketch, two plain
# loops. But a cache line that is read for one element holds its neighbours too, which other rows will want.

# %%
import os

import numpy as np

from ansor_mini.annotation import sample
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Derivation, derive
from ansor_mini.sketch_rules import CPU_RULES, Context, Rule, Verdict
from ansor_mini.steps import Hole, Reorder, Split
from ansor_mini.task import SearchOptions
from ansor_mini.tensor_expression import compute, placeholder
from ansor_mini.tuner import Task, tune
from runtime.compile_c import run_nest
from runtime.expr import Var
from runtime.machine import detect

machine = detect()
rng = np.random.default_rng(0)


def transpose(n: int) -> ComputeDAG:
    """B = Aᵀ."""
    A = placeholder((n, n), "A")
    return ComputeDAG([compute((n, n), lambda i, j: A[j, i], "B")])


dag = transpose(1024)
before = derive(dag, CPU_RULES, machine)
print(f"{len(before)} sketch\n{before[0]}")
assert len(before) == 1

# %% [markdown]
# ## 2. A condition
# It gets the derivation so far and the number of the stage to look at. Ours asks three things of the stage: no
# reduction, loops that nobody touched, and a load whose indices are the stage's axes in another order.


# %%
def reads_transposed(context: Context, derivation: Derivation, index: int) -> Verdict:
    """Apply, besides the other rules, to a stage that reads something with its axes in another order."""
    stage = derivation.state.stages[index]
    tensor = stage.tensor
    if tensor.reduce_axes or not stage.is_untouched or len(tensor.axes) < 2:
        return Verdict.SKIP
    names = [axis.name for axis in tensor.axes]
    for load in tensor.loads():
        order = [i.name for i in load.indices if isinstance(i, Var) and i.name in names]
        if len(order) > 1 and order != sorted(order, key=names.index):
            return Verdict.APPLY
    return Verdict.SKIP


# %% [markdown]
# ## 3. An application
# It gives new derivations, each with the stage to go on with. Steps may contain holes; each needs a spec that says
# which values are legal. Sampling, mutation, crossover and records then handle it without a further line.


# %%
def tile_all_axes(context: Context, derivation: Derivation, index: int) -> list[tuple[Derivation, int]]:
    """Split every axis in two: i0 j0 i1 j1."""
    stage = derivation.state.stages[index]
    names = stage.names()
    holes = [
        HoleSpec(f"{stage.name}.{axis.name}", stage.name, TILE, axis.extent, parts=2) for axis in stage.tensor.axes
    ]
    splits = [Split(stage.name, name, Hole(hole.name)) for name, hole in zip(names, holes)]
    order = tuple(f"{name}.{part}" for part in range(2) for name in names)
    return [(derivation.then("tile-transpose", [*splits, Reorder(stage.name, order)], holes), index - 1)]


TILE_TRANSPOSE = Rule("tile-transpose", reads_transposed, tile_all_axes)
rules = (TILE_TRANSPOSE, *CPU_RULES)
after = derive(dag, rules, machine)
for sketch in after:
    print(f"\n{sketch}")
assert len(after) == 2 and any("tile-transpose" in sketch.rules for sketch in after)

# %% [markdown]
# ## 4. Is it right?
# A rule cannot make a wrong program out of legal steps, but it can make an illegal one. Draw many, run each.

# %%
small = transpose(24)
a = rng.integers(-9, 10, (24, 24)).astype(np.float32)
tried = 0
for sketch in derive(small, rules, machine):
    for _ in range(10):
        program = sample(sketch, rng, machine)
        try:
            nest = program.lower()
        except ScheduleError as error:
            print("infeasible:", error.reason)
            continue
        assert np.array_equal(run_nest(nest, a)[0], a.T)
        tried += 1
print(f"{tried} random programs, all equal to NumPy's transpose")
assert tried >= 10

# %% [markdown]
# ## 5. Is it worth it?
# The rules are an argument of the search. The same search with and without ours, on the same budget:

# %%
seconds = float(os.environ.get("MINI_TUTORIAL_SECONDS", "15"))
best: dict[str, float] = {}
with LocalMeasurer(dag, rng=rng) as measurer:
    for name, chosen in (("Table 1", CPU_RULES), ("with our rule", rules)):
        result = tune(
            Task("transpose:1024", dag),
            trials=64,
            budget_seconds=seconds,
            rng=np.random.default_rng(0),
            measurer=measurer,
            options=SearchOptions(rules=chosen),
        )
        assert result.best is not None
        best[name] = result.best_seconds
        print(f"{name}: {result.trials} trials, rules of the best: {result.best.sketch.rules or 'none'}")

moved = 2 * 4 * 1024**2
for name, value in best.items():
    print(f"{name:>14} {value * 1e6:8.1f} us {moved / value / 1e9:6.1f} GB/s " + "#" * round(2e-9 * moved / value))
assert all(value > 0 for value in best.values())

# %% [markdown]
# Question: with i1 × j1 = 16 × 16, how many cache lines does a tile touch, and why does 1024 need tiles more than 1000?
#
# A rule that helps many computations belongs in the list that a search uses unless told otherwise, `extended_rules` in
# `ansor_mini/cpu_rules/`. Beside it are the rules beyond the paper, each with an example of the loops before and after.
