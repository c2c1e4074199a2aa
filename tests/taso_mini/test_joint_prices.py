"""Prices of kernels: tuned before predicted before default before operators, each with its name; bills; proposals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from ansor_mini.partition import partition
from ansor_mini.record import Record
from runtime.graph import Graph, GraphBuilder, Node, TensorType
from runtime.machine import detect
from taso_mini.costs import MeasuredCost
from taso_mini.joint.alternatives import Alternative, bill, joined_concats
from taso_mini.joint.latency_model import LatencyModel
from taso_mini.joint.prices import COPIED, DEFAULT, JOINED, OPERATORS, PREDICTED, TUNED, VIEW, KernelPrices, kind
from taso_mini.joint.proposals import PROPOSALS, Beliefs, KnownCosts, different, fused
from taso_mini.joint.store import Store
from taso_mini.optimizer import optimize
from taso_mini.rules_text import parse_rules
from tests.source import ROOT

ANOTHER = ("Split('v0', 'i', (1,))",)
MERGE = parse_rules("""
rule matmul-matmul-is-split-matmul-concat
  variables x: matrix, v: matrix, w: matrix
  source    matmul(x, v)
  source    matmul(x, w)
  target    split0(matmul(x, concat(v, w, axis=1)), axis=1)
  target    split1(matmul(x, concat(v, w, axis=1)), axis=1)
""")


class Foretold(LatencyModel):
    """A model that says the same of every kernel."""

    def __init__(self, seconds: float | None) -> None:
        """Say so many seconds."""
        super().__init__(detect())
        self.said = seconds

    def seconds(self, dag, constants=()) -> float | None:
        """The same."""
        return self.said


def layer() -> Graph:
    """A matrix product and what is fused with it."""
    build = GraphBuilder("layer")
    product = build.add("matmul", build.input("x", (16, 32)), build.weight("w", np.ones((32, 48), np.float32)))
    return build.finish(build.add("relu", product))


def two_products() -> Graph:
    """Two products of one matrix, and what reads both."""
    build = GraphBuilder("two")
    x = build.input("x", (1, 32))
    parts = [build.add("matmul", x, build.weight(name, np.ones((32, 32), np.float32))) for name in "vw"]
    return build.finish(build.add("mul", build.add("tanh", parts[0]), build.add("tanh", parts[1])))


def record(task: str, seconds: float, steps=ANOTHER, **others) -> Record:
    return Record(task, steps, {}, "ok", (seconds,), machine=others.pop("machine", detect().line), **others)


@pytest.fixture
def store():
    with Store(None, machine=detect()) as made:
        yield made


def prices_of(store: Store, foretold: float | None = None) -> KernelPrices:
    prices = KernelPrices(store, fused(MeasuredCost(lambda node, types: 1e-3)), Foretold(foretold))
    prices.kinds.add(kind(Node("matmul", ("x", "w"), ("y",))))
    return prices


def test_a_kernel_is_priced_by_the_best_source_there_is(store):
    alternative = Alternative("as given", layer())
    (part,) = alternative.parts

    def price(foretold: float | None = None):
        prices = prices_of(store, foretold)
        return prices.of(prices.kernel(part, alternative.constants(part)))

    kernel = prices_of(store).kernel(part, alternative.constants(part))
    assert price().source == OPERATORS and price().seconds == pytest.approx(1.1e-3)  # relu at a tenth
    store.append(record(kernel.task, 5e-4, kernel.default))
    assert (price().seconds, price().source) == (5e-4, DEFAULT)
    assert (price(2e-4).seconds, price(2e-4).source) == (2e-4, PREDICTED)
    assert (price(9e-4).seconds, price(9e-4).source) == (5e-4, PREDICTED)  # never more than what is known
    store.append(record(kernel.task, 6e-4))
    assert (price(2e-4).seconds, price(2e-4).source) == (5e-4, TUNED)  # the search found nothing faster
    store.append(record(kernel.task, 3e-4))
    assert (price(2e-4).seconds, price(2e-4).source) == (3e-4, TUNED)


def test_records_of_other_machines_and_threads_say_nothing(store):
    store.append(record("task", 1e-6, machine="another"))
    store.append(record("task", 1e-6, threads=7))
    store.append(Record("task", ANOTHER, {}, "crash", machine=detect().line))
    assert store.best("task") is None and store.tried("task") == 1


def test_an_operator_costs_what_the_best_kernel_does_that_begins_with_it(store):
    alternative = Alternative("as given", layer())
    (part,) = alternative.parts
    prices = prices_of(store)
    node, types = Node("matmul", ("x", "w"), ("y",)), (TensorType((16, 32)), TensorType((32, 48)))
    assert prices.of_node(node, types) is None
    kernel = prices.kernel(part, alternative.constants(part))
    prices.register(kernel)
    assert prices.of_node(node, types) is None  # nothing is known of it yet
    store.append(record(kernel.task, 3e-4))
    found = prices.of_node(node, types)
    assert found is not None and (found.seconds, found.source) == (3e-4, TUNED)
    assert prices.of_node(node, (TensorType((16, 32)), TensorType((32, 64)))) is None
    foretold = prices_of(store, 7e-4).of_node(node, types)
    assert foretold is not None and (foretold.seconds, foretold.source) == (7e-4, PREDICTED)
    assert prices_of(store, 7e-4).of_node(Node("relu", ("x",), ("y",)), types[:1]) is None  # it reduces nothing
    turned = Node("matmul", ("x", "w"), ("y",), {"order": (1, 0)})
    assert prices_of(store, 7e-4).of_node(turned, types) is None  # the model has seen no such layout


def test_a_bill_lists_kernels_copies_and_what_is_free(store):
    build = GraphBuilder("g")
    x = build.input("x", (1, 8, 4, 4))
    halves = [build.add("relu", x), build.add("tanh", x)]
    both = build.add("concat", *halves, axis=1)
    flat = build.add("reshape", both, shape=(1, 256))
    graph = build.finish(build.add("exp", build.add("concat", flat, x_flat := build.input("z", (1, 4)), axis=1)))
    assert x_flat == "z"
    alternative = Alternative("as given", graph)
    assert joined_concats(graph, alternative.parts) == {both}
    found = bill(alternative, prices_of(store))
    sources = {item.label.split()[0]: item.price.source for item in found.items}
    assert sources == {"relu": OPERATORS, "tanh": OPERATORS, "concat": COPIED, "reshape": VIEW, "exp": OPERATORS} or (
        JOINED in {item.price.source for item in found.items}
    )
    assert found.seconds == pytest.approx(sum(found.by_source.values()))
    assert found.fixed == pytest.approx(found.by_source[COPIED]) and "ms" in str(found)


def test_known_prices_propose_what_default_prices_would_not(store):
    """Merging two products costs more under default schedules, and much less tuned."""
    graph = two_products()
    prices = prices_of(store)

    def measured(node, types):
        return 4e-3 if node.operator == "matmul" and types[1].shape == (32, 64) else 1e-3

    defaults = MeasuredCost(measured)
    beliefs = Beliefs(graph, MERGE, defaults, KnownCosts(prices, defaults), partial(optimize, budget=20))
    (before,) = PROPOSALS["by default schedules"](beliefs)
    assert not before.steps
    build = GraphBuilder("merged")
    w = build.weight("w", np.ones((32, 64), np.float32))
    merged = build.finish(build.add("matmul", build.input("x", (1, 32)), w))
    (part,) = partition(merged)
    kernel = prices.kernel(part, Alternative("", merged).constants(part))
    prices.register(kernel)
    store.append(record(kernel.task, 1e-6))
    beliefs = Beliefs(graph, MERGE, defaults, KnownCosts(prices, defaults), partial(optimize, budget=20))
    after = next(iter(PROPOSALS["by known prices"](beliefs)))
    assert [step.rule for step in after.steps] == ["matmul-matmul-is-split-matmul-concat"]
    feeds = {"x": np.arange(32, dtype=np.float32).reshape(1, 32) / 32}
    for found in (before.graph, after.graph):
        assert np.allclose(*(list(g.evaluate(feeds).values())[0] for g in (graph, found)), atol=1e-6)


def test_graphs_that_run_the_same_kernels_are_one():
    one, same, other = Alternative("a", layer()), Alternative("b", layer()), Alternative("c", two_products())
    assert different([one, same, other]) == [one, other]


def test_every_proposal_has_the_name_it_is_listed_under():
    graph, costs = two_products(), MeasuredCost(lambda node, types: 1e-3)
    beliefs = Beliefs(graph, MERGE, costs, costs, partial(optimize, budget=5))
    for name, propose in PROPOSALS.items():
        assert next(iter(propose(beliefs))).name == name
    assert (ROOT / "taso_mini" / "joint").is_dir()
