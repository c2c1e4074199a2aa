"""Winograd's definition of the convolutions in a graph: equal up to the last bits, chosen layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.network import default_network
from ansor_mini.partition import partition
from ansor_mini.winograd_graph import gainers, has_winograd, with_winograd
from runtime import executor
from runtime.graph import Graph, GraphBuilder
from runtime.graph_operators.winograd import winograd_error
from runtime.layout import to_channels_last
from runtime.machine import detect


def network() -> Graph:
    """Convolutions with and without bias and activation, of which one has a stride and one a window of 1."""
    build, rng = GraphBuilder("net"), np.random.default_rng(0)

    def conv(x: str, name: str, channels: int, size: int = 3, **params: object) -> str:
        shape = (channels, build.types[x].shape[1], size, size)
        w = build.weight(f"{name}_w", rng.standard_normal(shape, dtype=np.float32) / np.float32(size * 3))
        return build.add("conv", x, w, *params.pop("bias", ()), name=name, padding=(size // 2,) * 4, **params)

    bias = build.weight("b", rng.standard_normal(8, dtype=np.float32))
    x = build.input("x", (2, 4, 9, 7))
    left = conv(x, "left", 8, bias=(bias,), activation="relu")
    right = conv(x, "right", 8)
    total = build.add("relu", build.add("add", right, left, name="sum"), name="total")
    strided = conv(total, "strided", 6, strides=(2, 2))
    return to_channels_last(build.finish(conv(conv(strided, "one", 5, 1), "last", 3, activation="relu")))


def feeds(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(kind.shape).astype(np.float32) for name, kind in graph.inputs.items()}


@pytest.mark.parametrize("tile", [2, 4])
def test_the_function_stays(tile):
    graph = network()
    found = with_winograd(graph, tile)
    operators = [node.operator for node in found.nodes]
    assert operators.count("winograd_output") == 3 and operators.count("conv") == 2
    assert operators.count("winograd_input") == 2, "two layers share the transform of their input"
    given = feeds(graph)
    (wanted,), (got,) = graph.evaluate(given).values(), found.evaluate(given).values()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.cc
def test_compiled_it_stays_too():
    graph = network()
    given = feeds(graph)
    compiled = executor.build(default_network(with_winograd(graph), detect(), threads=1))
    for name, wanted in graph.evaluate(given).items():
        np.testing.assert_allclose(compiled.run(**given)[name], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_bias_activation_and_addition_join_the_transform_back():
    parts = partition(with_winograd(network()))
    fused = ["+".join(node.operator for node in part.nodes) for part in parts if part.kind == "compute"]
    assert {"winograd_output+add+relu+add+relu", "winograd_output+relu"} <= set(fused)


def test_larger_tiles_lose_more_bits():
    assert 0 < winograd_error(2) < winograd_error(4) < 1e-4


def test_layers_are_chosen_by_their_seconds():
    graph = network()
    seconds = {part.key: 1.0 for part in partition(graph)}
    seconds |= {part.key: 0.1 for part in partition(with_winograd(graph)) if part.key not in seconds}
    candidates = {node.outputs[0] for node in graph.nodes if has_winograd(graph, node)}
    assert gainers(graph, seconds) == candidates
    slow = {key: 5.0 if "winograd" in key else value for key, value in seconds.items()}
    assert gainers(graph, slow) == frozenset()
    assert gainers(graph, {}) == frozenset()
    (one,) = sorted(candidates)[:1]
    kept = with_winograd(graph, chosen=lambda node: node.outputs[0] == one)
    assert [node.operator for node in kept.nodes].count("winograd_output") == 1


def test_a_tile_without_matrices_is_one_sentence():
    with pytest.raises(ValueError, match="tile"):
        with_winograd(network(), 3)


@pytest.mark.cc
@pytest.mark.parametrize("tile", [2, 4])
def test_volumes_are_sums_over_slices(tile):
    build, rng = GraphBuilder("volume"), np.random.default_rng(0)
    w = build.weight("w", rng.standard_normal((5, 3, 3, 3, 3), dtype=np.float32))
    x = build.input("x", (2, 3, 4, 9, 6))
    y = build.add("conv", x, w, padding=(1, 1, 0, 1, 1, 2), strides=(1,) * 3, dilations=(1,) * 3, activation="relu")
    graph = to_channels_last(build.finish(y))
    found = with_winograd(graph, tile)
    assert [node.operator for node in found.nodes].count("winograd_output") == 1
    given = feeds(graph)
    (wanted,), (reference,) = graph.evaluate(given).values(), found.evaluate(given).values()
    (got,) = executor.build(default_network(found, detect(), threads=1)).run(**given).values()
    for values in (reference, got):
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
