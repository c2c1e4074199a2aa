"""Graph and loops searched together: the result is equal, its prices say where they come from, its records go on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from runtime import executor
from runtime.graph import Graph, GraphBuilder
from runtime.machine import detect
from taso_mini.ansor_backend import MeasuredKernels
from taso_mini.costs import MeasuredCost
from taso_mini.joint.finals import network_of
from taso_mini.joint.prices import DEFAULT, TUNED
from taso_mini.joint.search import JointOptions, JointSearch
from taso_mini.joint.store import Store
from taso_mini.optimizer import optimize
from tests.taso_mini.test_joint_prices import MERGE

pytestmark = pytest.mark.usefixtures("hasty_choices")


def gates() -> Graph:
    """Two products of one matrix, and the product of both."""
    build, rng = GraphBuilder("gates"), np.random.default_rng(3)
    x = build.input("x", (32, 32))
    weights = [build.weight(name, rng.integers(-1, 2, (32, 32)).astype(np.float32)) for name in "vw"]
    left, right = (build.add("relu", build.add("matmul", x, weight)) for weight in weights)
    return build.finish(build.add("matmul", left, right, name="y"))


def search(folder, trials: int, **options) -> tuple[JointSearch, object]:
    """A joint search of the gates, its records and prices in a folder."""
    log: list[str] = []
    chosen = JointOptions(trials=trials, rounds=2, search=partial(optimize, budget=5), **options)
    with (
        MeasuredKernels(detect(), channels_last=False) as kernels,
        Store(folder / "records.jsonl", machine=detect()) as store,
    ):
        defaults = MeasuredCost(kernels, folder / "operators.jsonl", detect().line)
        made = JointSearch(gates(), MERGE, detect(), store, defaults, chosen, log.append)
        found = made.run()
    assert any("chosen" in line for line in log)
    return made, found


@pytest.mark.cc
@pytest.mark.slow
def test_a_search_tunes_what_it_chooses_and_the_result_is_equal(tmp_path):
    made, found = search(tmp_path, 16)
    assert found.trials == 16 == made.store.total and found.stopped == "trials"
    assert found.chosen.name in found.bills and found.chosen.name in str(found)
    sources = set().union(*(bill.by_source for bill in found.bills.values()))
    assert sources <= {TUNED, DEFAULT, "operators", "copied"} and TUNED in sources
    assert all(sum(one.chances.values()) == pytest.approx(1) for one in found.rounds)
    if len(found.bills) > 1:
        assert found.chosen.name == min(found.timed, key=found.timed.get)
    assert {choice.kernels for choice in made.store.choices} >= {found.choice.kernels}
    assert found.choice.seconds[found.choice.fastest] == min(found.choice.seconds.values())
    feeds = {"x": np.random.default_rng(0).integers(-2, 3, (32, 32)).astype(np.float32)}
    network = executor.build(network_of(found.chosen, found.nests, 1))
    assert np.array_equal(network.run(**feeds)["y"], gates().evaluate(feeds)["y"])


@pytest.mark.cc
@pytest.mark.slow
def test_what_is_recorded_is_not_measured_again(tmp_path):
    first, before = search(tmp_path, 8, finalists=1)
    size = (tmp_path / "operators.jsonl").stat().st_size
    second, found = search(tmp_path, 0, finalists=1)
    assert found.trials == 0 and second.store.total == first.store.total == 8
    assert found.choice == before.choice and second.store.choices == first.store.choices
    assert (tmp_path / "operators.jsonl").stat().st_size == size
    assert found.bills[found.chosen.name].seconds <= before.bills[before.chosen.name].seconds * 1.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "would not end"),
        ({"trials": -1}, "trials >= 0"),
        ({"trials": 1, "rounds": 0}, "rounds"),
        ({"trials": 1, "within": 0.5}, "within"),
        ({"trials": 1, "proposals": ("no such",)}, "proposals: expected some of as given"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        JointOptions(**options)
