"""Sources of rules are found where they are, and nowhere else."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given

from runtime.graph import Graph, GraphBuilder
from taso_mini.costs import FlopCost
from taso_mini.matching import Matcher, directed, patterns
from taso_mini.rules_text import parse_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.terms import Substitution
from taso_mini.unification import RANK, unify
from tests.strategies import rewritable
from tests.taso_mini.test_substitution import EVERY_RULE

(MERGE,) = parse_rules("""
rule relu-relu-is-split-relu-concat
  variables x: image, w: kernel, k: kernel
  source    relu(conv(x, w, activation=none, dilations=d, padding=p, strides=s))
  source    relu(conv(x, k, activation=none, dilations=d, padding=p, strides=s))
  target    split0(relu(conv(x, concat(w, k, axis=0), activation=none, dilations=d, padding=p, strides=s)), axis=1)
  target    split1(relu(conv(x, concat(w, k, axis=0), activation=none, dilations=d, padding=p, strides=s)), axis=1)
""")


def brute_force(search: SearchGraph, rule: Substitution) -> set[tuple[str, ...]]:
    """Outputs of all matches, from trying every tuple of distinct values."""
    found = set()
    live = [value for value in search.producers if value not in search.values.constant]
    for roots in itertools.permutations(live, len(rule.source)):
        values, params = {}, {}
        if all(unify(search, node, value, values, params) for node, value in zip(rule.source, roots, strict=True)):
            found.add(roots)
    return found


@given(rewritable.networks(max_nodes=8))
def test_matches_are_those_of_brute_force(graph):
    search = SearchGraph.of(graph, FlopCost())
    for rule in EVERY_RULE:
        found = {match.roots for match in Matcher([rule]).matches(search)}
        expected = brute_force(search, rule)
        if patterns(rule)[0].symmetric:
            expected = {roots for roots in expected if roots[0] < roots[1]}
        assert found == expected, rule


def branches(count: int) -> Graph:
    build = GraphBuilder("branches")
    x = build.input("x", (1, 2, 3, 3))
    weights = [build.weight(f"w{i}", np.ones((2, 2, 1, 1), np.float32)) for i in range(count)]
    return build.finish([build.add("relu", build.add("conv", x, w)) for w in weights])


def test_a_second_output_is_reached_through_a_shared_variable():
    assert [(climb.hops, str(climb.start)) for climb in patterns(MERGE)[0].rest] == [(2, "x")]
    search = SearchGraph.of(branches(4), FlopCost())
    pairs = {match.roots for match in Matcher([MERGE]).matches(search)}
    assert len(pairs) == 6 and all(a < b for a, b in pairs)


def test_a_variable_twice_must_be_one_value():
    (double,) = parse_rules("""
rule add-twice
  variables x: tensor
  source    add(x, x)
  target    relu(x)
""")
    build = GraphBuilder("sums")
    x, y = build.input("x", (2,)), build.input("y", (2,))
    same, mixed = build.add("add", x, x), build.add("add", x, y)
    search = SearchGraph.of(build.finish([same, mixed]), FlopCost())
    assert [match.roots for match in Matcher([double]).matches(search)] == [(same,)]


def test_parameter_variables_must_agree():
    build = GraphBuilder("strides")
    x = build.input("x", (1, 2, 4, 4))
    weights = [build.weight(name, np.ones((2, 2, 1, 1), np.float32)) for name in "vw"]
    convs = [build.add("conv", x, w, strides=(i + 1, 1)) for i, w in enumerate(weights)]
    search = SearchGraph.of(build.finish([build.add("relu", conv) for conv in convs]), FlopCost())
    assert not list(Matcher([MERGE]).matches(search))


def test_what_weights_alone_decide_is_left_alone():
    (undo,) = parse_rules("""
rule relu-relu
  variables x: tensor
  source    relu(relu(x))
  target    relu(x)
""")
    build = GraphBuilder("constant")
    w = build.weight("w", np.ones(2, np.float32))
    graph = build.finish(build.add("add", build.input("x", (2,)), build.add("relu", build.add("relu", w))))
    assert not list(Matcher([undo]).matches(SearchGraph.of(graph, FlopCost())))


def test_reverses_need_all_variables_and_something_to_hold_on_to():
    rules = parse_rules("""
rule first-half
  variables x: tensor, y: tensor
  source    split0(concat(x, y, axis=a), axis=a)
  target    x
rule add-commutes
  variables x: tensor, y: tensor
  source    add(x, y)
  target    add(y, x)
""")
    assert [rule.name for rule in directed(rules)] == ["first-half", "add-commutes", "add-commutes-reversed"]
    assert set(RANK) == {"image", "kernel", "vector", "matrix", "scalar"}
