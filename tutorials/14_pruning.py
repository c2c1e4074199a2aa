"""Pruning: which rules are worth keeping
======================================

After this you can take the pairs that an enumeration gives, drop those that others make superfluous, say at each step
why that loses nothing, and check a derivation of one rule from two others step by step.

Papers: TASO §4, Table 3. Time: a few seconds on a laptop, less than a minute with everything. Read before:
12_enumeration_and_fingerprints.
"""

# %% [markdown]
# ## 1. Too many
# Five matrices and five operators, up to three of them on each side of a rule. The library's generator does what the
# tutorial on enumeration did by hand, for rules with one output and with two.

# %%
from collections import Counter

import numpy as np

from taso_mini.canonical import canonical, canonical_key, show_pair
from taso_mini.generator import Profile, enumerate_terms, equal_pairs
from taso_mini.pruning import STEPS, holds_numerically, prune
from taso_mini.terms import term, variable

inputs = [("a", (2, 3)), ("b", (2, 3)), ("c", (3, 4)), ("d", (3, 4)), ("e", (4, 5))]
operators = [("matmul", ()), ("add", ()), ("relu", ()), ("concat", (("axis", 1),)), ("split", (("axis", 1),))]
profile = Profile(
    "pruning", tuple((variable(name, "matrix"), shape) for name, shape in inputs), tuple(operators), max_operators=3
)
pairs = list(equal_pairs(enumerate_terms(profile, rng=np.random.default_rng(0))))
print(f"{len(pairs)} pairs, of which {sum(len(source) == 2 for source, _ in pairs)} have two outputs")
assert len(pairs) > 100

# %% [markdown]
# ## 2. Renaming
# Two pairs that differ in the names of their variables are one rule; so are they when the operands of a sum are
# swapped, or source and target. `canonical` gives every pair one form. Then a rule that arises from another one by
# giving two variables one name is dropped, too: the other one is more general.

# %%
text = [show_pair(canonical(pair)) for pair in pairs]
for line, count in Counter(text).most_common(4):
    print(f"{count:4} x {line}")
renamed = STEPS["renaming"](pairs, None)
print(f"{len(pairs)} pairs, {len(set(text))} forms, {len(renamed)} most general ones")
assert len(renamed) <= len(set(text)) < len(pairs)

# %% [markdown]
# ## 3. Common subgraphs
# Here both sides multiply the same two matrices first. Nothing in the rule depends on what they were: put a variable in
# the product's place. If the rule with the variable holds, the one with the product is a case of it.

# %%
a, b, c, d, e = (variable(name, "matrix") for name in "abcde")
product = term("matmul", a, c)
special = (term("split0", term("concat", product, e, axis=1), axis=1),), (product,)
general = (term("split0", term("concat", b, e, axis=1), axis=1),), (b,)
print(show_pair(special), "   is a case of   ", show_pair(general))

kept = STEPS["common inputs"]([special, general], None)
assert [canonical_key(pair) for pair in kept] == [canonical_key(general)]

# %% [markdown]
# "If the rule with the variable holds": the published generator does not look. It drops every pair with a common
# subgraph. That is not safe. Here both sides compute relu(a), but only because it is a relu is the pair true:

# %%
r = term("relu", a)
delicate = (term("relu", r),), (r,)
assert STEPS["common inputs"]([delicate], None) == [delicate]
print("kept:", show_pair(delicate), "   as relu(x) = x is not among the rules")
assert not holds_numerically()(((term("relu", b),), (b,)))

# %% [markdown]
# The same at the other end: when one operator makes the outputs of both sides, the rule of its operands will do.
#
# ## 4. The funnel
# All steps in order. The paper has the first three; the others are ours: rules side by side, rules with terms in place
# of variables, and rules that follow from smaller ones.

# %%
rules, counts = prune(pairs)
for name, count in counts.items():
    factor = counts["initial"] / count
    print(f"{name:15} {count:4}  {factor:5.1f}x  " + "#" * round(40 * count / counts["initial"]))
print("\nthe paper's Table 3:  initial 28,744   renaming 17,346   common subgraph 743   (39x)\n")
for rule in rules:
    print(show_pair(rule))
assert counts["renaming"] > counts["common outputs"] >= counts["instances"] >= counts["consequences"] == len(rules)

# %% [markdown]
# ## 5. A derivation
# Which rules did the last step drop? Each comes with a chain of applications of kept rules, and every step of a chain
# is checked on its own.

# %%
from taso_mini.derivation import Deriver, Identity, check

before, _ = prune(pairs, steps=[name for name in STEPS if name != "consequences"])
keys = {canonical_key(rule) for rule in rules}
dropped = [pair for pair in before if canonical_key(pair) not in keys]
deriver = Deriver([Identity(f"rule {number}", *rule) for number, rule in enumerate(rules)])
for pair in dropped:
    chain = deriver.derive(pair, applications=2)
    assert chain is not None and check(chain)
    print(f"{show_pair(pair)}\n{chain}\n")
assert len(dropped) == len(before) - len(rules)

# %% [markdown]
# Not everything that can be derived is dropped. A rule that changes how many products are written down stays: the way
# through two smaller rules may pass a graph that is dearer than both ends, where a search that only goes down would
# never be. Such a rule is a bridge over a hill.

# %%
bridges = []
for number, rule in enumerate(rules):
    others = Deriver([Identity(f"rule {n}", *other) for n, other in enumerate(rules) if n != number])
    if (chain := others.derive(rule, applications=2)) is not None:
        bridges.append(number)
        print(f"rule {number}: {show_pair(rule)}\n{chain}\n")
print(f"{len(bridges)} of {len(rules)} rules are bridges")
assert len(bridges) < len(rules)

# %% [markdown]
# Question: one of the dropped rules merges two products of one matrix. Its chain begins with a product by a matrix that
# was not there. As an equation that is fine; could a search take this step? What else would you ask of a chain, then,
# before you drop a rule for it? (The shipped set has the merge.)
