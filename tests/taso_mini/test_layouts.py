"""Layouts of a graph: equal outputs in whatever orders, and no choice of orders that would be cheaper."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from ansor_mini.network import default_network
from runtime.executor import build as build_network
from runtime.graph import Graph, GraphBuilder, Node, TensorType
from runtime.machine import detect
from taso_mini.costs import FlopCost, configuration
from taso_mini.layouts import orders
from taso_mini.layouts.assignment import Prices, assign, constants, plain_only
from taso_mini.layouts.candidates import candidates
from taso_mini.layouts.elimination import Table, minimize
from taso_mini.layouts.realize import realize
from taso_mini.models import MODELS
from tests.strategies.graphs import EXACT, feeds, graphs


class Whims:
    """Prices out of a hat, the same for the same configuration, so that every layout is the best of some graph."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def cost(self, node, types):
        if node.operator == "reshape":
            return 0.0
        text = f"{self.seed} {configuration(node, types)}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) * 1e-6

    estimate = cost


def priced(graph: Graph, costs) -> float:
    """The sum over the operators that run at inference."""
    fixed = constants(graph)
    nodes = [node for node in graph.nodes if not fixed.issuperset(node.outputs)]
    return sum(costs.cost(node, [graph.types[value] for value in node.inputs]) for node in nodes)


@given(graphs(operators=EXACT, max_nodes=8), st.integers(0, 99))
def test_a_graph_in_other_layouts_computes_the_same_at_the_cost_that_was_said(graph, seed):
    graph = graph.prune()
    found = assign(graph, Prices(Whims(seed)))
    laid = realize(found)
    note(f"{graph}\n{found}\n{laid}")
    assert dict(laid.inputs) == dict(graph.inputs) and laid.outputs == graph.outputs
    wanted, got = graph.evaluate(feeds(graph)), laid.evaluate(feeds(graph))
    assert all(np.array_equal(wanted[name], got[name]) for name in graph.outputs)
    assert priced(laid, Whims(seed)) <= found.cost + 1e-12  # less where two conversions turn out to be one node
    assert found.cost <= assign(graph, Prices(Whims(seed)), plain_only(graph)).cost + 1e-12


@given(graphs(operators=EXACT, max_nodes=4), st.integers(0, 99))
def test_no_other_choice_of_candidates_is_cheaper(graph, seed):
    """Brute force: restrict every value to each pair of its orders."""
    graph, prices = graph.prune(), Prices(Whims(seed))
    everything = candidates(graph, constants(graph))
    options = [
        [(first, *extra) for first in every for extra in ((), *((other,) for other in every if other != first))]
        for every in everything.values()
    ]
    if np.prod([len(option) for option in options]) > 300:
        return
    best = assign(graph, prices).cost
    for choice in itertools.product(*options):
        restricted = dict(zip(everything, choice, strict=True))
        if all(orders.plain(len(every[0])) in restricted[value] for value, every in everything.items()):
            assert assign(graph, prices, restricted).cost >= best - 1e-12


@given(st.data())
def test_elimination_finds_the_least_sum(data):
    names = "abcde"
    sizes = {name: data.draw(st.integers(1, 3)) for name in names}
    rng, tables = np.random.default_rng(data.draw(st.integers(0, 999))), []
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        costs = rng.integers(0, 20, [sizes[name] for name in chosen]).astype(float)
        tables.append(Table(tuple(chosen), costs))
    used = sorted({name for table in tables for name in table.variables})

    def total(choice: dict[str, int]) -> float:
        return sum(float(table.costs[tuple(choice[name] for name in table.variables)]) for table in tables)

    every = itertools.product(*(range(sizes[name]) for name in used))
    least = min(total(dict(zip(used, combination, strict=True))) for combination in every)
    choice, cost = minimize(tables)
    assert cost == total(choice) == least
    hurried, more = minimize(tables, largest=4)
    assert more == total(hurried) >= least


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_views_are_views(extents, data):
    """An order carried through a transpose or a reshape names the same memory, as NumPy says."""
    shape = tuple(extents)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    memory = np.arange(np.prod(shape)).reshape(orders.stored(shape, order))
    value = memory.transpose(np.argsort(order))
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    there = orders.through_transpose(order, perm)
    assert np.array_equal(value.transpose(perm).transpose(there).ravel(), memory.ravel())
    factors = [data.draw(st.sampled_from([n for n in range(1, extent + 1) if extent % n == 0])) for extent in shape]
    split = tuple(part for extent, n in zip(shape, factors, strict=True) for part in (n, extent // n))
    for new in (split, (int(np.prod(shape)),), (int(np.prod(shape[:2])), *shape[2:])):
        there = orders.through_reshape(shape, new, order)
        if there is not None:
            assert np.array_equal(value.reshape(new).transpose(there).ravel(), memory.ravel())
        if new == split or order == orders.plain(len(shape)):
            assert there is not None


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_canonical_orders_are_equal_exactly_for_the_same_memory(extents, data):
    shape = tuple(extents)
    a, b = (tuple(data.draw(st.permutations(range(len(shape))))) for _ in range(2))
    value = np.arange(np.prod(shape)).reshape(shape)
    same = np.array_equal(value.transpose(a).ravel(), value.transpose(b).ravel())
    assert (orders.canonical(shape, a) == orders.canonical(shape, b)) == same == orders.same_memory(shape, a, b)


class Preferring(FlopCost):
    """The flop model, with a favourite: what it makes dear costs ten times as much."""

    dear: tuple[str, ...] = ()

    def cost(self, node, types):
        factor = 10.0 if any(text in configuration(node, types) for text in self.dear) else 1.0
        return factor * super().cost(node, types)


def preferring(*dear: str) -> FlopCost:
    return type("Dear", (Preferring,), {"dear": dear})()


def test_a_chain_of_convolutions_is_converted_at_its_ends_only():
    graph = MODELS["squeezenet"](np.random.default_rng(0))
    found = assign(graph, Prices(preferring("layout='NCHW'")))
    laid = realize(found)
    assert {node["layout"] for node in laid.nodes if node.operator in ("conv", "max_pool")} == {"NHWC"}
    assert sum(node.operator == "transpose" for node in laid.nodes) <= 2
    assert not any(
        form.native != orders.plain(4)
        for form in assign(graph, Prices(FlopCost())).forms.values()
        if len(form.native) == 4
    )


def attention() -> Graph:
    return MODELS["bert"](np.random.default_rng(0), layers=1, hidden=16, heads=2, sequence=4, batch=3)


def test_the_transposes_of_attention_are_read_in_place():
    graph = attention()
    laid = realize(assign(graph, Prices(FlopCost())))
    assert sum(node.operator == "transpose" for node in graph.nodes) == 4
    assert not any(node.operator == "transpose" for node in laid.nodes)
    data = feeds(graph)
    wanted, got = graph.evaluate(data), laid.evaluate(data)
    assert all(np.allclose(wanted[name], got[name], atol=1e-5) for name in wanted)


def test_where_reading_in_place_is_dear_a_transpose_stays():
    graph = attention()
    laid = realize(assign(graph, Prices(preferring(*(f"order=({d}" for d in range(4))))))
    assert sum(node.operator == "transpose" for node in laid.nodes) == 4


def test_a_value_may_be_stored_twice():
    """One reader wants rows, the other columns, and converting once is cheaper than either reading badly."""
    build = GraphBuilder("twice")
    y = build.add("tanh", build.input("x", (8, 8)), name="y")
    w, v = (build.weight(name, np.ones(shape, np.float32)) for name, shape in (("w", (8, 4)), ("v", (4, 8))))
    graph = build.finish([build.add("matmul", y, w, name="rows"), build.add("matmul", v, y, name="columns")])

    class Particular(FlopCost):
        def cost(self, node, types):
            if node.operator != "matmul":
                return 1e-3
            pleased = node["a_order"] == () if types[1].shape == (8, 4) else node["b_order"] == (1, 0)
            return 1.0 if pleased else 100.0

    found = assign(graph, Prices(Particular()))
    assert found.cost == pytest.approx(2.002) and found.conversions.keys() == {"y"}
    laid, data = realize(found), feeds(graph)
    assert [node.operator for node in laid.nodes].count("transpose") == 1
    assert all(np.array_equal(laid.evaluate(data)[name], graph.evaluate(data)[name]) for name in graph.outputs)


def test_an_unknown_operator_stays_plain():
    build = GraphBuilder("opaque")
    x = build.add("reduce_sum", build.input("x", (2, 3, 4, 5)), axes=(1,), keepdims=False)
    graph = build.finish(x)
    assert realize(assign(graph, Prices(Whims(0)))) == graph


@pytest.mark.parametrize("shape", [(1, 10, 1, 1), (2, 3, 1, 1)])
def test_images_of_one_pixel_are_in_both_layouts_at_once(shape):
    build = GraphBuilder("pixel")
    w = build.weight("w", np.ones((4, shape[1], 1, 1), np.float32))
    graph = build.finish(build.add("conv", build.input("x", shape), w, name="y"))
    laid = realize(assign(graph, Prices(preferring("layout='NCHW'"))))
    assert [node.operator for node in laid.nodes] == ["reshape", "conv", "reshape"]
    assert np.array_equal(laid.evaluate(feeds(graph))["y"], graph.evaluate(feeds(graph))["y"])


def test_conversions_have_the_price_of_a_transpose():
    prices = Prices(FlopCost())
    kind = TensorType((1, 8, 4, 4))
    wanted = FlopCost().cost(Node("transpose", ("x",), ("y",), {"perm": (0, 2, 3, 1)}), (kind,))
    assert prices.conversion(kind, orders.plain(4), orders.NHWC) == wanted
    assert prices.conversion(TensorType((1, 8, 1, 1)), orders.plain(4), orders.NHWC) == 0


def images() -> Graph:
    """Convolutions, grouped and strided, pools, a residual, a concatenation, and a product behind them."""
    build, rng = GraphBuilder("images"), np.random.default_rng(0)

    def weight(*shape: int) -> str:
        return build.weight(build.fresh("w"), rng.integers(-1, 2, shape).astype(np.float32))

    x = build.add("conv", build.input("x", (1, 3, 9, 9)), weight(8, 3, 3, 3), padding=(1, 1, 1, 1), activation="relu")
    y = build.add("conv", x, weight(8, 2, 3, 3), groups=4, padding=(1, 1, 1, 1))
    y = build.add("add", y, build.add("max_pool", x, kernel=(3, 3), padding=(1, 1, 1, 1)))
    y = build.add("concat", y, build.add("conv", x, weight(4, 8, 1, 1), weight(4)), axis=1)
    left, right = build.add("split", y, axis=1, sizes=(6, 6))
    y = build.add("avg_pool", build.add("add", left, right), kernel=(3, 3), strides=(3, 3))
    rows = build.add("reshape", y, shape=(6, 9))
    return build.finish(build.add("matmul", build.add("transpose", rows, perm=(1, 0)), weight(6, 5)))


@pytest.mark.cc
@pytest.mark.parametrize("make", [images, attention])
@pytest.mark.parametrize("seed", range(3))
def test_graphs_in_odd_layouts_compile(make, seed, tmp_path):
    graph = make()
    laid, data = realize(assign(graph, Prices(Whims(seed)))), feeds(graph)
    network = build_network(default_network(laid, detect(), 1), tmp_path / "network", threads=1)
    got, wanted = network.run(**data), graph.evaluate(data)
    assert all(np.allclose(got[name], wanted[name], rtol=1e-4, atol=1e-4) for name in graph.outputs)
