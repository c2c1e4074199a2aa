"""The task scheduler: where the next measurement pays most
========================================================

After this you can write a network's tuning as an objective over tasks, compute the paper's gradient by hand, and see
why spending trials evenly is wasteful.

Papers: Ansor §6 (Table 2, Appendix A). Time: under one minute on a laptop. Read before: 01_quickstart, section 5.
"""

# %% [markdown]
# ## 1. A network as tasks
# A network has some dozens of different subgraphs, each run w times. Tuning one is a curve: its best latency after so
# many rounds. Here are six such curves, made up: heavy and light, some soon flat, some that fall for long.

# %%
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.objectives import LatencyRequirements, TotalLatency
from ansor_mini.task_scheduler import Candidate, SchedulerOptions, TaskScheduler, latency_changes

ROUNDS = 40


@dataclass(frozen=True)
class Curve:
    """Latency falls from `start` to `end` milliseconds, half of the way in `half` rounds."""

    name: str
    weight: int
    start: float
    end: float
    half: float

    def after(self, rounds: int) -> float:
        """Seconds."""
        return 1e-3 * (self.end + (self.start - self.end) * 0.5 ** ((rounds - 1) / self.half))


CURVES = (
    Curve("stem conv", 1, 8.0, 2.0, 2),
    Curve("3x3 conv", 16, 3.0, 1.2, 6),
    Curve("1x1 conv", 12, 1.0, 0.8, 2),
    Curve("depthwise", 10, 1.5, 0.3, 4),
    Curve("pool", 1, 0.4, 0.3, 1),
    Curve("classifier", 1, 0.6, 0.5, 2),
)
for curve in CURVES:
    levels = [curve.weight * curve.after(rounds) for rounds in range(1, ROUNDS, 2)]
    print(f"{curve.name:>11} x {curve.weight:2}  " + "".join(" .:-=+*#%@"[min(9, int(200 * v))] for v in levels))

# %% [markdown]
# ## 2. The objective
# f1 is the network's latency, the weighted sum. Its slope for task i is how often the network runs it.

# %%
weights = np.array([[curve.weight for curve in CURVES]])
f1 = TotalLatency(weights)
first = np.array([curve.after(1) for curve in CURVES])
print(f"after one round each: {1e3 * f1.value(first):.1f} ms")
assert math.isclose(f1.value(first), float(weights[0] @ first))
assert f1.slopes(first).tolist() == weights[0].tolist()

# %% [markdown]
# ## 3. The gradient, by hand
# How much will one more round of task i help? Nobody knows, so the paper mixes the past (what the last rounds gained)
# with hope (another t rounds might take all of it away, g / t per round; similar tasks reached such a speed).


# %%
def fresh(curves: Sequence[Curve] = CURVES) -> list[Candidate]:
    """The tasks, each with one round."""
    return [Candidate(curve.name, history=[curve.after(1)], trials=8) for curve in curves]


options = SchedulerOptions(alpha=0.2, window=3, epsilon=0.0)
scheduler = TaskScheduler(fresh(), f1, rng=np.random.default_rng(0), options=options)
promise = (weights[0] * latency_changes(scheduler)).tolist()
for curve, value in zip(CURVES, promise):
    print(f"{curve.name:>11} {1e3 * value:8.2f} ms per round")
# There is no past yet, so all is hope: -(1 - alpha) · w · g / t with t = 1.
assert np.allclose(promise, [-0.8 * curve.weight * curve.after(1) for curve in CURVES])
assert scheduler.choose() == int(np.argmin(promise))

# %% [markdown]
# ## 4. Gradient against round-robin
# Both get the same number of rounds. Each column is a round; the letter is the task that had it.


# %%
def run(strategy: str, objective: TotalLatency | LatencyRequirements, rounds: int) -> tuple[list[float], str]:
    """Schedule so many rounds; the objective after each, and which task had it."""
    tasks = fresh()
    scheduler = TaskScheduler(tasks, objective, rng=np.random.default_rng(0), strategy=strategy, options=options)
    values, letters = [], ""
    for _ in range(rounds):
        chosen = scheduler.choose()
        assert chosen is not None
        scheduler.observe(chosen, CURVES[chosen].after(tasks[chosen].rounds + 1), measured=8)
        values.append(scheduler.value)
        letters += "s31dpc"[chosen]
    return values, letters


budget = 60
results = {name: run(name, f1, budget) for name in ("round-robin", "gradient")}
for name, (values, letters) in results.items():
    print(f"{name:>12} {letters}  {1e3 * values[-1]:.1f} ms")
goal = results["round-robin"][0][-1]
needed = next(i + 1 for i, value in enumerate(results["gradient"][0]) if value <= goal)
print(f"gradient is as good as {budget} rounds of round-robin after {needed}")
assert needed < 0.6 * budget

# %% [markdown]
# The curves of the objective, low is good:

# %%
low, high = min(v[-1] for v, _ in results.values()), max(v[0] for v, _ in results.values())
for height in range(9, -1, -1):
    level = low + (high - low) * height / 10
    row = ""
    for i in range(budget):
        above = {name: values[i] >= level for name, (values, _) in results.items()}
        row += "#" if all(above.values()) else "o" if above["round-robin"] else " "
    print(f"{1e3 * level:6.1f} ms |{row}")
print(f"{'':10}+{'-' * budget} rounds   # both above, o round-robin only")

# %% [markdown]
# ## 5. Another objective
# f2: a network that is fast enough already (here: below 45 ms) is worth no more trials. The slope becomes 0 there.

# %%
f2 = LatencyRequirements(weights, np.array([0.045]))
met = np.array([curve.after(ROUNDS) for curve in CURVES])
print("slopes now:", f2.slopes(first).tolist(), " and when the requirement is met:", f2.slopes(met).tolist())
assert f2.slopes(first).any() and not f2.slopes(met).any()

# %% [markdown]
# Question: which α would be best for curves that fall in steps, long flat and then suddenly lower? Try it.
#
# `python -m tests.benchmarks.task_scheduler` replays recorded curves of two real networks.
