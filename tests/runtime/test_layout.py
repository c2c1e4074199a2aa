"""Channels-last graphs compute what the graphs they come from compute."""

from __future__ import annotations

import numpy as np
from hypothesis import given, note

from runtime.graph import Graph, GraphBuilder
from runtime.layout import to_channels_last
from taso_mini.models.squeezenet import squeezenet
from tests.strategies.graphs import ALL, EXACT, feeds, graphs, small_integers


def operators(graph: Graph) -> list[str]:
    return [node.operator for node in graph.nodes]


@given(graphs(EXACT))
def test_channels_last_keeps_every_bit_of_exact_graphs(graph):
    note(str(graph))
    changed = to_channels_last(graph)
    note(str(changed))
    before, after = graph.evaluate(feeds(graph)), changed.evaluate(feeds(graph))
    assert changed.outputs == graph.outputs and changed.inputs == graph.inputs
    for name in graph.outputs:
        assert np.array_equal(before[name], after[name], equal_nan=True)


@given(graphs(ALL))
def test_channels_last_keeps_the_meaning_of_all_operators(graph):
    changed = to_channels_last(graph)
    note(f"{graph}\n{changed}")
    before, after = graph.evaluate(feeds(graph)), changed.evaluate(feeds(graph))
    for name in graph.outputs:
        np.testing.assert_allclose(before[name], after[name], rtol=1e-4, atol=1e-5)
    windowed = [node for node in changed.nodes if node.operator in ("conv", "max_pool", "avg_pool", "lrn")]
    assert all(node["layout"] == "NHWC" for node in windowed if changed.types[node.inputs[0]].rank == 4)


@given(graphs(ALL))
def test_channels_last_twice_is_channels_last_once(graph):
    once = to_channels_last(graph)
    assert to_channels_last(once) == once


def test_a_convolutional_network_is_transposed_at_its_input_only():
    graph = to_channels_last(squeezenet(np.random.default_rng(0), image=64))
    assert operators(graph).count("transpose") == 1 and graph.nodes[0].operator == "transpose"


def test_a_transpose_of_the_model_that_undoes_ours_disappears():
    build = GraphBuilder("nhwc_input")
    x = build.add("transpose", build.input("x", (1, 4, 4, 3)), perm=(0, 3, 1, 2))
    y = build.add("conv", x, build.weight("w", np.ones((2, 3, 1, 1), np.float32)))
    graph = to_channels_last(build.finish(build.add("transpose", y, perm=(0, 2, 3, 1), name="y")))
    assert operators(graph) == ["conv", "reshape"]


def test_a_channel_shuffle_stays_in_channels_last():
    rng, build = np.random.default_rng(0), GraphBuilder("shuffle")
    w = build.weight("w", small_integers(rng, (6, 6, 1, 1)))
    x = build.add("conv", build.input("x", (2, 6, 3, 3)), w)
    split = build.add("reshape", x, shape=(2, 3, 2, 3, 3))
    swapped = build.add("transpose", split, perm=(0, 2, 1, 3, 4))
    y = build.add("conv", build.add("reshape", swapped, shape=(2, 6, 3, 3)), w)
    graph = build.finish(y)
    changed = to_channels_last(graph)
    assert operators(changed) == ["transpose", "conv", "reshape", "transpose", "reshape", "conv", "transpose"]
    shuffle = changed.nodes[3]
    assert shuffle["perm"] == (0, 1, 2, 4, 3)
    assert np.array_equal(graph.evaluate(feeds(graph))[y], changed.evaluate(feeds(graph))[y])


def test_an_output_that_is_also_used_inside_exists_in_both_orders():
    build = GraphBuilder("both")
    y = build.add("conv", build.input("x", (1, 2, 2, 2)), build.weight("w", np.ones((2, 2, 1, 1), np.float32)))
    z = build.add("relu", y)
    graph = build.finish([y, z, y])
    changed = to_channels_last(graph)
    assert changed.outputs == (y, z, y)
    assert np.array_equal(graph.evaluate(feeds(graph))[y], changed.evaluate(feeds(graph))[y])
