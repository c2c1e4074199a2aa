"""Algorithm 2 as written, and the search with its shortcuts: the same graphs in the same order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from runtime.graph import Graph
from taso_mini.best_first import Queue
from taso_mini.costs import FlopCost
from taso_mini.derived_rules import completed
from taso_mini.descent import Candidate
from taso_mini.matching import Matcher
from taso_mini.plain_search import search
from taso_mini.rules_text import load_rules
from taso_mini.search_graph import SearchGraph
from tests.strategies import rewritable
from tests.taso_mini.test_random_walks import NETWORKS, network

RULES = completed(load_rules())
MATCHER = Matcher(RULES)


def incremental(graph: Graph, alpha: float, budget: int) -> tuple[int, list[tuple[int, int]]]:
    """The cost of the best graph, and cost and fingerprint of those expanded."""
    rejected = Counter[str]()
    queue, expanded = Queue(alpha, rejected), []
    queue.put(Candidate(SearchGraph.of(graph, FlopCost())))
    while len(expanded) < budget and (here := queue.take()) is not None:
        here.expand(MATCHER, rejected)
        queue.add_children(here)
        expanded.append((here.graph.cost, here.graph.fingerprint))
    queue.take()  # the last graph's best child counts as well
    return queue.best.graph.cost, expanded


def agree(graph: Graph, alpha: float, budget: int) -> None:
    plain = search(graph, RULES, FlopCost(), alpha=alpha, budget=budget)
    best, expanded = incremental(graph, alpha, budget)
    assert list(plain.expanded) == expanded and plain.best.cost == best


@settings(max_examples=10)
@given(rewritable.networks(max_nodes=4))
def test_both_expand_the_same_graphs_in_the_same_order(graph):
    for alpha in (1.0, 1.05):
        agree(graph, alpha, budget=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_both_agree_on_networks(name):
    agree(network(name), alpha=1.05, budget=25)
