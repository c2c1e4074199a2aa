"""Sketches: how six rules derive the structure of a program
=========================================================

After this you can predict which sketches a computation has, follow the derivation rule by rule, and say what the
paper's conditions and those of its published code disagree about.

Papers: Ansor §4.1 (Fig. 5, Table 1). Time: under one minute on a laptop. Read before: 02_loop_nests.
"""

# %% [markdown]
# ## 1. Facts about a computation
# A matrix product with relu behind it, the paper's first example. The rules decide nothing by name ("this is a
# matmul"); they ask a few questions about how each stage reads its inputs.

# %%
from ansor_mini import dag_analysis as facts
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.rule_types import Context, Verdict
from ansor_mini.schedule import State
from ansor_mini.sketch import Derivation, derive
from ansor_mini.sketch_rules import CPU_RULES, PAPER_RULES
from ansor_mini.sketch_text import show_sketch
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.workloads import parse_workload
from runtime.expr import maximum
from runtime.machine import detect

machine = detect(cores=4)  # one rule asks for the number of cores; the paper's tests have four


def matmul_relu(n: int, m: int, k: int) -> ComputeDAG:
    """D = max(A · B, 0)."""
    A, B, axis = placeholder((n, k), "A"), placeholder((k, m), "B"), reduce_axis(k, "k")
    C = compute((n, m), lambda i, j: reduce_sum(A[i, axis] * B[axis, j], axis), "C")
    return ComputeDAG([compute((n, m), lambda i, j: maximum(C[i, j], 0.0), "D")])


dag = matmul_relu(512, 512, 512)
print(dag)


def answers(dag: ComputeDAG) -> None:
    """The four predicates for each stage."""
    print(f"{'stage':10} {'inlineable':>10} {'data reuse':>10} {'fusible consumer':>16} {'reduction parallel':>18}")
    for op in dag.ops:
        inline, reuse = facts.is_strictly_inlineable(dag, op.name), facts.needs_multi_level_tiling(dag, op.name)
        consumer, parallel = facts.fusible_consumer(dag, op.name), facts.has_more_reduction_parallel(dag, op.name, 4)
        print(f"{op.name:10} {inline!s:>10} {reuse!s:>10} {consumer or 'none':>16} {parallel!s:>18}")


answers(dag)
assert facts.needs_multi_level_tiling(dag, "C") and facts.fusible_consumer(dag, "C") == "D"

# %% [markdown]
# C has data reuse: its axis i occurs in no index of B, so each element of B serves many elements of C, and j likewise.
# That is what tiles are for. D reads each element of C once, in the same order: C can be computed inside D's loops.
#
# ## 2. A derivation, step by step
# It starts with the naive state at the last stage and goes to the inputs. Each rule says skip, apply, or apply and
# hide the rules behind it. Where two apply, the derivation branches.


# %%
def derivation_tree(dag: ComputeDAG, rules: tuple) -> int:
    """Print every question that a derivation asks, as `derive` asks them; the number of sketches."""
    context = Context(machine)
    start = Derivation(State.initial(dag))
    work, count = [(start, len(start.state.stages) - 1)], 0
    while work:
        derivation, index = work.pop(0)
        if index < 0:
            count += 1
            print(f"  sketch {count}: {' → '.join(derivation.rules) or 'nothing'}")
            continue
        said = []
        for rule in rules:
            verdict = rule.condition(context, derivation, index)
            said.append(f"{rule.name}: {verdict.value}")
            if verdict.applies:
                work.extend(rule.apply(context, derivation, index))
            if verdict.last:
                break
        applied = [line for line in said if not line.endswith(Verdict.SKIP.value)]
        print(f"stage {derivation.state.stages[index].name:8} {'; '.join(applied)}")
    return count


count = derivation_tree(dag, CPU_RULES)
sketches = derive(dag, CPU_RULES, machine)
assert count == len(sketches) == 3

# %% [markdown]
# ## 3. The three sketches
# `C.i[0]` to `C.i[3]` are the four lengths that axis i is cut into: names where a program has numbers. SSRSRS, the
# structure of the tiles, reads as two spatial levels, one of the sum, a spatial one, the rest of the sum, and the
# innermost spatial one, which becomes registers and vectors.

# %%
for number, sketch in enumerate(sketches):
    print(f"\n{number}. {', '.join(sketch.rules)}\n{show_sketch(sketch)}")
assert all("D = ..." in show_sketch(sketch) for sketch in sketches)

# %% [markdown]
# In two of them C's tile is computed inside D's loops, at the first or the second level of tiles: relu then finds it in
# the cache, or in registers. In the third C is complete before D begins.
#
# ## 4. The structure is an argument
# Fewer levels give a smaller space. "Limited space" of the paper's ablation is SRS.

# %%
for structure in ("SRS", "SSRSRS", "SSSRRSRS"):
    found = derive(dag, CPU_RULES, machine, structure=structure)
    tiles = 1
    for hole in found[0].holes:
        tiles *= len(hole.values)
    print(f"{structure:9} {len(found)} sketches, the first with {tiles:.1e} programs")
print(show_sketch(derive(parse_workload("matmul:512,512,512"), CPU_RULES, machine, structure="SRS")[0]))

# %% [markdown]
# ## 5. A tall sum
# 8 × 8 results, 512 products each. Few rows to share among cores, but a long sum: "reduction factorisation" makes
# partial sums, which are independent, and adds them up at the end. Two sketches more, one for each half of the split.

# %%
tall = parse_workload("matmul:8,8,512")
answers(tall)
derivation_tree(tall, CPU_RULES)
found = derive(tall, CPU_RULES, machine)
factored = [sketch for sketch in found if any("rfactor" in rule for rule in sketch.rules)]
print(show_sketch(factored[0]))
assert len(found) == 5 and len(factored) == 2

# %% [markdown]
# ## 6. The paper and its code
# In the paper's Table 1 every rule whose condition holds is applied. In the published code a rule may hide those behind
# it, and "skip" always applies but comes last. Usually the sketches agree; here is how many each gives:

# %%
print(f"{'workload':28} {'code':>4} {'paper':>5}")
for text in ("matmul:512,512,512", "matmul:8,8,512", "softmax:8,1024", "ConvLayer:56,56,64,64,3,1,1", "NRM:256,256"):
    counts = [len(derive(parse_workload(text), rules, machine)) for rules in (CPU_RULES, PAPER_RULES)]
    print(f"{text:28} {counts[0]:4} {counts[1]:5}")
assert len(derive(parse_workload("matmul:512,512,512"), PAPER_RULES, machine)) >= 3

# %% [markdown]
# `python -m tests.benchmarks.sketch_counts` prints the counts of the published code's own tests, with each sketch.
#
# Question: two matrix products in a chain have nine sketches. Which choices multiply?
