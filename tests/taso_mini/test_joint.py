"""Substitutions and layouts together: never worse than either or than one after the other, and always equal."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder, Node, TensorType
from taso_mini.costs import FlopCost, Shares, Views
from taso_mini.layouts.assignment import Form, Prices, assign, constants
from taso_mini.layouts.joint import JOINT, VARIANTS, LayoutCosts, local_orders, optimize_jointly
from taso_mini.layouts.orders import NHWC, plain
from taso_mini.layouts.realize import realize
from taso_mini.matching import Matcher, directed
from taso_mini.models import MODELS
from taso_mini.optimizer import optimize
from taso_mini.rewriting import all_rewrites
from taso_mini.rules_text import load_rules, parse_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.tidy import tidy
from tests.strategies import rewritable
from tests.strategies.graphs import EXACT, feeds, graphs
from tests.taso_mini.test_layouts import Whims, priced
from tests.taso_mini.test_substitution import same_outputs

RULES = load_rules(Path(__file__).with_name("sample_rules.txt"))


@given(rewritable.networks(max_nodes=6), st.integers(0, 9))
def test_joint_is_at_least_as_good_as_every_other_way_and_all_are_equal(graph, seed):
    found = optimize_jointly(graph, RULES, Whims(seed), search=partial(optimize, budget=5))
    assert tuple(found.variants) == VARIANTS
    assert all(found.costs[JOINT] <= cost + 1e-12 for cost in found.costs.values())
    for assignment in found.variants.values():
        assert same_outputs(graph, realize(assignment), np.random.default_rng(0))


@given(graphs(operators=EXACT, max_nodes=6), st.integers(0, 99))
def test_no_layouts_are_cheaper_than_the_price_with_every_layout_open(graph, seed):
    """As long as values are stored in orders that their operator alone may like: the price thinks of no others.

    Where matrices are no weights a product may read both in any order; the price assumes the second is one.
    """
    graph, costs = graph.prune(), Whims(seed)
    fixed = constants(graph)
    nodes = [n for n in graph.nodes if not fixed.issuperset(n.outputs) and n.operator != "matmul"]
    known = assign(graph, Prices(costs)).forms
    price, inside = LayoutCosts(costs), LayoutCosts(costs, known)
    for node in nodes:
        types = [graph.types[value] for value in node.inputs]
        stored = {value: known[value].orders for value in (*node.inputs, *node.outputs) if value in known}
        if any(set(orders) - set(local_orders(node.operator, graph.types[value])) for value, orders in stored.items()):
            continue
        assert price.cost(node, types) <= inside.cost(node, types) + 1e-12


def test_known_layouts_at_the_boundary_are_kept_or_converted():
    """A convolution between NCHW values costs its NCHW price, or its NHWC price and the conversions."""
    x, w = TensorType((1, 8, 16, 16)), TensorType((8, 8, 1, 1))
    conv = Node("conv", ("x", "w"), ("y",))

    class ChannelsLast(FlopCost):
        def cost(self, node, types):
            if node.operator == "transpose":
                return 1.0
            return {"NHWC": 2.0, "NCHW": 10.0}[node["layout"]]

    rows = Form(plain(4))
    last = Form(NHWC)
    assert LayoutCosts(ChannelsLast()).cost(conv, (x, w)) == 2
    assert LayoutCosts(ChannelsLast(), {"x": rows}).cost(conv, (x, w)) == 3
    assert LayoutCosts(ChannelsLast(), {"x": rows, "y": rows}).cost(conv, (x, w)) == 4
    assert LayoutCosts(ChannelsLast(), {"x": rows, "y": last}).cost(conv, (x, w)) == 3
    assert LayoutCosts(ChannelsLast(), {"x": Form(plain(4), NHWC), "y": last}).cost(conv, (x, w)) == 2


MERGE = parse_rules("""
rule merge
  variables x: matrix, v: matrix, w: matrix
  source    matmul(x, v)
  source    matmul(x, w)
  target    split0(matmul(x, concat(v, w, axis=1)), axis=1)
  target    split1(matmul(x, concat(v, w, axis=1)), axis=1)
""")


def gates(rows: int = 64) -> Graph:
    build = GraphBuilder("gates")
    x = build.input("x", (rows, 64))
    parts = [build.add("matmul", x, build.weight(name, np.ones((64, 64), np.float32))) for name in "wv"]
    parts = [build.add("tanh", part) for part in parts]
    return build.finish(build.add("matmul", build.add("transpose", parts[0], perm=(1, 0)), parts[1]))


def test_a_merge_pays_only_where_its_split_is_a_view():
    """Of a column-major product the halves are whole pieces; of a row-major one they would be copied."""
    graph, costs = gates(), Views(FlopCost(bytes_per_second=1e9))
    found = optimize_jointly(graph, MERGE, costs)
    assert not any(node.operator == "split" for node in found.variants["substitutions"].graph.nodes)
    assert found.costs["joint"] < found.costs["sequential"] and [step.rule for step in found.steps] == ["merge"]
    (split,) = (node for node in found.graph.nodes if node.operator == "split")
    assert split["axis"] == 0
    data = feeds(graph)
    assert np.allclose(*(g.evaluate(data)[graph.outputs[0]] for g in (graph, found.graph)))
    assert priced(found.graph, costs) == pytest.approx(found.costs["joint"])


@given(rewritable.networks(max_nodes=4), st.integers(0, 99))
def test_no_cost_is_below_the_best_of_all_reachable_graphs_in_all_layouts(graph, seed):
    """Brute force: every graph that the rules reach, as long as there are few, in its best layouts."""
    rules = directed(RULES)
    matcher, first = Matcher(rules), SearchGraph.of(graph, FlopCost())
    reached, queue = {first.fingerprint: first}, [first]
    while queue and len(reached) < 60:
        here = queue.pop()
        for rewrite in all_rewrites(here, matcher).values():
            after = here.apply(rewrite.change)
            if after.fingerprint not in reached and after.in_order() is not None:
                reached[after.fingerprint] = after
                queue.append(after)
    if not queue:
        prices = Prices(Whims(seed))
        every = [one.to_graph().prune() for one in reached.values()]
        best = min(assign(one, prices).cost for one in (*every, *map(tidy, every)))  # a search tidies up in the end
        assert optimize_jointly(graph, rules, Whims(seed)).costs[JOINT] >= best - 1e-12


@pytest.mark.parametrize("rows", [1, 16, 256])
@pytest.mark.parametrize("bandwidth", [1e8, 1e9, 1e10, 1e11])
def test_the_better_of_two_graphs_is_found_at_any_bandwidth(rows, bandwidth):
    graph, costs = gates(rows), Views(FlopCost(bytes_per_second=bandwidth))
    merged = optimize(graph, MERGE, Shares(costs, {"split": 0.0, "concat": 0.0})).graph
    assert any(node.operator == "split" for node in merged.nodes)
    best = min(assign(one, Prices(costs)).cost for one in (graph, merged))
    assert optimize_jointly(graph, MERGE, costs).costs[JOINT] == pytest.approx(best)


def test_a_negative_number_of_rounds_is_refused():
    graph = MODELS["nasrnn"](np.random.default_rng(0), hidden=4, steps=1)
    with pytest.raises(ValueError, match="rounds: expected at least 0, got -1"):
        optimize_jointly(graph, [], FlopCost(), rounds=-1)
