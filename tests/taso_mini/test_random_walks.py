"""Random walks through the graphs of networks: what is kept from step to step equals what is worked out anew."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from runtime.graph import Graph
from taso_mini import recall, rewriting
from taso_mini.costs import FlopCost
from taso_mini.derived_rules import completed
from taso_mini.matching import Matcher
from taso_mini.models.bert import bert
from taso_mini.models.nasnet_a import nasnet_a
from taso_mini.models.nasrnn import nasrnn
from taso_mini.models.resnet50 import resnet50
from taso_mini.models.resnext50 import resnext50
from taso_mini.plain_search import cost, fingerprint
from taso_mini.rewriting import Attempts, Key, all_attempts, inherit
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


def step(here: SearchGraph, attempts: Attempts, rng: np.random.Generator) -> tuple[SearchGraph, Attempts] | None:
    """Take a random rewrite that closes no cycle, and hold what is inherited against what is worked out anew.

    Returns None where no rewrite is left.
    """
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
    return None


@pytest.mark.parametrize("name", NETWORKS)
def test_sixty_random_rewrites(name):
    """A walk that comes to an end begins again; at times its graph is computed, and made a search's beginning."""
    graph, rng = network(name), np.random.default_rng(1)
    given = SearchGraph.of(graph, FlopCost())
    beginning = here, attempts = given, all_attempts(given, MATCHER)
    taken = 0
    while taken < 60:
        after = step(here, attempts, rng)
        assert after or here is not given
        here, attempts = after or beginning
        taken += after is not None
        if taken % 20 == 10:
            rebuilt = here.to_graph()
            assert same_outputs(graph, rebuilt, rng)
            again = SearchGraph.of(rebuilt, FlopCost())
            assert (again.cost, again.fingerprint) == (here.cost, here.fingerprint)


def apart(attempts: Attempts) -> list[Key]:
    """Rewrites of different operations."""
    chosen: list[Key] = []
    taken: set[str] = set()
    for key, found in sorted(attempts.items()):
        if isinstance(found, Rewrite) and taken.isdisjoint(found.match.inner):
            chosen.append(key)
            taken |= found.match.inner
    return chosen


@pytest.mark.parametrize("name", ["nasrnn", "bert", "nasnet_a"])
def test_the_same_rewrites_in_other_orders_share_their_answers(name, monkeypatch):
    """What is recalled from other graphs is what is worked out anew, and much of it is recalled."""
    afresh, asked, changes = [], [], []
    attempt, news_again, work_out = recall.attempt, rewriting.news_again, rewriting._work_out
    monkeypatch.setattr(recall, "attempt", lambda *given: afresh.append(given) or attempt(*given))
    monkeypatch.setattr(rewriting, "_work_out", lambda *given: changes.append(given) or work_out(*given))

    def again(*given):
        news = news_again(*given)
        asked.append(len(news.tried))
        return news

    monkeypatch.setattr(rewriting, "news_again", again)
    given, rng = SearchGraph.of(network(name), FlopCost()), np.random.default_rng(2)
    beginning = all_attempts(given, MATCHER)
    sites = apart(beginning)[:4]
    assert len(sites) > 2
    for _ in range(8):
        here, attempts = given, beginning
        for i in rng.permutation(len(sites)):
            found = attempts.get(sites[i])
            after = here.apply(found.change) if isinstance(found, Rewrite) else here
            if after is not here and not after.has_cycle():
                here, attempts = after, inherit(attempts, found.change, after, MATCHER)
                assert describe(attempts) == describe(all_attempts(here, MATCHER))
    assert 0 < 4 * len(afresh) < 3 * sum(asked)
    assert 0 < len(changes) < len(asked)
