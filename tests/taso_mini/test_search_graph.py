"""The graph of a search: values keep their names, operations are shared, and back it becomes the graph it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from runtime.graph import GraphBuilder
from taso_mini.applications import Recipe, Reshaped
from taso_mini.costs import FlopCost
from taso_mini.matching import Matcher, directed
from taso_mini.optimizer import optimize
from taso_mini.rewriting import all_rewrites
from taso_mini.rules_text import parse_rules
from taso_mini.search_graph import Change, SearchGraph
from tests.strategies import graphs, rewritable

ROUND_TRIP = directed(
    parse_rules("""
rule relu-concat
  variables x: tensor, y: tensor
  source    relu(concat(x, y, axis=a))
  target    concat(relu(x), relu(y), axis=a)
""")
)


@given(graphs.graphs(max_nodes=8))
def test_a_search_begins_and_ends_at_the_same_graph(graph):
    pruned, search = graph.prune(), SearchGraph.of(graph, FlopCost())
    again = search.to_graph()
    assert set(again.nodes) == set(pruned.nodes) and again.outputs == graph.outputs
    feeds = rewritable.feeds(graph, np.random.default_rng(0))
    before, after = graph.evaluate(feeds), again.evaluate(feeds)
    assert all(np.array_equal(before[v], after[v], equal_nan=True) for v in before)


def two() -> SearchGraph:
    build = GraphBuilder("two")
    both = build.add("concat", build.input("x", (2, 3)), build.input("y", (2, 3)), axis=1)
    return SearchGraph.of(build.finish(build.add("relu", both)), FlopCost())


def test_there_and_back_is_the_same_graph():
    search, matcher = two(), Matcher(ROUND_TRIP)
    (there,) = all_rewrites(search, matcher).values()
    middle = search.apply(there.change)
    (back,) = all_rewrites(middle, matcher).values()
    again = middle.apply(back.change)
    assert again.fingerprint == search.fingerprint != middle.fingerprint
    assert again.cost == search.cost and dict(again.producers) == dict(search.producers)


def test_equal_operations_are_one_object_and_values_keep_their_names():
    values = two().values
    first, second = (values.operation(Recipe("exp", ("x",), {})) for _ in range(2))
    assert first is second
    named = values.operation(Recipe("exp", ("x",), {}), {0: "relu_0"})
    assert named is None  # relu_0 has another type
    other = values.operation(Recipe("exp", ("y",), {}), {0: first.outputs[0]})
    assert other is not first and other.outputs == first.outputs


def test_a_reshape_of_a_reshape_is_one_and_back_is_none():
    values = two().values
    flat = values.resolve(Reshaped("x", (6,)))
    assert values.origin[flat].inputs == ("x",) and values.resolve(Reshaped(flat, (2, 3))) == "x"
    assert values.origin[values.resolve(Reshaped(flat, (3, 2)))].inputs == ("x",)


def test_impossible_shapes_have_no_operation():
    assert two().values.operation(Recipe("matmul", ("x", "y"), {})) is None


def test_a_graph_without_nodes_is_left_alone():
    build = GraphBuilder("nothing")
    graph = build.finish(build.input("x", (2,)))
    found = optimize(graph, ROUND_TRIP)
    assert found.graph == graph and found.cost_before == found.cost_after == 0


def test_a_graph_with_a_cycle_does_not_become_one():
    search = two()
    loop = search.values.operation(Recipe("relu", ("relu_0",), {}), {0: "relu_0"})
    with pytest.raises(ValueError, match="cycle"):
        search.apply(Change((loop,), (search.producers["relu_0"],))).to_graph()
