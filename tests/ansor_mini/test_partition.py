"""Partition: what is fused, what is not, and what counts as the same kernel."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from ansor_mini.default_schedule import default_nest
from ansor_mini.partition import partition, task_weights
from runtime.graph import Graph, GraphBuilder
from runtime.machine import Machine
from tests.strategies.graphs import feeds, graphs


def residual_block(*, output_of_conv: bool = False) -> Graph:
    """relu(conv(x) + bias + x), twice the same convolution shape."""
    build = GraphBuilder("residual")
    x = build.input("x", (1, 4, 5, 5))
    w = [build.weight(f"w{i}", np.ones((4, 4, 1, 1), np.float32)) for i in range(2)]
    left = build.add("conv", x, w[0], name="left")
    right = build.add("conv", left, w[1], name="right")
    total = build.add("add", right, x, name="total")
    y = build.add("relu", total, name="y")
    return build.finish(("right", y) if output_of_conv else y)


def operators(graph: Graph) -> list[str]:
    return ["+".join(node.operator for node in part.nodes) for part in partition(graph)]


def test_epilogue_joins_its_convolution() -> None:
    assert operators(residual_block()) == ["conv", "conv+add+relu"]


def test_a_graph_output_is_not_swallowed() -> None:
    assert operators(residual_block(output_of_conv=True)) == ["conv", "conv", "add+relu"]


def test_without_fusion_every_operator_stands_alone() -> None:
    graph = residual_block()
    assert [len(part.nodes) for part in partition(graph, fuse=False)] == [1] * len(graph.nodes)


def test_equal_subgraphs_are_one_task() -> None:
    build = GraphBuilder("tower")
    x = build.input("x", (1, 4, 5, 5))
    for i in range(3):
        x = build.add("relu", build.add("conv", x, build.weight(f"w{i}", np.full((4, 4, 1, 1), i, np.float32))))
    parts = partition(build.finish(x))
    assert list(task_weights(parts).values()) == [3]
    assert len({part.key for part in parts}) == 1 and len({part.inputs for part in parts}) == 3


def read_twice(*, output: str = "z", other: str = "exp") -> Graph:
    """tanh(y) + exp(y) with y = relu(x)."""
    build = GraphBuilder("twice")
    y = build.add("relu", build.input("x", (2, 3)), name="y")
    params = {"axis": 1} if other == "softmax" else {}
    a = build.add(other, y, name="a", **params)
    z = build.add("add", a, build.add("tanh", y, name="b"), name="z")
    return build.finish(z if output == "z" else (output, z))


def test_what_is_read_twice_is_fused_if_all_of_it_meets_again() -> None:
    assert operators(read_twice()) == ["relu+exp+tanh+add"]


def test_what_is_read_twice_stays_if_something_else_reads_on_the_way() -> None:
    assert operators(read_twice(output="y")) == ["relu", "tanh", "exp+add"]
    assert operators(read_twice(output="b")) == ["relu", "tanh", "exp+add"]
    assert operators(read_twice(other="softmax")) == ["relu", "softmax", "tanh+add"]


def test_gelu_is_one_kernel_with_its_product() -> None:
    """x / 2 * (1 + erf(x / sqrt 2)) of a product with a bias, all in the registers of the product's tile."""
    build = GraphBuilder("gelu")
    x = build.add("matmul", build.input("x", (8, 16)), build.weight("w", np.ones((16, 32), np.float32)))
    x = build.add("add", x, build.weight("b", np.ones(32, np.float32)))
    half, slope, one = (build.weight(name, np.full((1,), 0.5, np.float32)) for name in ("half", "slope", "one"))
    step = build.add("add", build.add("erf", build.add("mul", x, slope)), one)
    (part,) = partition(build.finish(build.add("mul", build.add("mul", x, half), step)))
    text = str(default_nest(part, Machine("a CPU", 1, 64, 32768, 1048576, 0, 64), 1))
    assert text.count(" v6[") == text.count("erf(") == 1, text
    assert text.count("local(") == 1, text


@given(graphs())
def test_subgraphs_in_order_compute_the_graph(graph: Graph) -> None:
    values = {**feeds(graph), **graph.weights}
    for part in partition(graph):
        inputs = {name: values[value] for name, value in zip(part.fragment.inputs, part.inputs, strict=True)}
        results = part.fragment.evaluate(inputs)
        values |= dict(zip(part.outputs, results.values(), strict=True))
    for name, wanted in graph.evaluate(feeds(graph)).items():
        np.testing.assert_array_equal(values[name], wanted)
