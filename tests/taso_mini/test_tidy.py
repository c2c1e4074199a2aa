"""Joining nested concatenations and splits changes nothing but their number."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from runtime.graph import GraphBuilder
from taso_mini.tidy import tidy
from tests.strategies import graphs, rewritable


@given(graphs.graphs(operators=("concat", "split", "relu", "concat", "split"), max_nodes=8))
def test_tidy_graphs_compute_the_same(graph):
    feeds = rewritable.feeds(graph, np.random.default_rng(0))
    before, after = graph.evaluate(feeds), tidy(graph).evaluate(feeds)
    assert all(np.array_equal(before[value], after[value]) for value in before)


def test_a_split_of_a_split_is_one_split_unless_the_middle_is_needed():
    build = GraphBuilder("splits")
    x = build.input("x", (2, 6))
    left, right = build.add("split", x, axis=1, sizes=(4, 2))
    first, second = build.add("split", left, axis=-1, sizes=(1, 3))
    (split,) = tidy(build.finish([first, second, right])).nodes
    assert split["sizes"] == (1, 3, 2) and split.outputs == (first, second, right)
    assert len(tidy(build.finish([first, second, right, left])).nodes) == 2


def test_other_axes_stay_apart():
    build = GraphBuilder("axes")
    x = build.input("x", (2, 2))
    rows = build.add("concat", x, x, axis=0)
    assert len(tidy(build.finish(build.add("concat", rows, rows, axis=1))).nodes) == 2
