"""Evolution and crossover: better programs without measuring
==========================================================

After this you can mutate and cross programs, say why every child is legal or dropped with a reason, and compare
evolution with random search against the true best of a space.

Papers: Ansor §5.1. Time: under one minute on a laptop. Read before: 04_annotation_and_lowering.
"""

# %% [markdown]
# ## 1. One mutation
# A tile mutation moves one divisor from one level of an axis to another: the product, and with it the result, stays.
# The neighbours of a tiling are few, and every tiling can be reached in some steps.

# %%
from collections import Counter

import numpy as np

from ansor_mini.annotation import sample, uniform_tiles
from ansor_mini.cost_model import TrivialModel
from ansor_mini.evolution import MUTATIONS, EvolutionOptions, crossover, evolve, mutate, mutate_tile_size, pick
from ansor_mini.feasibility import Feasibility
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_population
from ansor_mini.population_evolution import evolve_populations
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import parse_workload
from runtime.machine import detect

machine = detect()
rng = np.random.default_rng(0)
dag = parse_workload("matmul:24,24,16")
sketch = derive(dag, machine=machine)[0]
hole = sketch.hole[next(name for name in sketch.hole if name.endswith(".i"))]
tiling = hole.values[0]
print(f"{hole}: {len(hole.values)} tilings")
print(f"neighbours of {tiling}: {', '.join(map(str, hole.neighbours(tiling)[:9]))}, …")
reached, frontier = {tiling}, [tiling]
while frontier:
    frontier = [new for old in frontier for new in hole.neighbours(old) if new not in reached]
    reached.update(frontier)
print(f"{len(reached)} tilings can be reached from it")
assert all(np.prod(lengths) <= 24 + 8 for lengths in reached) and len(reached) > 10

# %% [markdown]
# ## 2. Four mutations, by weight
# Tile sizes most of the time; unrolling, location and parallelism now and then.

# %%
program = sample(sketch, rng, machine, threads=2)
changes: Counter[str] = Counter()
for _ in range(1000):
    child = mutate(program, rng, threads=2)
    assert child is not None
    before = program.annotation
    kinds = {sketch.hole[name].kind for name, value in child.frozen if before[name] != value}
    changes[" and ".join(sorted(kinds))] += 1
for kinds_text, times in changes.most_common():
    print(f"{kinds_text:>22} {times:5} " + "#" * (times // 20))
print("weights:", {name: weight for name, weight, _ in MUTATIONS})
assert changes["tile"] > 700

# %% [markdown]
# ## 3. Crossover, node by node
# A child takes all choices of a stage from one of its parents. What was good for the convolution and what was good for
# its padding can meet. If the parts do not fit together, the first parent is used, and the reason is counted.

# %%
conv = parse_workload("C2D:14,14,16,32,3,1,1")
conv_sketch = derive(conv, machine=machine)[-1]
feasible = Feasibility()
mother, father = (sample(conv_sketch, rng, machine) for _ in range(2))
child = crossover(mother, father, rng, feasible)
for spec in conv_sketch.holes:
    values = [dict(parent.frozen)[spec.name] for parent in (mother, father, child)]
    origin = "same" if values[0] == values[1] else "mother" if values[2] == values[0] else "father"
    print(f"{spec.node:>12} {spec.name:>22} {values[2]!s:>14} {origin}")
for _ in range(200):
    crossover(sample(conv_sketch, rng, machine), sample(conv_sketch, rng, machine), rng, feasible)
for reason, times in feasible.rejections.most_common(4):
    print(f"{times:4} x {reason}")
parents = [dict(parent.frozen) for parent in (mother, father)]
assert all(value in [parent[name] for parent in parents] for name, value in child.frozen)

# %% [markdown]
# ## 4. Generations
# The score is what a cost model thinks, here a simple one; the first generation is drawn uniformly, as in the paper.
# A 512³ product has too many programs to look at all, so evolution is compared with as many random looks.


# %%
class Count:
    """A cost model that counts how often it is asked."""

    def __init__(self) -> None:
        self.model, self.asked = TrivialModel(machine), 0

    def predict(self, programs: list[Program]) -> np.ndarray:
        """Scores, counted."""
        self.asked += len(programs)
        return self.model.predict(programs)

    def predict_population(self, population: Population) -> np.ndarray:
        """Scores, counted."""
        return self.predict(population.programs())

    def update(self, programs: list[Program], seconds: list[float]) -> None:
        """Learn nothing."""


large = derive(parse_workload("matmul:512,512,512"), machine=machine)[1]
print(f"{np.prod([float(len(spec.values)) for spec in large.holes]):.1e} programs in this sketch")


def draws(count: int, seed: int) -> list[Program]:
    """Random programs."""
    generator = np.random.default_rng(seed)
    return [sample(large, generator, machine, tiles=uniform_tiles) for _ in range(count)]


curve = []
for generations in range(0, 13, 2):
    model = Count()
    options = EvolutionOptions(population=48, generations=generations, mutation_rate=0.85, crossover_rate=0.1)
    top = evolve(draws(48, seed=2), model=model, rng=np.random.default_rng(1), keep=1, options=options)[0]
    evolved = float(TrivialModel(machine).predict([top])[0])
    random = float(TrivialModel(machine).predict(draws(model.asked, seed=3)).max())
    curve.append((model.asked, evolved, random))
most = max(evolved for _, evolved, _ in curve)
for looks, evolved, random in curve:
    print(f"{looks:4} looks  evolution {'#' * round(40 * evolved / most):40}  random {'o' * round(40 * random / most)}")
assert curve[-1][1] > curve[0][1] and curve[-1][1] > curve[-1][2]

# %% [markdown]
# ## 5. The same over arrays
# A program is a row of small integers, so a population is an array, and a generation is a few NumPy calls. This is what
# the tuner uses; the functions above are its definition, and a test holds the two equal.

# %%
import time

population = sample_population(conv_sketch, 2048, rng, machine)
print(population.choices.shape, population.choices[:2].tolist())


class FewRows:
    """A score that costs nothing: how near the innermost tile is to 14 elements."""

    def predict_population(self, population: Population) -> np.ndarray:
        """Scores, shape (programs,)."""
        inner = population.numbers(next(s.name for s in conv_sketch.holes if s.name.endswith(".w")))[-1]
        return 1.0 / (1.0 + np.abs(inner - 14))


start = time.perf_counter()
full = EvolutionOptions(population=2048, generations=4)
found = evolve_populations([population], model=FewRows(), rng=rng, keep=3, options=full)  # type: ignore[arg-type]
print(f"4 generations of 2048: {time.perf_counter() - start:.3f} s besides the model; best: {found[0]}")
assert len(found) == 3

# %% [markdown]
# ## 6. What to measure
# Most of a round are the best by score, a share ε are random ones: a model that is wrong somewhere never finds out by
# looking only where it expects something.

# %%
print(pick(["best", "second", "third", "fourth"], ["random 1", "random 2"], count=4, epsilon=0.25))
assert pick([1, 2, 3, 4], [8, 9], 4, 0.25) == [1, 2, 3, 8]  # type: ignore[arg-type, comparison-overlap]
assert mutate_tile_size(program, rng, 1) != program

# %% [markdown]
# Question: with `crossover_rate=0.5, mutation_rate=0.5`, does the search get better on this problem? And what would a
# problem look like on which it does?
