"""Prices: the formula, the shares, and measurements that are made once and kept."""

from __future__ import annotations

import json

import pytest

from runtime.graph import Node, TensorType
from taso_mini.costs import FlopCost, MeasuredCost, Shares, Views

IMAGE = TensorType((1, 4, 8, 8))
RELU, TANH = Node("relu", ("x",), ("y",)), Node("tanh", ("x",), ("y",))


class Stopwatch:
    """Counts what it is asked to measure."""

    def __init__(self, seconds: float | None = 1e-3) -> None:
        self.seconds = seconds
        self.asked: list[str] = []

    def __call__(self, node, types):
        self.asked.append(f"{node.operator} {types[0]}")
        return self.seconds


def test_flops_bytes_and_a_start_add_up():
    costs = FlopCost(flops_per_second=100.0, bytes_per_second=10.0, start_seconds=1.0)
    conv = Node("conv", ("x", "w"), ("y",))
    x, w = TensorType((1, 2, 1, 1)), TensorType((3, 2, 1, 1))
    assert costs.cost(conv, (x, w)) == pytest.approx(2 * 3 * 2 / 100 + 4 * (2 + 6 + 3) / 10 + 1)
    assert costs.cost(Node("reshape", ("x",), ("y",), {"shape": (2,)}), (x,)) == 0


def test_a_share_of_nothing_asks_nobody():
    watch = Stopwatch()
    costs = Shares(MeasuredCost(watch), {"relu": 0.0, "tanh": 0.5})
    assert costs.cost(RELU, (IMAGE,)) == costs.estimate(RELU, (IMAGE,)) == 0 and not watch.asked
    assert costs.cost(TANH, (IMAGE,)) == 0.5e-3


def test_a_configuration_is_measured_once_and_remembered(tmp_path):
    path, watch = tmp_path / "sub" / "costs.jsonl", Stopwatch()
    costs = MeasuredCost(watch, path, machine="this one")
    assert costs.cost(RELU, (IMAGE,)) == costs.cost(Node("relu", ("a",), ("b",)), (IMAGE,)) == 1e-3
    assert costs.cost(RELU, (TensorType((2, 2)),)) == 1e-3
    assert watch.asked == ["relu float32[256]", "relu float32[4]"]
    again = MeasuredCost(watch, path, machine="this one")
    assert again.cost(RELU, (IMAGE,)) == again.estimate(RELU, (IMAGE,)) == 1e-3 and again.measured == 0
    other = MeasuredCost(watch, path, machine="another")
    assert other.cost(RELU, (IMAGE,)) == 1e-3 and other.measured == 1


def test_a_price_can_be_measured_anew_and_then_counts(tmp_path):
    path = tmp_path / "costs.jsonl"
    assert MeasuredCost(Stopwatch(9e-3), path).cost(RELU, (IMAGE,)) == 9e-3  # the machine was busy
    assert MeasuredCost(Stopwatch(1e-3), path).cost(RELU, (IMAGE,)) == 9e-3
    assert MeasuredCost(Stopwatch(1e-3), path, fresh=True).cost(RELU, (IMAGE,)) == 1e-3
    assert MeasuredCost(Stopwatch(9e-3), path).cost(RELU, (IMAGE,)) == 1e-3
    assert len(path.read_text().splitlines()) == 2


def test_elementwise_operators_see_rows_and_others_shapes(tmp_path):
    watch = Stopwatch()
    costs = MeasuredCost(watch)
    image, vector = TensorType((1, 4, 8, 8)), TensorType((4, 1, 1))
    add, pool = Node("add", ("x", "y"), ("z",)), Node("max_pool", ("x",), ("y",), {"kernel": (2, 2)})
    for types in ((image, image), (TensorType((1, 8, 8, 4)),) * 2, (image, vector)):
        costs.cost(add, types)
    costs.cost(pool, (image,))
    assert watch.asked == ["add float32[256]", "add float32[1, 4, 8, 8]", "max_pool float32[1, 4, 8, 8]"]


def test_views_cost_nothing():
    costs = Views(MeasuredCost(Stopwatch()))
    split = Node("split", ("x",), ("y", "z"), {"axis": 0, "sizes": (16, 16)})
    assert costs.cost(split, (TensorType((32, 4)),)) == costs.estimate(split, (TensorType((32, 4)),)) == 0
    assert costs.cost(Node("split", ("x",), ("y", "z"), {"axis": 1, "sizes": (2, 2)}), (TensorType((32, 4)),)) == 1e-3


def test_a_torn_last_line_is_skipped_and_ended(tmp_path):
    path = tmp_path / "costs.jsonl"
    path.write_text('{"machine": "", "node": "relu(float32[4])", "seconds": 2.0}\n{"machine": "", "no')
    costs = MeasuredCost(Stopwatch(), path)
    assert costs.cost(RELU, (TensorType((2, 2)),)) == 2.0
    costs.cost(RELU, (IMAGE,))
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[2])["seconds"] == 1e-3


def test_estimates_are_corrected_by_measurements_of_the_same_operator():
    costs, plain = MeasuredCost(Stopwatch()), FlopCost()
    assert costs.estimate(RELU, (IMAGE,)) == plain.cost(RELU, (IMAGE,))
    costs.cost(RELU, (IMAGE,))
    small = TensorType((2, 2))
    ratio = 1e-3 / plain.cost(RELU, (IMAGE,))
    assert costs.estimate(RELU, (small,)) == pytest.approx(ratio * plain.cost(RELU, (small,)))
    assert costs.estimate(TANH, (small,)) == plain.cost(TANH, (small,))


def test_what_cannot_be_measured_keeps_its_estimate():
    costs = MeasuredCost(Stopwatch(None))
    assert costs.cost(RELU, (IMAGE,)) == costs.cost(RELU, (IMAGE,)) == FlopCost().cost(RELU, (IMAGE,))
    assert (costs.measured, costs.failed) == (0, 1)
