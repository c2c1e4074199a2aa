"""Searching: hills, budgets, and the order of memory
==================================================

After this you can tell what alpha does to a search, read its trace, say in which orders a tensor may be stored and what
that costs, let a whole graph's layouts be chosen exactly, and search for substitutions and layouts together.

Papers: TASO §5, Algorithm 2, Fig. 12. Time: about a minute on a laptop. Read before: 11_graphs_and_substitutions.
"""

# %% [markdown]
# ## 1. A hill, and alpha
# A batch normalisation that nobody folded: multiply, add, multiply, channel by channel. One rule carries the addition
# past the second product, and gains nothing; another one then makes one product of two. A greedy search never takes the
# first step, because it only ever goes down.

# %%
import itertools

import numpy as np

from runtime.graph import Graph, GraphBuilder
from taso_mini.blocks import whole
from taso_mini.costs import FlopCost
from taso_mini.optimizer import optimize
from taso_mini.rules_text import parse_rules

rules = parse_rules("""
rule scale-bias-is-bias-scale
  variables x: image, v: vector, u: vector
  source    scale(bias(x, v), u)
  target    bias(scale(x, u), mul(v, u))
rule scale-scale-is-scale
  variables x: image, v: vector, u: vector
  source    scale(scale(x, v), u)
  target    scale(x, mul(v, u))
""")


def normalised(layers: int) -> Graph:
    """Layers of x * a + b, times c, with a pool between them."""
    build, rng = GraphBuilder("normalised"), np.random.default_rng(0)
    y = build.input("x", (1, 4, 8, 8))
    for _ in range(layers):
        for operator in ("mul", "add", "mul"):
            weight = build.weight(build.fresh("w"), rng.integers(1, 4, (1, 4, 1, 1)).astype(np.float32))
            y = build.add(operator, y, weight)
        y = build.add("max_pool", y, kernel=(1, 1))
    return build.finish(y)


graph = normalised(3)
for alpha in (1.0, 1.05):
    found = optimize(graph, rules, alpha=alpha, descents=(), restarts=0, cut=whole)
    print(f"alpha {alpha}: {found.cost_before * 1e6:.2f} -> {found.cost_after * 1e6:.2f} us")
    print(found.trace, "\n")
    assert (found.cost_after < found.cost_before) == (alpha > 1)

# %% [markdown]
# Alpha times the best cost so far is how dear a graph may be and still be followed. It says nothing of how long that
# takes: every layer multiplies the number of graphs by three, and a search may have to look at many of them. So the one
# that is used cuts a graph into blocks that no rule reaches across, searches equal blocks once, and walks straight down
# before it looks around.

# %%
for layers in (2, 4, 6):
    paper = optimize(normalised(layers), rules, descents=(), restarts=0, cut=whole)
    ours = optimize(normalised(layers), rules)
    print(f"{layers} layers: {paper.trace.expanded:3} graphs expanded as in the paper, {ours.trace.expanded} in blocks")
    assert ours.cost_after == paper.cost_after

# %% [markdown]
# Whatever a search does, the graph that comes out is equal to the one that went in. What would you need in order to
# believe that without running anything? (Chapter 13.)

# %%
feeds = {"x": np.random.default_rng(1).integers(-3, 4, (1, 4, 8, 8)).astype(np.float32)}
assert np.array_equal(*(g.evaluate(feeds)[graph.outputs[0]] for g in (graph, found.graph)))

# %% [markdown]
# ## 2. The order of memory
# Memory has one dimension. A layout says in which order a tensor's dimensions stand in it, outermost first: a matrix by
# rows is (0, 1), by columns (1, 0); an image is NCHW, (0, 1, 2, 3), or NHWC, (0, 2, 3, 1). Seen from memory, a tensor
# in another order is its transpose. So a transpose can be a matter of names only: its result is where its input is.

# %%
from taso_mini.layouts.orders import NHWC, stored, through_reshape, through_transpose

print("an image (1, 3, 8, 8) in NHWC is stored as", stored((1, 3, 8, 8), NHWC))
assert through_transpose((1, 0), (0, 1)) == (1, 0)
heads = through_reshape((1024, 1024), (16, 64, 16, 64), (0, 1))
print("rows of a matrix as heads:", heads, "- columns:", through_reshape((1024, 1024), (16, 64, 16, 64), (1, 0)))
assert through_reshape((16, 64), (1024,), (1, 0)) is None  # what is merged has to be neighbours

# %% [markdown]
# A product of two matrices can read and write any of the orders, in eight ways. They are not equally fast: a vector
# unit loads neighbours. Here each is compiled and timed under the same simple schedule.

# %%
from runtime.graph import Node, Params, TensorType
from runtime.machine import detect
from taso_mini.ansor_backend import MeasuredKernels

SIZE = 192
measured = {}
with MeasuredKernels(detect(), channels_last=False) as kernels:
    for a, b, result in itertools.product(((), (1, 0)), repeat=3):
        node = Node("matmul", ("x", "w"), ("y",), Params(a_order=a, b_order=b, order=result))
        seconds = kernels(node, (TensorType((SIZE, SIZE)), TensorType((SIZE, SIZE))))
        assert seconds is not None
        name = "".join("C" if order else "R" for order in (a, b, result))
        measured[name] = seconds
        print(f"{name}  {seconds * 1e6:8.1f} us  {2 * SIZE**3 / seconds / 1e9:6.1f} GFLOP/s")

# %% [markdown]
# R is by rows and C by columns, for the left operand, the right one (a weight, which is rearranged beforehand, so its
# order does not matter) and the result. Which two are slow, and why? Look for the operand whose neighbours lie along
# the result's innermost dimension.

# %%
slow = sorted(measured, key=measured.__getitem__)[-2:]
print("the slowest:", slow)

# %% [markdown]
# ## 3. The layouts of a whole graph
# Every value could be stored in several orders, every reader likes some of them, and converting costs a copy. All
# choices together are far too many to try. But a choice matters to its neighbours alone, so values can be dealt with
# one after another: for each combination of its neighbours' choices keep the best one, then forget the value. This is
# exact.

# %%
from taso_mini.layouts.assignment import Prices, assign, plain_only
from taso_mini.layouts.realize import realize
from taso_mini.models import MODELS

attention = MODELS["bert"](np.random.default_rng(0), layers=1, hidden=64, heads=4, sequence=16, batch=2)
prices = Prices(FlopCost())
before, best = assign(attention, prices, plain_only(attention)), assign(attention, prices)
print(best)
laid = realize(best)
print(f"{before.cost * 1e6:.2f} -> {best.cost * 1e6:.2f} us;",
      *(f"{sum(n.operator == 'transpose' for n in g.nodes)} transposes" for g in (attention, laid)))  # fmt: skip
data = {"data": np.random.default_rng(2).standard_normal((32, 64)).astype(np.float32)}
wanted, got = (next(iter(g.evaluate(data).values())) for g in (attention, laid))
assert np.allclose(wanted, got, atol=1e-5) and not any(n.operator == "transpose" for n in laid.nodes)

# %% [markdown]
# Nothing is transposed any more: heads are read where the rows are that they were computed in.
#
# ## 4. Both at once
# Two products of one matrix can be one product with the weights side by side. Its result is then cut in two. By rows,
# each half of a row is copied; by columns, each half is one piece of memory and is read where it is. So the
# substitution pays if the layout changes, and the layout changes if the substitution is made. One after the other finds
# neither.

# %%
from taso_mini.costs import Views
from taso_mini.layouts.joint import optimize_jointly

merge = parse_rules("""
rule matmul-matmul-is-split-matmul-concat
  variables x: matrix, v: matrix, w: matrix
  source    matmul(x, v)
  source    matmul(x, w)
  target    split0(matmul(x, concat(v, w, axis=1)), axis=1)
  target    split1(matmul(x, concat(v, w, axis=1)), axis=1)
""")
build = GraphBuilder("gates")
x = build.input("x", (64, 64))
rng = np.random.default_rng(3)
weights = [build.weight(name, rng.integers(-1, 2, (64, 64)).astype(np.float32)) for name in ("v", "w")]
parts = [build.add("matmul", x, weight) for weight in weights]
gates = build.finish(build.add("matmul", build.add("transpose", parts[0], perm=(1, 0)), parts[1]))
slow_memory = Views(FlopCost(bytes_per_second=1e9))  # copies hurt; whole pieces of a split are free
joint = optimize_jointly(gates, merge, slow_memory)
print(joint, "\n")
print(joint.graph)
assert joint.costs["joint"] < min(joint.costs[name] for name in ("substitutions", "layouts", "sequential"))
feeds = {"x": rng.integers(-2, 3, (64, 64)).astype(np.float32)}
assert np.array_equal(*(g.evaluate(feeds)[gates.outputs[0]] for g in (gates, joint.graph)))

# %% [markdown]
# ## Questions
# 1. Give alpha the value 1 in section 4: does the joint search still find the merge? Why?
# 2. With `bytes_per_second=1e11`, is anything won by doing both at once? From which bandwidth on?
# 3. Layouts here are orders of dimensions. NCHW16c, which keeps sixteen channels together, is none. What would have to
#    be added to `taso_mini/layouts/implementations.py`, and what would `assign` have to know about it?
