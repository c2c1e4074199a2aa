"""Graphs cut into blocks: equal blocks are one problem, circles are kept together, and nothing is lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder
from taso_mini.blocks import CUTS, blocks, by_matches, separate, whole
from taso_mini.costs import FlopCost
from taso_mini.derived_rules import completed
from taso_mini.low_capacity import LARGEST, least_cut, low_capacity
from taso_mini.matching import Matcher
from taso_mini.optimizer import optimize
from taso_mini.rewriting import all_attempts
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


def lost(before: set[int], matches: list[list[int]]) -> int:
    return sum(0 < sum(node in before for node in match) < len(match) for match in matches)


@given(st.data())
def test_the_least_cut_loses_as_few_matches_as_any(data):
    count = data.draw(st.integers(2, 7))
    nodes = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(nodes, nodes), max_size=10, unique=True))
    reads = [(one, other) for one, other in pairs if one < other]
    matches = data.draw(st.lists(st.lists(nodes, min_size=2, max_size=4, unique=True), max_size=6))
    found = least_cut(count, reads, matches, [0], [count - 1])
    sides = [{0, *some} for size in range(count) for some in itertools.combinations(range(1, count - 1), size)]
    allowed = [side for side in sides if all(one in side for one, other in reads if other in side)]
    assert found in allowed
    assert lost(found, matches) == min(lost(side, matches) for side in allowed)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_place_in_the_order_loses_fewer_matches_than_the_first_cut(name):
    graph = searched(network(name))
    order = [operation for operation in graph.in_order() or () if not operation.constant]
    place = {value: i for i, operation in enumerate(order) for value in operation.outputs}
    matches = [
        sorted({place[value] for value in one.match.inner if value in place})
        for one in all_attempts(graph, MATCHER).values()
    ]
    reads = [(place[value], i) for i, operation in enumerate(order) for value in operation.inputs if value in place]
    quarter = len(order) // 4
    found = least_cut(len(order), reads, matches, range(quarter), range(len(order) - quarter, len(order)))
    assert lost(found, matches) <= min(lost(set(range(at)), matches) for at in range(quarter, len(order) - quarter + 1))
