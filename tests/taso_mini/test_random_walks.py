"""Random walks through the graphs of networks: what is kept from step to step equals what is worked out anew."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from runtime.graph import Graph
from taso_mini.costs import FlopCost
from taso_mini.derived_rules import completed
from taso_mini.matching import Matcher
from taso_mini.models.bert import bert
from taso_mini.models.nasnet_a import nasnet_a
from taso_mini.models.nasrnn import nasrnn
from taso_mini.models.resnet50 import resnet50
from taso_mini.models.resnext50 import resnext50
from taso_mini.plain_search import cost, fingerprint
from taso_mini.rewriting import Attempts, all_attempts, inherit
from taso_mini.rules_text import load_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.substitution import Rewrite
from tests.taso_mini.test_substitution import describe, same_outputs

NETWORKS = {
    "resnet50": partial(resnet50, image=8, channels=4, repeats=(2, 2)),
    "resnext50": partial(resnext50, image=32, channels=8, groups=4, repeats=(2, 1)),
    "nasnet_a": partial(nasnet_a, image=32, channels=4, stem=4, stages=1, cells=2),
    "nasrnn": partial(nasrnn, hidden=4, steps=2),
    "bert": partial(bert, layers=2, hidden=8, heads=2, sequence=3, batch=2),
}
MATCHER = Matcher(completed(load_rules()))


def network(name: str) -> Graph:
    return NETWORKS[name](np.random.default_rng(0))


def step(here: SearchGraph, attempts: Attempts, rng: np.random.Generator) -> tuple[SearchGraph, Attempts]:
    """Take a random rewrite that closes no cycle, and hold what is inherited against what is worked out anew."""
    rewrites = [found for _, found in sorted(attempts.items()) if isinstance(found, Rewrite)]
    for i in rng.permutation(len(rewrites)):
        change = rewrites[i].change
        after = here.apply(change)
        assert after.has_cycle() == (after.in_order() is None)
        if after.has_cycle():
            continue
        assert (after.cost, after.fingerprint) == (cost(after), fingerprint(after))
        inherited = inherit(attempts, change, after, MATCHER)
        assert describe(inherited) == describe(all_attempts(after, MATCHER))
        return after, inherited
    pytest.fail("no rewrite is left")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_sixty_random_rewrites(name):
    graph, rng = network(name), np.random.default_rng(1)
    here = SearchGraph.of(graph, FlopCost())
    attempts = all_attempts(here, MATCHER)
    for number in range(60):
        here, attempts = step(here, attempts, rng)
        if number % 20 == 19:
            assert same_outputs(graph, here.to_graph(), rng)


@pytest.mark.parametrize("name", ["resnet50", "nasrnn"])
def test_ten_random_rewrites(name):
    """The same, shorter, and against a search that begins at the graph that the walk has come to."""
    here, rng = SearchGraph.of(network(name), FlopCost()), np.random.default_rng(2)
    attempts = all_attempts(here, MATCHER)
    for _ in range(10):
        here, attempts = step(here, attempts, rng)
        again = SearchGraph.of(here.to_graph(), FlopCost())
        assert (again.cost, again.fingerprint) == (here.cost, here.fingerprint)
