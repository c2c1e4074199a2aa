"""Graphs cut into blocks: equal blocks are one problem, circles are kept together, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder
from taso_mini.blocks import CUTS, LARGEST, blocks, by_matches, low_capacity, separate, whole
from taso_mini.costs import FlopCost
from taso_mini.derived_rules import completed
from taso_mini.matching import Matcher
from taso_mini.optimizer import optimize
from taso_mini.rules_text import load_rules
from taso_mini.search_graph import SearchGraph
from tests.strategies import rewritable
from tests.taso_mini.test_random_walks import MATCHER, NETWORKS, network
from tests.taso_mini.test_substitution import same_outputs

RULES = completed(load_rules())


def searched(graph: Graph) -> SearchGraph:
    return SearchGraph.of(graph, FlopCost())


@pytest.mark.parametrize(("name", "distinct"), [("bert", 2), ("nasrnn", 2)])
def test_equal_layers_are_one_problem(name, distinct):
    """BERT: the first layer's products, and a layer's last with the next one's. NasRNN: the first state is a weight."""
    build = NETWORKS[name].func
    sizes = {"layers": 5} if name == "bert" else {"steps": 5}
    graph = searched(build(np.random.default_rng(0), **{**NETWORKS[name].keywords, **sizes}))
    parts = blocks(graph, by_matches(graph, MATCHER))
    assert len(parts) == 5 and len({part.key for part in parts}) == distinct


def layers(shapes: list[int]) -> Graph:
    build = GraphBuilder("layers")
    x = build.input("x", (4, 8))
    for width in shapes:
        made = []
        for _ in range(2):
            w = build.weight(build.fresh("w"), np.ones((8, width), np.float32))
            made.append(build.add("exp", build.add("matmul", x, w)))
        x = build.add("softmax", build.add("concat", *made, axis=1))
        x = build.add("slice", x, starts=(0, 0), stops=(4, 8), steps=(1, 1)) if width > 4 else x
    return build.finish(x)


def test_blocks_of_other_shapes_are_other_problems():
    same, different = (searched(layers(shapes)) for shapes in ([4, 4], [4, 5]))
    assert len({part.key for part in blocks(same, by_matches(same, MATCHER))}) == 1
    assert len({part.key for part in blocks(different, by_matches(different, MATCHER))}) == 2


def test_groups_that_need_each_other_are_joined_with_what_lies_between():
    build = GraphBuilder("circle")
    a, b = (build.add("relu", build.input(name, (2,)), name=f"{name}0") for name in "ab")
    one = build.add("exp", a, name="one")
    other = build.add("exp", b, name="other")
    graph = searched(build.finish([build.add("tanh", one, name="b1"), build.add("tanh", other, name="a1")]))
    at = graph.producers
    crossed = separate(graph, [[at["a0"], at["a1"]], [at["b0"], at["b1"]]])
    values = [sorted(v for o in group for v in o.outputs) for group in crossed]
    assert values == [["a0", "a1", "b0", "b1", "one", "other"]]
    assert len(separate(graph, [[at["a0"], at["one"]], [at["b0"], at["other"]]])) == 2


@given(rewritable.networks(), st.sampled_from(sorted(CUTS)))
def test_any_cut_keeps_the_outputs(graph, cut):
    found = optimize(graph, RULES, budget=3, restarts=2, cut=CUTS[cut])
    assert found.cost_after <= found.cost_before
    assert same_outputs(graph, found.graph, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["resnet50", "bert"])
def test_blocks_lose_nothing_where_the_whole_can_be_searched(name):
    graph = network(name)
    costs = [optimize(graph, RULES, budget=200, cut=cut).cost_after for cut in (whole, by_matches)]
    assert costs[1] <= costs[0]


def test_the_whole_is_one_block():
    graph = searched(network("bert"))
    assert len(blocks(graph, whole(graph, Matcher([])))) == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_pieces_of_low_capacity_have_at_most_their_size_and_hold_every_operation(name):
    graph = searched(network(name))
    pieces = low_capacity(graph, MATCHER)
    assert all(LARGEST // 4 <= len(piece) <= LARGEST for piece in pieces)
    assert sorted(o.outputs for piece in pieces for o in piece) == sorted(
        o.outputs for o in graph.operations if not o.constant
    )
    assert len(separate(graph, pieces)) == len(pieces)
