"""The pieces of a split are read where they are, wherever they come from and whoever reads them."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.network import default_network
from runtime.executor import build
from runtime.graph import GraphBuilder, TensorType
from runtime.machine import detect
from runtime.network import Network, NetworkError

pytestmark = pytest.mark.cc


def compiled(graph, tmp_path):
    network = default_network(graph, detect(), 1)
    rng = np.random.default_rng(0)
    feeds = {name: rng.integers(-3, 4, kind.shape).astype(kind.dtype) for name, kind in graph.inputs.items()}
    got = build(network, tmp_path / "network", threads=1).run(**feeds)
    wanted = graph.evaluate(feeds)
    assert all(np.array_equal(got[name], wanted[name]) for name in graph.outputs)
    return network


def test_pieces_of_what_a_kernel_computes(tmp_path):
    make = GraphBuilder("pieces")
    y, z = make.add("split", make.add("relu", make.input("x", (32, 8))), axis=0, sizes=(16, 16))
    network = compiled(make.finish(make.add("matmul", make.add("transpose", y, perm=(1, 0)), z)), tmp_path)
    assert [call.nest.name.split("_")[0] for call in network.calls] == ["relu", "transpose", "matmul"]
    assert sorted(network.starts.values()) == [0, 512]


def test_pieces_of_pieces_of_inputs_and_of_outputs(tmp_path):
    make = GraphBuilder("pieces")
    x = make.input("x", (1, 64))
    _, right = make.add("split", x, axis=1, sizes=(32, 32))
    first, second = make.add("split", right, axis=1, sizes=(16, 16))
    whole = make.add("relu", make.add("relu", make.add("concat", second, first, axis=1)))
    one, two = make.add("split", whole, axis=1, sizes=(16, 16))
    network = compiled(make.finish([first, whole, make.add("relu", two), two, one]), tmp_path)
    assert not any("split" in call.nest.name for call in network.calls)


@pytest.mark.parametrize(("shape", "axis", "sizes"), [((2, 64), 1, (32, 32)), ((1, 64), 1, (3, 61))])
def test_pieces_that_are_no_whole_rows_or_not_aligned_are_copied(tmp_path, shape, axis, sizes):
    make = GraphBuilder("copied")
    y, z = make.add("split", make.input("x", shape), axis=axis, sizes=sizes)
    network = compiled(make.finish([make.add("relu", y), make.add("relu", z)]), tmp_path)
    assert any("split" in call.nest.name for call in network.calls) and not network.starts


@pytest.mark.parametrize(("start", "message"), [(8, "starts at byte 8, no multiple of 64"), (128, "cannot share 'x'")])
def test_a_piece_must_lie_inside_and_be_aligned(start, message):
    kind, piece = TensorType((32,)), TensorType((16,))
    with pytest.raises(NetworkError, match=message):
        Network("bad", {"x": kind}, {"y": piece}, {}, {"y": piece}, (), {"y": "x"}, {"y": start})
