"""Graphs: construction, typing, evaluation, folding, pruning, and their text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note

from runtime.graph import Graph, GraphBuilder, GraphError, Node, Params, TensorType
from runtime.graph_text import parse_graph
from tests.strategies.graphs import feeds, graphs


def two_layers() -> Graph:
    build = GraphBuilder("two")
    x = build.input("x", (2, 3))
    y = build.add("matmul", x, build.weight("w", np.arange(12, dtype=np.float32).reshape(3, 4)), name="y")
    return build.finish(build.add("relu", y, name="z"))


@given(graphs())
def test_text_round_trip(graph):
    note(str(graph))
    assert parse_graph(str(graph), graph.weights) == graph
    assert str(parse_graph(str(graph))) == str(graph)


@given(graphs())
def test_evaluation_gives_what_typing_promises(graph):
    values = graph.evaluate(feeds(graph), all_values=True)
    assert {name: TensorType(v.shape, v.dtype.name) for name, v in values.items()} == dict(graph.types)
    outputs = graph.evaluate(feeds(graph))
    assert list(outputs) == list(graph.outputs)
    assert all(np.array_equal(outputs[name], values[name], equal_nan=True) for name in outputs)


@given(graphs())
def test_folding_and_pruning_keep_the_outputs(graph):
    """With its inputs made weights, a whole graph folds to constants."""
    for same in (graph.prune(), graph.fold_constants()):
        got, wanted = same.evaluate(feeds(graph)), graph.evaluate(feeds(graph))
        assert all(np.array_equal(got[name], wanted[name], equal_nan=True) for name in graph.outputs)
    constant = graph.replace(inputs={}, weights={**graph.weights, **feeds(graph)}).fold_constants()
    assert not constant.nodes
    for name, array in graph.evaluate(feeds(graph)).items():
        assert np.array_equal(constant.weights[name], array, equal_nan=True)


def test_producers_and_users():
    graph = two_layers()
    assert graph.producer("y").operator == "matmul" and graph.producer("x") is None
    assert [node.outputs for node in graph.users("y")] == [("z",)] and graph.users("z") == ()
    assert graph.flops == graph.flops_of(graph.nodes[0]) + 8 == 2 * 2 * 3 * 4 + 8


def test_a_node_that_reads_a_value_twice_is_one_user():
    build = GraphBuilder("square")
    graph = build.finish(build.add("mul", build.input("x", (2,)), "x", name="y"))
    assert graph.users("x") == (graph.nodes[0],)


def test_weights_are_read_only_and_the_callers_array_is_not_touched():
    array = np.ones((3, 4), np.float32)
    graph = two_layers().replace(weights={"w": array})
    with pytest.raises(ValueError):
        graph.weights["w"][0, 0] = 5
    array[0, 0] = 2


def test_evaluation_with_other_weights():
    graph, x = two_layers(), np.ones((2, 3), np.float32)
    assert graph.evaluate({"x": x}, weights={"w": np.zeros((3, 4), np.float32)})["z"].max() == 0
    assert graph.evaluate({"x": x})["z"].max() > 0


def test_parameters_left_out_are_filled_in():
    node = Node("conv", ("x", "w"), ("y",))
    graph = Graph("g", {"x": TensorType((1, 1, 2, 2))}, {"w": np.ones((1, 1, 1, 1), np.float32)}, (node,), ("y",))
    assert graph.nodes[0]["strides"] == (1, 1) and graph.nodes[0].params["groups"] == 1
    assert Node("conv", ("x", "w"), ("y",), {"groups": 1}) != node and hash(node) == hash(
        Node("conv", ("x", "w"), ("y",))
    )


def test_equal_parameters_of_another_kind_are_one_node():
    build = GraphBuilder("g")
    x = build.input("x", (2, 2))
    a = build.add("clip", x, min=0, max=np.float32(6))
    b = build.add("clip", x, min=0.0, max=6)
    nodes = build.finish([a, b]).nodes
    assert nodes[0].params == nodes[1].params and hash(nodes[0].params) == hash(nodes[1].params)


def test_drawing_names_every_node_and_output():
    text = two_layers().to_dot()
    assert text.startswith('digraph "two" {') and '"y" -> "z"' in text and '"x" -> "y"' in text and "output z" in text


X = {"x": TensorType((2, 3))}


@pytest.mark.parametrize(
    "nodes, outputs, message",
    [
        ([Node("relu", ("q",), ("y",))], ("y",), "y = relu.q.: 'q' is not computed before"),
        ([Node("relu", ("x",), ("x",))], ("x",), "'x' is already defined"),
        ([Node("relu", ("x",), ("y", "z"))], ("y",), "gives 1 values, 2 are named"),
        ([Node("relu", ("x",), ("y",))], ("q",), "output 'q' is never computed"),
        ([Node("relu", ("x",), ("y",))], (), "no outputs"),
        ([Node("matmul", ("x", "x"), ("y",))], ("y",), "y = matmul.x, x.: shapes .* do not multiply"),
        ([Node("nothing", ("x",), ("y",))], ("y",), "unknown operator 'nothing'"),
        ([Node("relu", ("x",), ("y",), Params(slope=1))], ("y",), "unknown parameter 'slope'"),
    ],
)
def test_graphs_that_cannot_be(nodes, outputs, message):
    with pytest.raises(GraphError, match=message):
        Graph("g", X, {}, tuple(nodes), outputs)


def test_an_input_and_a_weight_of_one_name():
    with pytest.raises(GraphError, match="both an input and a weight"):
        Graph("g", X, {"x": np.ones(2, np.float32)}, (), ("x",))


def test_builder_refuses_what_the_graph_would():
    build = GraphBuilder("g")
    x = build.input("x", (2, 3))
    with pytest.raises(GraphError, match="already defined"):
        build.input("x", (2, 3))
    with pytest.raises(GraphError, match="unknown value 'nope'"):
        build.add("relu", "nope")
    with pytest.raises(GraphError, match="do not multiply"):
        build.add("matmul", x, x)
    with pytest.raises(GraphError, match="number, a string or a tuple"):
        build.add("reshape", x, shape={6})
    with pytest.raises(GraphError, match="2 values, 3 are named"):
        build.add("split", x, axis=0, sizes=(1, 1), name=("a", "b", "c"))


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "input 'x' .* is missing"),
        ({"x": np.ones((2, 3), np.float32), "q": np.ones(1)}, "unknown input 'q'"),
        ({"x": np.ones((3, 2), np.float32)}, r"expected float32\[2, 3\], got float32\[3, 2\]"),
        ({"x": np.ones((2, 3))}, r"got float64\[2, 3\]"),
    ],
)
def test_evaluation_checks_what_it_is_fed(given, message):
    with pytest.raises(ValueError, match=message):
        two_layers().evaluate(given)


@pytest.mark.parametrize(
    "shape, dtype", [((0, 2), "float32"), ((2.0,), "float32"), ((True,), "float32"), ((2,), "half")]
)
def test_types_that_cannot_be(shape, dtype):
    with pytest.raises(ValueError, match="expected"):
        TensorType(shape, dtype)


TEXT = str(two_layers())


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("graph two:", "two", "first line"),
        ("input x", "enter x", "line 2"),
        ("return z", "", "return line is missing"),
        ("return z", "return z\n return z", "line 7: nothing may follow"),
        ("relu(y)", "relu(y", "line 5"),
        ("relu(y)", "relu(3)", "line 5: .*name of a value"),
        ("relu(y)", "relu(y, a=open('x'))", "line 5"),
        ("relu(y)", "relu(q)", "'q' is not computed"),
        ("float32[3, 4]", "float32[3, 0]", "positive"),
    ],
)
def test_text_that_is_not_understood(before, after, message):
    with pytest.raises(ValueError, match=message):
        parse_graph(TEXT.replace(before, after))


def test_weights_of_another_type_than_the_text_declares():
    with pytest.raises(ValueError, match="'w' is declared"):
        parse_graph(TEXT, {"w": np.ones((4, 3), np.float32)})
