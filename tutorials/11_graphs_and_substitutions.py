"""Graphs and substitutions: the same outputs for less
===================================================

After this you can build a computation graph, write a substitution as text, see where it fires and what it saves, find
out with numbers why a rule needs a condition, and draw all of it.

Papers: TASO §2.1, §5, Fig. 10. Time: less than a minute on a laptop. Read before: 01_quickstart, sections 6 and 7.
"""

# %% [markdown]
# ## 1. A graph
# Two convolutions read one image, and their results are joined: a corner of SqueezeNet. Small integers held in float32
# make every sum exact, whatever its order, so that "equal" below means equal bits.

# %%
from pathlib import Path

import numpy as np

from runtime.graph import Graph, GraphBuilder

rng = np.random.default_rng(0)


def integers(*shape: int) -> np.ndarray:
    """Small integers as float32."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def two_branches(groups: int = 1) -> Graph:
    """Two convolutions of one image, side by side."""
    build = GraphBuilder("branches")
    x = build.input("x", (1, 16, 14, 14))
    for name in ("left", "right"):
        w = build.weight(f"w_{name}", integers(32, 16 // groups, 3, 3))
        build.add("conv", x, w, name=name, padding=(1, 1, 1, 1), groups=groups)
    return build.finish(build.add("relu", build.add("concat", "left", "right", axis=1, name="both"), name="y"))


graph = two_branches()
print(graph)
feeds = {"x": integers(1, 16, 14, 14)}
before = graph.evaluate(feeds)["y"]
assert before.shape == (1, 64, 14, 14)

# %% [markdown]
# A graph is a value: nodes in an order in which they can run, and every change makes another graph. Each node has a
# type, a number of operations, and with them a price. `FlopCost` is a model of a machine, not a measurement: so many
# operations and so many bytes a second, and a fixed time to start a kernel.

# %%
from taso_mini.costs import FlopCost

costs = FlopCost()
for node in graph.nodes:
    types = tuple(graph.types[value] for value in node.inputs)
    print(f"{node.operator:8} {graph.flops_of(node):9,} operations {costs.cost(node, types) * 1e6:8.2f} us")
assert graph.flops_of(graph.nodes[0]) == 2 * (32 * 14 * 14) * (16 * 3 * 3)

# %% [markdown]
# ## 2. A substitution
# Source and target are terms over variables. Both compute the same for all tensors that fit. Nothing in a rule says how
# large an image is: `s`, `p` and `d` stand for any strides, padding and dilations, the same ones on both sides.

# %%
from taso_mini.rules_text import parse_rules
from taso_mini.terms import operator_count

rule_text = """
rule concat-conv-conv-is-conv-concat
  variables x1: image, w1: kernel, w2: kernel
  source    concat(conv(x1, w1, activation=none, dilations=d, padding=p, strides=s),
                   conv(x1, w2, activation=none, dilations=d, padding=p, strides=s), axis=1)
  target    conv(x1, concat(w1, w2, axis=0), activation=none, dilations=d, padding=p, strides=s)
  when      groups(x1, w1) == 1
  when      w1.shape[2:] == w2.shape[2:]
"""
[rule] = parse_rules(rule_text.replace(",\n                   ", ", "))
print(rule)
assert operator_count(*rule.source) == 3 and operator_count(*rule.target) == 2

# %% [markdown]
# A term is hash-consed: what is written twice exists once. That is why source and target can share variables by being
# the same object, and why a picture of a term is a graph, not a tree.

# %%
from taso_mini.pictures.rule_pictures import draw_rule
from taso_mini.pictures.svg import svg
from taso_mini.pictures.text_formats import mermaid
from taso_mini.terms import term, variable

x1 = variable("x1", "image")
assert term("relu", x1) is term("relu", x1)
print(mermaid(draw_rule(rule)))
Path("rule.svg").write_text(svg(draw_rule(rule)), encoding="utf-8")
print("drawn in rule.svg")

# %% [markdown]
# Paste the text into any Markdown page after ```mermaid and it is drawn. What only the source has is dashed, what only
# the target has is bold.
#
# ## 3. Apply it
# The search finds the places, prices what each change would save, and makes the best of them. With a single rule there
# is not much to search: one place, one change.

# %%
from taso_mini.optimizer import optimize

found = optimize(graph, [rule])
print(found.trace)
print(found.graph)
assert [step.rule for step in found.trace.steps] == [rule.name]
assert np.array_equal(found.graph.evaluate(feeds)["y"], before)

# %% [markdown]
# Two kernels became one, and the concatenation went from the activations to the weights, where it costs nothing: it is
# done once, when the network is compiled. What changed, drawn beside what did not:

# %%
from taso_mini.pictures.graph_pictures import changed, draw_change

gone, new = changed(graph, found.graph)
print(f"gone: {', '.join(sorted(gone))}; new: {', '.join(sorted(new))}")
Path("change.svg").write_text(svg(draw_change(graph, found.graph)), encoding="utf-8")
assert {"left", "right"} <= gone and "y" not in gone | new

# %% [markdown]
# ## 4. What a condition is for
# A grouped convolution lets each group of output channels see only its own group of input channels. Would the rule hold
# there too? The published system never asks: its axiom says nothing of groups, and eleven of its 133 rules give wrong
# numbers on them. Ours refuses.

# %%
grouped = two_branches(groups=2)
right = grouped.evaluate(feeds)["y"]
refused = optimize(grouped, [rule])
print(refused.trace)
assert not refused.trace.steps

# %% [markdown]
# Now take the condition away, as the published rules have it, and look at the numbers.

# %%
careless_text = rule_text.replace(",\n                   ", ", ").replace("  when      groups(x1, w1) == 1\n", "")
[careless] = parse_rules(careless_text)
broken = optimize(grouped, [careless])
print(broken.trace)
wrong = broken.graph.evaluate(feeds)["y"]
channels = np.flatnonzero((wrong != right).any(axis=(0, 2, 3)))
print(f"{len(channels)} of {wrong.shape[1]} channels differ: {channels.min()} to {channels.max()}")
assert broken.trace.steps and channels.tolist() == list(range(16, 48))

# %% [markdown]
# The first and the last quarter are right, the middle ones are not. With two groups the merged convolution gives output
# channels 0 to 31 to the first group of input channels; but 16 to 31 belong to the second group of the left branch.
#
# Question: which other order of the merged weights would make the rule true for two groups?
#
# ## 5. A whole network
# NasRNN multiplies input and state by matrices of their own and adds. A sum of two products is one product of two
# concatenations, and the search finds it in all eight gates of every step but the first, whose state is a weight and
# multiplied beforehand. Here with a hidden state of 128 instead of the paper's 512.

# %%
from taso_mini.models.nasrnn import nasrnn
from taso_mini.pictures.heat_map import HeatMap
from taso_mini.rules_text import load_rules

network = nasrnn(np.random.default_rng(0), hidden=128, steps=3)
shipped = load_rules()
print(f"{len(network.nodes)} operators, {len(shipped)} shipped rules")
better = optimize(network, shipped, alpha=1.05, budget=100)
print(f"{better.cost_before * 1e6:.1f} us before, {better.cost_after * 1e6:.1f} us after")
heat = HeatMap.of_traces({"nasrnn": better.trace})
print(heat.text())
inputs = {name: rng.standard_normal(kind.shape).astype(np.float32) for name, kind in network.inputs.items()}
[expected], [computed] = network.evaluate(inputs).values(), better.graph.evaluate(inputs).values()
assert better.cost_after < better.cost_before and heat.largest >= 2 * 8
assert np.abs(computed - expected).max() < 1e-5

# %% [markdown]
# The heat map counts the steps of the path that the search took; `python -m taso_mini draw uses` makes it for the
# paper's five networks (Fig. 10), and `python -m taso_mini draw change MODEL --out change.svg` draws before and after.
#
# Where do the rules come from? That is the next tutorial.
