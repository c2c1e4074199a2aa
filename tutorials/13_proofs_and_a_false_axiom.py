"""Proofs, and a false axiom found out
===================================

After this you can ask Z3 whether a rule follows from properties of operators, read a proof as a chain of equations and
have it checked, see where a rule's conditions come from, and catch an axiom that is false: by running it on all small
shapes, by testing what it proves against the operators themselves, and by proving nonsense from it.

Papers: TASO §3 (Table 2). Time: a minute on a laptop. Read before: 12_enumeration_and_fingerprints.
"""

# %% [markdown]
# ## 1. A proof by hand
# To Z3 a tensor is nothing but a member of some set, and `matmul` nothing but some function. What it knows of them are
# the axioms. To prove an equation, claim that it is false and see whether that contradicts the axioms.

# %%
import contextlib
import io
from dataclasses import replace

import z3

Tensor = z3.DeclareSort("Tensor")
matmul = z3.Function("matmul", Tensor, Tensor, Tensor)
add = z3.Function("add", Tensor, Tensor, Tensor)
a, b, c, d = z3.Consts("a b c d", Tensor)
axioms = {
    "associates": z3.ForAll([a, b, c], matmul(a, matmul(b, c)) == matmul(matmul(a, b), c)),
    "distributes": z3.ForAll([a, b, c], matmul(a, add(b, c)) == add(matmul(a, b), matmul(a, c))),
}


def follows(equation: z3.BoolRef, names: list[str]) -> bool:
    """Whether an equation cannot be false if the named axioms are true; give up after a while."""
    solver = z3.Solver()
    solver.set("rlimit", 2_000_000)
    solver.add(*(axioms[name] for name in names), z3.Not(equation))
    answer = solver.check()
    print(f"{', '.join(names)}, and not the goal: {answer}")
    return answer == z3.unsat


goal = matmul(matmul(a, b), add(c, d)) == matmul(a, add(matmul(b, c), matmul(b, d)))
assert follows(goal, ["associates", "distributes"])
assert not follows(goal, ["associates"])

# %% [markdown]
# `unsat`: there is no world with these axioms in which the goal is false. That is the paper's verifier: 43 axioms, one
# such question for each output of each rule. Without the second axiom Z3 finds a world, or gives up.
#
# ## 2. The table of axioms
# An axiom is two patterns and, where it needs one, a condition. The published set has none.

# %%
from taso_mini.axioms import AXIOMS, LEMMAS

by_name = {axiom.name: axiom for axiom in (*AXIOMS, *LEMMAS)}
for name in ("matmul-associates", "relu-concat", "conv-concat-output-channels"):
    print(f"number {by_name[name].number}: {by_name[name]}")
conditional = [axiom.name for axiom in AXIOMS if axiom.conditions]
print(f"{len(AXIOMS)} axioms, {len(conditional)} with conditions: {', '.join(conditional)}")
assert "conv-concat-output-channels" in conditional

# %% [markdown]
# ## 3. A proof as a chain
# Z3 says yes or no. Our own prover writes both sides into an e-graph, which holds many equal terms at once, applies
# axioms until the two meet, and reads off the chain between them.

# %%
from taso_mini.proving import Certifier, Prover
from taso_mini.rules_text import parse_rules

LAYER = "activation=none, dilations=d, padding=p, strides=s"
merge, fold, wrong = parse_rules(f"""
rule merge-convolutions
  variables x: image, w1: kernel, w2: kernel
  source    relu(concat(conv(x, w1, {LAYER}), conv(x, w2, {LAYER}), axis=1))
  target    conv(x, concat(w1, w2, axis=0), {LAYER.replace("none", "relu")})

rule sum-of-products
  variables x: matrix, y: matrix, w: matrix, u: matrix
  source    add(matmul(x, w), add(matmul(x, u), matmul(y, w)))
  target    add(matmul(add(x, y), w), matmul(x, u))

rule relu-goes-inside
  variables x: matrix, w: matrix
  source    relu(matmul(x, w))
  target    matmul(relu(x), w)
""")
prover = Prover()
verdicts = {rule.name: prover.prove(rule) for rule in (merge, fold, wrong)}
for name, verdict in verdicts.items():
    print(f"\n{name}: {verdict.kind} {' and '.join(verdict.conditions)}")
    print(*(proof for proof in verdict.proofs if proof), sep="\n")
assert verdicts["sum-of-products"].kind == "proved"
assert verdicts["relu-goes-inside"].kind == "unknown", "not refuted: nothing was found, so it is not used"

# %% [markdown]
# A search can have bugs. So its result is a certificate: the instances of axioms in the chain. Whether these make both
# sides equal, Z3 decides again, now without quantifiers and without search.

# %%
[proof] = verdicts["sum-of-products"].proofs
[old], [new] = fold.source, fold.target
certifier = Certifier()
print("all instances:", certifier.certifies(proof.instances, old, new))
print("one left out: ", certifier.certifies(proof.instances[1:], old, new))
assert certifier.certifies(proof.instances, old, new) and not certifier.certifies(proof.instances[1:], old, new)

# %% [markdown]
# ## 4. Where conditions come from
# The first rule is proved under conditions: those of the steps, and what the target needs to be defined. Kernels of
# different windows can give images of equal size, but cannot be joined; and a grouped convolution may not be merged.

# %%
conditions = verdicts["merge-convolutions"].conditions
assert verdicts["merge-convolutions"].kind == "proved under conditions"
assert any("groups" in condition for condition in conditions) and len(conditions) > 1

# %% [markdown]
# ## 5. The axiom as published
# The published verifier has the same axiom without "groups = 1", and validated it on thousands of small tensors. All
# had one group. Let us give it ours without its condition, and prove the rule again.

# %%
published = replace(by_name["conv-concat-output-channels"], name="as-published", conditions=())
credulous = Prover([published, *(axiom for axiom in by_name.values() if not axiom.conditions)])
believed = credulous.prove(merge)
print(f"{believed.kind}: {' and '.join(believed.conditions)}\n{believed.proofs[0]}")
assert believed.proved and not any("groups" in condition for condition in believed.conditions)

# %% [markdown]
# A proof, and a certificate that Z3 accepts. Both are only as good as the axiom.
#
# ### First alarm: the axiom itself
# Run both sides on every choice of small shapes, grouped convolutions among them.

# %%
from taso_mini.axiom_validation import validate

caught = validate(published, largest=2)
print(caught)
kept = validate(by_name["conv-concat-output-channels"], largest=2)
print(kept)
assert not caught.holds and caught.failure is not None and kept.holds
image, kernel = (caught.failure[0][name].dims for name in ("i", "k"))
groups = image[1] // kernel[1]
print(f"the first failure: an image with {image[1]} channels, kernels that read {kernel[1]}: {groups} groups")
assert groups > 1

# %% [markdown]
# ### Second alarm: what it proves
# A second verifier knows no axioms. It computes both sides of a rule with the operators' own definitions, on random
# elements of a finite field, and says how likely a difference would have gone unnoticed.

# %%
from taso_mini.counterexamples import as_code
from taso_mini.identity_testing import check_identity

tested = check_identity(merge.source, merge.target, conditions)
print("with all conditions:  ", tested)
refuted = check_identity(merge.source, merge.target, believed.conditions)
print("as the credulous say: ", refuted)
assert tested.kind == "equal" and refuted.kind == "refuted" and refuted.counterexample is not None

# %% [markdown]
# The counterexample is the smallest one found, as a program to paste into a session. We run it here.

# %%
program = as_code(merge.source, merge.target, refuted.counterexample)
print(program)
output = io.StringIO()
with contextlib.redirect_stdout(output):
    exec(program, {})
print(output.getvalue())
assert "is replaced by" in output.getvalue()

# %% [markdown]
# A rule that is both proved and refuted is a mistake in an axiom, in an operator or in a verifier. In this project it
# fails the build.
#
# ### Third alarm: nonsense
# Another axiom looks harmless: concatenation associates. But a split undoes the *last* concatenation, and with this
# axiom there are two last ones. Ask Z3 whether any two tensors are equal.

# %%
concat = z3.Function("concat", Tensor, Tensor, Tensor)
split0, split1 = (z3.Function(name, Tensor, Tensor) for name in ("split0", "split1"))
axioms |= {
    "split0": z3.ForAll([a, b], split0(concat(a, b)) == a),
    "split1": z3.ForAll([a, b], split1(concat(a, b)) == b),
    "concat associates": z3.ForAll([a, b, c], concat(concat(a, b), c) == concat(a, concat(b, c))),
}
everything = ["split0", "split1", "concat associates"]
assert follows(c == d, everything), "any two tensors are equal"

# %% [markdown]
# From such axioms every rule has a proof. The way there is short: cut (a ⊕ b) ⊕ c in two, and a ⊕ b = a; cut once more,
# and b is the same for all b. No single axiom is to blame: leave one out, whichever, and nothing of the kind follows.

# %%
for left_out in everything:
    assert not follows(c == d, [name for name in everything if name != left_out])

# %% [markdown]
# Is it false, then, that concatenation associates? Of plain arrays it is true. Here a tensor remembers how it was put
# together, and two tensors with one content and different memories are different, as the shapes show:

# %%
from taso_mini.axioms import WRONG
from taso_mini.operator_set import infer
from taso_mini.shapes import Shape

associates = next(axiom for axiom in WRONG if axiom.name == "concat-associates")
sizes = {name: Shape((length, 2)) for name, length in (("x", 1), ("y", 2), ("z", 3))}
left, right = (infer(side, sizes, {"a": 0}) for side in (associates.left, associates.right))
print(f"{associates.left}: {left.dims}, rows cut as {left.trees[0]}")
print(f"{associates.right}: {right.dims}, rows cut as {right.trees[0]}")
assert left.dims == right.dims and left.trees != right.trees
assert not validate(associates, largest=2).holds

# %% [markdown]
# Question: the published set has the axiom (x ⊕₁ y) ⊕₀ (z ⊕₁ w) = (x ⊕₀ z) ⊕₁ (y ⊕₀ w). For which sizes do both sides
# remember the same cuts, in rows and in columns?
