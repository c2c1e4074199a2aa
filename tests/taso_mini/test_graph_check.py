"""The chosen graph beside the given one: the faster stays, and prices that said otherwise are told of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from runtime.graph import Graph, GraphBuilder
from runtime.layout import to_channels_last
from runtime.machine import detect
from taso_mini.compile_options import CompileOptions
from taso_mini.costs import FlopCost, Shares
from taso_mini.graph_check import CHOSEN, GIVEN, keep_faster, under_default_schedules
from taso_mini.optimizer import Optimized
from taso_mini.trace import Step, Trace

DEAR_RELUS = Shares(FlopCost(), {"relu": 100.0})


def convolution(*, relu: bool, image: str = "x") -> Graph:
    """A convolution and its relu, as two operators or as one."""
    build = GraphBuilder("g")
    weight = build.weight("w", np.ones((4, 3, 1, 1), np.float32))
    activation = "none" if relu else "relu"
    y = build.add("conv", build.input(image, (1, 3, 8, 8)), weight, name="y", activation=activation)
    return build.finish(build.add("relu", y, name="z") if relu else y)


def optimized(graph: Graph) -> Optimized:
    return Optimized(to_channels_last(graph), 2e-6, 1e-6, Trace((Step("a-rule", ("z",), 2e-6, 1e-6),), 7))


class Clock:
    """A timer that gives fixed seconds, and remembers what it was asked."""

    def __init__(self, given: float, chosen: float) -> None:
        self.seconds = {GIVEN: given, CHOSEN: chosen}
        self.asked: list[str] = []

    def __call__(self, graphs: Mapping[str, Graph]) -> Mapping[str, float]:
        self.asked += graphs
        return self.seconds


@pytest.mark.parametrize("given", [1.0, 1.5, 0.98])
def test_the_chosen_graph_stays_unless_the_given_one_is_clearly_faster(given: float) -> None:
    said: list[str] = []
    chosen = optimized(convolution(relu=False))
    assert keep_faster(convolution(relu=True), chosen, DEAR_RELUS, Clock(given, 1.0), said.append) is chosen
    assert len(said) == 1 and f"{1 / given:.2f} of that" in said[0]


def test_prices_that_were_wrong_are_told_of_with_the_way_to_forget_them() -> None:
    graph, said = convolution(relu=True), list[str]()
    found = keep_faster(graph, optimized(convolution(relu=False)), DEAR_RELUS, Clock(0.63, 1.0), said.append)
    assert found.graph == to_channels_last(graph) and found.trace.steps == () and found.trace.expanded == 7
    assert found.cost_before == found.cost_after > 0
    assert "the given graph stays" in said[1] and "--fresh-prices" in said[2]


def test_prices_that_hardly_differ_are_not_blamed() -> None:
    said: list[str] = []
    chosen, free_relus = optimized(convolution(relu=False)), Shares(FlopCost(), {"relu": 0.0})
    found = keep_faster(convolution(relu=True), chosen, free_relus, Clock(0.63, 1.0), said.append)
    assert found.trace.steps == () and not any("--fresh-prices" in line for line in said)


def test_graphs_of_the_same_kernels_are_not_timed() -> None:
    clock, chosen = Clock(1.0, 9.0), optimized(convolution(relu=True, image="other"))
    assert keep_faster(convolution(relu=True), chosen, DEAR_RELUS, clock, lambda line: None) is chosen
    assert not clock.asked


@pytest.mark.cc
def test_both_graphs_are_built_and_timed() -> None:
    graphs = {GIVEN: convolution(relu=True), CHOSEN: convolution(relu=False)}
    seconds = under_default_schedules(detect(), 1)(graphs)
    assert seconds.keys() == graphs.keys() and min(seconds.values()) > 0


def test_fresh_prices_are_measured_ones() -> None:
    with pytest.raises(ValueError, match='fresh_prices needs cost="measured"'):
        CompileOptions(fresh_prices=True, cost="flops")
