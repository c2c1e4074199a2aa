"""The published rules, and what is wrong with some of them
========================================================

After this you can read a rule file of the published TASO, sort its rules by what they need to be true, print a
counterexample for each that is wrong as it stands, and see in a network what such a rule does to the numbers.

Papers: TASO §3, §5, §7.6. Time: a minute on a laptop. Read before: 13_proofs_and_a_false_axiom.
"""

# %% [markdown]
# ## 1. The file
# `graph_subst.pb` comes with the published system: 133 rules, generated and verified. (The paper speaks of 743; how the
# 133 were chosen is not known.) A small decoder reads it; a rule then is like any other.

# %%
import contextlib
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from taso_mini.canonical import canonical_key
from taso_mini.published_rules import read_protobuf
from taso_mini.terms import Substitution, operator_count, subterms

rules = read_protobuf(Path(__file__).parents[1] / "tests" / "data" / "taso_published_133.pb")
print(rules[98])
sides = [side for rule in rules for side in (rule.source, rule.target)]
operators = {node.operator.rstrip("01") for side in sides for node in subterms(*side) if not node.is_variable}
print(f"{len(rules)} rules of {', '.join(sorted(operators))}")
assert len(rules) == 133 and operators == {"matmul", "add", "mul", "relu", "conv", "concat", "split"}

# %% [markdown]
# Relu inside of a convolution counts as a convolution. No transposes, pools, scalars or constants, so that some of the
# paper's own examples are out of reach. And many rules are there twice, up to names, direction and the order of what
# commutes.

# %%
same: dict[str, list[int]] = {}
for number, rule in enumerate(rules):
    same.setdefault(canonical_key((rule.source, rule.target), blind=True), []).append(number)
print("the same rule:", ", ".join(" = ".join(map(str, numbers)) for numbers in same.values() if len(numbers) > 1))
growth = Counter(np.sign(operator_count(*rule.target) - operator_count(*rule.source)) for rule in rules)
print(f"{growth[-1]} rules have fewer operators in the target, {growth[0]} as many, {growth[1]} more")
assert any(len(numbers) > 1 for numbers in same.values())

# %% [markdown]
# ## 2. What they need
# Prove each from our axioms, which say where they hold. What a proof needs beyond a source that is defined becomes the
# rule's condition.

# %%
from taso_mini.proving import Prover, Verdict

prover = Prover()
verdicts = [prover.prove(rule) for rule in rules]


def need(verdict: Verdict) -> str:
    """What kind of condition a rule has."""
    text = " ".join(verdict.conditions)
    if "groups" in text:
        return "no groups"
    return "other shapes" if verdict.conditions else verdict.kind


needs: dict[str, list[int]] = {}
for number, verdict in enumerate(verdicts):
    needs.setdefault(need(verdict), []).append(number)
for kind, numbers in needs.items():
    print(f"{kind:13} {len(numbers):4}  {' '.join(map(str, numbers)) if len(numbers) < 30 else '...'}")
assert len(needs["proved"]) > 90 and all(verdict.proved for verdict in verdicts)

# %% [markdown]
# The published axioms have no conditions, so neither have the rules. Are those conditions pedantry?
#
# ## 3. Wrong as they stand
# The second verifier knows no axioms. Ask it about every rule as published: wherever source and target are defined, are
# they equal? Convolutions with groups are among the shapes that it draws, as they are among the published operators.

# %%
from taso_mini.identity_testing import check_identity

wrong = {}
for number in sorted(set(range(len(rules))) - set(needs["proved"])):
    bare = check_identity(rules[number].source, rules[number].target, draws=20)
    if bare.kind == "refuted":
        guarded = check_identity(rules[number].source, rules[number].target, verdicts[number].conditions, draws=20)
        wrong[number] = bare.counterexample
        shapes = {name: shape.dims for name, shape in bare.counterexample.shapes.items()}
        print(f"rule {number}: wrong at {shapes}; under its conditions {guarded.kind}")
        assert guarded.kind in ("equal", "degenerate")
print(f"{len(wrong)} of {len(rules)} rules give wrong numbers")
assert set(needs["no groups"]) <= set(wrong)

# %% [markdown]
# A condition makes each of them true again. One counterexample as a program, and what it prints:

# %%
from taso_mini.counterexamples import as_code

program = as_code(rules[125].source, rules[125].target, wrong[125])
print(program)
output = io.StringIO()
with contextlib.redirect_stdout(output):
    exec(program, {})
print(output.getvalue())
assert "is replaced by" in output.getvalue()

# %% [markdown]
# ## 4. What it does to a network
# Two grouped convolutions of one image, as in ResNeXt, side by side. The search takes rule 125 as published; then with
# the condition of its proof.

# %%
from runtime.graph import GraphBuilder
from taso_mini.optimizer import optimize

rng = np.random.default_rng(0)
build = GraphBuilder("grouped")
x = build.input("x", (1, 64, 14, 14))
for name in ("left", "right"):
    w = build.weight(f"w_{name}", (rng.standard_normal((64, 4, 3, 3)) / 6).astype(np.float32))
    build.add("conv", x, w, name=name, padding=(1, 1, 1, 1), groups=16)
graph = build.finish(build.add("relu", build.add("concat", "left", "right", axis=1), name="y"))
feeds = {"x": rng.standard_normal((1, 64, 14, 14)).astype(np.float32)}
expected = graph.evaluate(feeds)["y"]


def error(rule: Substitution) -> float | None:
    """Largest error of the optimised graph, relative to the largest value; None where the rule does not fire."""
    found = optimize(graph, [rule])
    difference = np.abs(found.graph.evaluate(feeds)["y"] - expected).max() / expected.max()
    return float(difference) if found.trace.steps else None


merging = [number for number in needs["no groups"] if error(rules[number]) is not None]
for number in merging:
    guarded = replace(rules[number], conditions=verdicts[number].conditions)
    print(f"rule {number}: relative error {error(rules[number]):.2f}; with its condition: {error(guarded)}")
    assert error(rules[number]) > 0.1 and error(guarded) is None
assert merging

# %% [markdown]
# The published system never checks: users found optimised models whose outputs had changed, and no explanation.
#
# ## 5. A rule that was not generated
# Beside the file the optimiser has rules written by hand. One fuses a convolution with the product that follows, and
# forgets the other factor: conv(x, w) ⊙ y becomes conv(x, w). It needs no groups to be wrong.

# %%
from taso_mini.axioms import WRONG

dropped = next(axiom for axiom in WRONG if axiom.name == "conv-mul-drops-operand")
tested = check_identity([dropped.left], [dropped.right], draws=5)
print(f"{dropped}\n{tested}")
assert tested.kind == "refuted"

# %% [markdown]
# ## 6. Missing: the way back
# All rules go from left to right only. Linearity of a convolution is there four times, always expanding: a convolution
# of a sum becomes a sum of two. The direction that saves one is not shipped.

# %%
linear = [
    n for n, r in enumerate(rules) if [t.operator for t in r.target] == ["add"] and r.source[0].operator == "conv"
]
for number in linear:
    print(f"{number}: {operator_count(*rules[number].source)} -> {operator_count(*rules[number].target)} operators")
assert linear and all(operator_count(*rules[n].target) > operator_count(*rules[n].source) for n in linear)

# %% [markdown]
# Question: rules 99, 100, 130 and 131 join two convolutions of two images. For which numbers of channels are they true?
# Their conditions are printed by `verdicts[99].conditions`.
