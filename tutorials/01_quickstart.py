"""A matrix product and a small graph, from declaration to measured speed
======================================================================

After this you can declare a computation, look at its sketches, draw a program, see its loops and its C, run it, and
let the search make it fast. Then you can generate a graph substitution, prove it, and apply it to a network.

Papers: Ansor §2, §3, §4.1, §4.2, §5.1; TASO §2.2, §3, §5. Time: about one minute on a laptop, of which the search may
use thirty seconds (MINI_TUTORIAL_SECONDS sets another budget). Needs a C compiler. Read before: nothing.
"""

# %% [markdown]
# ## 1. Say what, not how
# A tensor expression gives one formula for all elements of the result. It has no word about loops.

# %%
import os

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum

rng = np.random.default_rng(0)


def matmul(n: int) -> ComputeDAG:
    """C = A · B for square matrices."""
    A, B = placeholder((n, n), "A"), placeholder((n, n), "B")
    k = reduce_axis(n, "k")
    return ComputeDAG([compute((n, n), lambda i, j: reduce_sum(A[i, k] * B[k, j], k), "C")])


dag = matmul(256)
print(dag)
print(f"{dag.flops / 1e6:.1f} million operations")
assert dag.flops == 2 * 256**3

# %% [markdown]
# Small integers held in float32 add up exactly, in whatever order. So every program below must give these very bits.

# %%
a, b = (rng.integers(-3, 4, (256, 256)).astype(np.float32) for _ in range(2))
expected = a @ b
assert np.array_equal(dag.evaluate(a, b)[0], expected)

# %% [markdown]
# ## 2. Sketches: the structure, without the numbers
# Rules look at each stage of the computation: has it data reuse? can its consumer be fused into it? Each way to apply
# them is a sketch: a list of steps in which the numbers are named holes.

# %%
from ansor_mini.sketch import derive
from runtime.machine import detect

machine = detect()
print(machine.line)
sketches = derive(dag, machine=machine)
for number, sketch in enumerate(sketches):
    print(f"\nsketch {number}:\n{sketch}")
assert len(sketches) == 3 and all(sketch.holes for sketch in sketches)

# %% [markdown]
# ## 3. An annotation: a value for every hole
# A program is a sketch and an annotation, and nothing else. Replaying the steps gives a schedule.

# %%
from ansor_mini.annotation import sample

program = sample(sketches[0], rng, machine)
print(program)
print(program.schedule())
assert set(program.annotation) == {hole.name for hole in sketches[0].holes}

# %% [markdown]
# Lowering turns the schedule into a loop nest. It prints as text that can be read back, and an interpreter runs it
# plainly, which is slow, so we do that for a 16 × 16 product.

# %%
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse

small = matmul(16)
small_program = sample(derive(small, machine=machine)[0], rng, machine)
small_nest = small_program.lower("matmul16")
print(small_nest)
assert parse(str(small_nest)) == small_nest
assert np.array_equal(interpret(small_nest, a[:16, :16], b[:16, :16])[0], a[:16, :16] @ b[:16, :16])

# %% [markdown]
# ## 4. From loops to C
# What did not change on the way: the result. What did: the order of the additions, and which of them share an
# instruction.

# %%
from runtime.compile_c import run_nest
from runtime.emit_c import emit_kernel

nest = program.lower("matmul256")
text = emit_kernel(nest)
print("\n".join(text.split("\n")[:30]), f"\n... {text.count(chr(10))} lines in all")
assert np.array_equal(run_nest(nest, a, b)[0], expected)

# %% [markdown]
# ## 5. Let the search find the numbers
# Each round evolves programs under a cost model and measures the most promising ones, which then are parents of the
# next. Every program's result is compared with NumPy's before its time counts.

# %%
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.lowering import lower
from ansor_mini.schedule import initial_state
from ansor_mini.tuner import Task, tune

seconds = float(os.environ.get("MINI_TUTORIAL_SECONDS", "30"))
with LocalMeasurer(dag, rng=rng) as measurer:
    plain, random = measurer([lower(initial_state(dag), "plain"), nest], lambda number, result: None)
    result = tune(Task("matmul:256,256,256", dag), trials=1000, budget_seconds=seconds, rng=rng, measurer=measurer)

for name, time in (("plain loops", plain.cost), ("first random program", random.cost), ("tuned", result.best_seconds)):
    print(f"{name:>20}: {time * 1e3:7.3f} ms {dag.flops / time / 1e9:7.1f} GFLOP/s")
print(f"{result.trials} programs measured; failures: {dict(result.failures)}")
for trials, best in result.curve:
    print(f"{trials:6} trials {best * 1e3:7.3f} ms " + "#" * round(40 * result.best_seconds / best))
assert plain.ok and random.ok and result.best is not None
assert np.array_equal(run_nest(result.best.lower("tuned"), a, b)[0], expected)
print(result.best.lower("tuned"))

# %% [markdown]
# Question: which holes does the best program fill differently from the first one, and what does that do to the number
# of times an element of B is read from memory?
#
# ## 6. A graph, and a cheaper equal one
# Two layers without an activation between them. Is there a graph that computes the same with less?

# %%
from runtime.graph import GraphBuilder

build = GraphBuilder("two_layers")
x = build.input("x", (32, 64))
w1 = build.weight("w1", rng.integers(-2, 3, (64, 256)).astype(np.float32))
w2 = build.weight("w2", rng.integers(-2, 3, (256, 16)).astype(np.float32))
hidden = build.add("matmul", x, w1, name="hidden")
graph = build.finish(build.add("matmul", hidden, w2, name="y"))
print(graph)

# %% [markdown]
# TASO does not know algebra; it tries everything. Enumerate every term of up to two operators, evaluate each once on
# random integers, and pair those with equal values.

# %%
from taso_mini.generator import Profile, enumerate_terms, equal_pairs
from taso_mini.terms import variable

matrices = [variable(name, "matrix") for name in ("m1", "m2", "m3")]
shapes = [(2, 3), (3, 4), (4, 5)]
profile = Profile("tutorial", tuple(zip(matrices, shapes)), (("matmul", ()), ("relu", ())), max_operators=2)
found = enumerate_terms(profile, rng=rng)
pairs = list(equal_pairs(found))
for source, target in pairs:
    print(f"{found.count} terms; equal on random integers: {source[0]} and {target[0]}")
assert len(pairs) == 1

# %% [markdown]
# Equal on some integers is a conjecture. Z3 proves it from named axioms about the operators, for all tensors. What it
# cannot prove is not used, as the plausible but wrong rule about relu shows.

# %%
from taso_mini.terms import Substitution, term
from taso_mini.verifier import Verifier

verifier = Verifier()
[(nested_right, nested_left)] = pairs
proof = verifier.prove(nested_left, nested_right)
print(f"{proof.verdict} from {', '.join(proof.axioms)}")
assert proof.verdict == "proved"

m1, m2, _ = matrices
wrong = verifier.prove([term("relu", term("matmul", m1, m2))], [term("matmul", term("relu", m1), term("relu", m2))])
print("relu(m1 · m2) = relu(m1) · relu(m2)?", wrong.verdict)
assert wrong.verdict == "unknown"

# %% [markdown]
# ## 7. Apply it
# The search applies rules where they make the graph cheaper by a cost model. Here w1 · w2 has only weights below it: it
# is computed once, when the network is compiled, and costs nothing at run time.

# %%
from taso_mini.optimizer import optimize

rule = Substitution("matmul-associates", nested_left, nested_right, proof.conditions, "Z3")
better = optimize(graph, [rule])
print(better.trace)
print(better.graph)
print(f"{graph.flops:,} operations before, {better.graph.flops:,} after")
assert better.cost_after < better.cost_before and better.graph.flops < graph.flops

feeds = {"x": rng.integers(-3, 4, (32, 64)).astype(np.float32)}
assert np.array_equal(better.graph.evaluate(feeds)["y"], graph.evaluate(feeds)["y"])

# %% [markdown]
# Question: for which sizes of `hidden` would this rule make the graph dearer, and what does the search do then?
#
# `python -m taso_mini compile squeezenet` takes all these steps for a whole network.
