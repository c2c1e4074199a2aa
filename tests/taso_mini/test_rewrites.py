"""The rewrites that the paper shows are found by the search, none is written down."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.rewrites import CASES, find, relative_difference, rules, shown

RULES = rules()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.split(":")[0])
def test_the_search_takes_the_rewrite(case):
    found = find(case, RULES, case.build)
    assert shown(case, found)
    assert found.cost_after < found.cost_before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.split(":")[0])
def test_the_result_computes_the_same(case):
    graph = case.reduced(np.random.default_rng(0))
    assert relative_difference(graph, find(case, RULES, case.reduced).graph) < 1e-6  # 1 / 9 is rounded as a float32
