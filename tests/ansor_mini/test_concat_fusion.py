"""Concats whose operands have kernels of their own: no copies, same bits, and nothing merged that may not be."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.network import default_network
from runtime import executor
from runtime.graph import Graph, GraphBuilder
from runtime.layout import to_channels_last
from runtime.machine import detect


def branches(*, axis: int = 1, output_of_branch: bool = False, same: bool = False, shared: bool = False) -> Graph:
    """Two convolutions of one image, joined along an axis."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("branches")
    x = build.input("x", (1, 4, 6, 6))
    parts = []
    for i, filters in enumerate((3, 5) if axis == 1 else (4, 4)):
        w = build.weight(f"w{i}", rng.integers(-2, 3, (filters, 4, 3, 3)).astype(np.float32))
        parts.append(build.add("relu", build.add("conv", x, w, padding=(1, 1, 1, 1)), name=f"part{i}"))
    y = build.add("concat", *(parts[:1] * 2 if same else parts), axis=axis, name="y")
    outputs = [y]
    if output_of_branch:
        outputs.append("part0")
    if shared:
        outputs.append(build.add("exp", "part1", name="z"))
    return build.finish(outputs)


@pytest.mark.cc
@pytest.mark.parametrize(
    ("graph", "concats_left"),
    [
        (branches(), False),
        (branches(axis=0), False),
        (branches(axis=2), False),
        (branches(output_of_branch=True), True),
        (branches(same=True), True),
        (branches(shared=True), True),
    ],
)
def test_joined_kernels_give_the_same_bits(graph: Graph, concats_left: bool) -> None:
    network = default_network(to_channels_last(graph), detect(), 2)
    copies = [call for call in network.calls if call.nest.name.startswith("concat") and len(call.nest.inputs) == 2]
    kernels_read_weights = any(value.startswith("w") for call in copies for value in call.inputs)
    assert bool(copies and not kernels_read_weights) == concats_left
    x = np.random.default_rng(1).integers(-3, 4, (1, 4, 6, 6)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        found = executor.build(network, Path(folder) / "net", threads=2).run(x=x)
    for name, wanted in graph.evaluate({"x": x}).items():
        if name == "z":
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5)
        else:
            np.testing.assert_array_equal(found[name], wanted)
