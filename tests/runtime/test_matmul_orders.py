"""A matrix product whose operands or result are stored in another order means, compiles and exports the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ansor_mini.network import default_network
from runtime.executor import build
from runtime.graph import GraphBuilder
from runtime.graph_operators.linear import plain, stored
from runtime.graph_text import parse_graph
from runtime.machine import detect

MATRIX = ((), (1, 0))
BATCHED = ((), (0, 2, 1), (1, 0, 2))
CASES = [((5, 7), (7, 3), orders) for orders in itertools.product(MATRIX, repeat=3)]
CASES += [((2, 5, 7), (2, 7, 3), orders) for orders in itertools.product(BATCHED, repeat=3)]
CASES += [((2, 5, 7), (7, 3), ((1, 0, 2), (1, 0), (2, 0, 1)))]


def product(a, b, orders):
    make = GraphBuilder("product")
    x, y = make.input("x", stored(a, orders[0])), make.input("y", stored(b, orders[1]))
    params = dict(zip(("a_order", "b_order", "order"), orders, strict=True))
    return make.finish(make.add("relu", make.add("matmul", x, y, **params)))


def feeds_and_expected(a, b, orders):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (a, b))
    result = np.maximum(x @ y, 0)
    turn = [array.transpose(order) if order else array for array, order in zip((x, y, result), orders, strict=True)]
    return {"x": np.ascontiguousarray(turn[0]), "y": np.ascontiguousarray(turn[1])}, np.ascontiguousarray(turn[2])


@pytest.mark.parametrize(("a", "b", "orders"), CASES)
def test_the_reference_computes_the_product_of_the_plain_matrices(a, b, orders):
    graph = product(a, b, orders)
    feeds, expected = feeds_and_expected(a, b, orders)
    (result,) = graph.evaluate(feeds).values()
    assert np.array_equal(result, expected) and parse_graph(str(graph)) == graph
    assert graph.flops_of(graph.nodes[0]) == 2 * result.size * a[-1]


@pytest.mark.cc
@pytest.mark.parametrize(("a", "b", "orders"), CASES[::5])
def test_the_compiled_product_is_the_same(a, b, orders, tmp_path):
    graph = product(a, b, orders)
    feeds, expected = feeds_and_expected(a, b, orders)
    network = build(default_network(graph, detect(), 1), tmp_path / "network", threads=1)
    assert np.array_equal(network.run(**feeds)[graph.outputs[0]], expected)


def test_an_order_that_is_no_permutation_is_refused():
    make = GraphBuilder("bad")
    x, y = make.input("x", (2, 3)), make.input("y", (3, 4))
    with pytest.raises(ValueError, match=r"a_order: expected a permutation of 0 .. 1 or \(\), got \(0, 0\)"):
        make.add("matmul", x, y, a_order=(0, 0))


def test_plain_undoes_stored():
    for order in itertools.permutations(range(3)):
        assert plain(stored((2, 3, 5), order), order, "order") == (2, 3, 5)
