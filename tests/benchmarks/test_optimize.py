"""The benchmark of the optimiser: recorded prices are used, missing ones counted, and a wrong graph is noticed."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from taso_mini.costs import FlopCost, MeasuredCost
from taso_mini.layouts.joint import AS_GIVEN, JOINT, LAYOUTS, VARIANTS
from taso_mini.models import MODELS
from tests.benchmarks import optimize

SMALL = {
    "bert": partial(MODELS["bert"], layers=1, hidden=16, heads=2, sequence=4, batch=2),
    "nasrnn": partial(MODELS["nasrnn"], hidden=8, steps=1),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Two tiny networks, and a file with one recorded price."""
    path = tmp_path / "costs.jsonl"
    path.write_text(json.dumps({"machine": "that one", "node": "relu(float32[8])", "seconds": 0.5}) + "\n")
    monkeypatch.setattr(optimize, "PRICES", path)
    monkeypatch.setattr(optimize, "NETWORKS", tuple(SMALL))
    monkeypatch.setattr(optimize, "QUICK", ())
    monkeypatch.setattr(optimize, "MODELS", SMALL)
    return path


def test_a_quick_run_has_all_figures_and_measures_no_prices(small, capsys: pytest.CaptureFixture[str]) -> None:
    before = small.read_text()
    figures = optimize.run(quick=True)
    assert small.read_text() == before and figures["prices_estimated"] > 0
    assert list(figures["models"]) == ["bert", "nasrnn"] and list(figures["bert_joint"]) == [
        "as_given", "substitutions", "layouts", "sequential", "joint"
    ]  # fmt: skip
    for found in figures["models"].values():
        assert found["cost_after"] <= found["cost_greedy"] and found["cost_after"] <= found["cost_layouts"]
        assert found["measured_before"] is None and found["search_seconds"] >= 0
    json.dumps(figures)
    assert "prices were estimated" in capsys.readouterr().out


def test_recorded_prices_are_used(small) -> None:
    with optimize.prices(quick=True) as source:
        found = optimize.search("nasrnn", optimize.backend(source))
    assert isinstance(source, MeasuredCost) and source.measured == 0
    assert found.found.costs[AS_GIVEN] > 0.05  # two relus, at a tenth of half a second each when they are fused


@pytest.mark.cc
def test_variants_are_timed_and_compared_with_the_reference(small) -> None:
    found = optimize.search("bert", FlopCost())
    seconds, error = optimize.latencies(found.graph, found.found, (AS_GIVEN, LAYOUTS, JOINT))
    assert set(seconds) == {AS_GIVEN, LAYOUTS, JOINT} <= set(VARIANTS) and all(s > 0 for s in seconds.values())
    assert error <= optimize.TOLERANCE
    wrong = MODELS["bert"](np.random.default_rng(1), layers=1, hidden=16, heads=2, sequence=4, batch=2)
    with pytest.raises(ValueError, match="bert: an optimised graph differs from the original"):
        optimize.latencies(wrong, found.found, (AS_GIVEN,))
