"""A search leaves nothing to the garbage collector, so it may do without."""

from __future__ import annotations

import gc

import pytest

from taso_mini.collector import paused
from taso_mini.matching import Matcher
from taso_mini.optimizer import optimize
from tests.taso_mini.test_random_walks import MATCHER, network


@pytest.mark.parametrize("name", ["bert", "nasrnn"])
def test_a_search_makes_no_circles(name):
    graph = network(name)
    optimize(graph, MATCHER.rules)  # what is kept for good, such as parsed conditions, is made now
    gc.collect()
    with paused():
        Matcher(MATCHER.rules)
        terms = gc.collect()  # of patterns tried out; every term knows all its subterms, itself among them
        found = optimize(graph, MATCHER.rules)
        unreachable = gc.collect()
    assert found.trace.expanded > 5 and unreachable <= terms


def test_the_collector_is_left_as_it_was():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), paused():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
