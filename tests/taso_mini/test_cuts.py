"""A split cuts where everything in the rule and in the graph says it does."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.graph import Graph, GraphBuilder
from taso_mini.costs import FlopCost
from taso_mini.cuts import deciders
from taso_mini.matching import Matcher
from taso_mini.rewriting import all_rewrites
from taso_mini.rules_text import parse_rules
from taso_mini.search_graph import SearchGraph

(PULL_UP,) = parse_rules("""
rule split-add-is-add-split
  variables x: tensor, y: tensor
  source    split0(add(x, y), axis=a)
  source    split1(add(x, y), axis=a)
  target    add(split0(x, axis=a), split0(y, axis=a))
  target    add(split1(x, axis=a), split1(y, axis=a))
""")
(UNDO,) = parse_rules("""
rule split-concat-is-its-parts
  variables x: tensor, y: tensor
  source    split0(concat(x, y, axis=a), axis=a)
  source    split1(concat(x, y, axis=a), axis=a)
  target    relu(x)
  target    relu(y)
""")


def only_rewrite(graph: Graph, rule) -> Graph | None:
    search = SearchGraph.of(graph, FlopCost())
    found = list(all_rewrites(search, Matcher([rule])).values())
    assert len(found) < 2
    return search.apply(found[0].change).to_graph() if found else None


def test_a_cut_is_carried_from_the_source_to_the_target():
    build = GraphBuilder("add")
    x, y = build.input("x", (2, 5)), build.input("y", (2, 5))
    graph = build.finish(build.add("split", build.add("add", x, y), axis=1, sizes=(2, 3)))
    after = only_rewrite(graph, PULL_UP)
    assert after is not None
    assert [node["sizes"] for node in after.nodes if node.operator == "split"] == [(2, 3), (2, 3)]
    feeds = {"x": np.arange(10, dtype=np.float32).reshape(2, 5), "y": np.ones((2, 5), np.float32)}
    for value, array in graph.evaluate(feeds).items():
        assert np.array_equal(after.evaluate(feeds)[value], array)


@pytest.mark.parametrize(("cut", "fires"), [(2, True), (1, False)])
def test_a_split_elsewhere_than_the_concatenation_does_not_match(cut, fires):
    build = GraphBuilder("parts")
    x, y = build.input("x", (1, 2)), build.input("y", (1, 3))
    both = build.add("concat", x, y, axis=1)
    graph = build.finish(build.add("split", both, axis=1, sizes=(cut, 5 - cut)))
    assert (only_rewrite(graph, UNDO) is not None) == fires


def test_an_axis_that_nothing_is_known_of_has_no_decider():
    (rule,) = parse_rules("""
rule window-is-forgotten
  variables x: image, w: kernel
  source    relu(conv(x, w, activation=none, dilations=d, padding=p, strides=s))
  target    split0(conv(x, w, activation=none, dilations=d, padding=p, strides=s), axis=2)
""")
    assert deciders(rule, rule.target[0]) == ()


def test_axis_variables_are_told_apart_by_value():
    (rule,) = parse_rules("""
rule two-axes
  variables x: tensor, y: tensor
  source    split0(concat(x, y, axis=a), axis=1)
  target    x
""")
    assert len(deciders(rule, rule.source[0], (("a", 1),))) == 2
    assert len(deciders(rule, rule.source[0], (("a", 0),))) == 1
