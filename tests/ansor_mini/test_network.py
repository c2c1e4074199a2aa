"""Whole graphs as kernels: plain, default and tuned networks compute what the graph says."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note, settings

from ansor_mini.default_schedule import default_nest
from ansor_mini.network import default_network, plain_network
from ansor_mini.network_tuner import NetworkTuner
from ansor_mini.partition import partition
from runtime import executor
from runtime.graph import Graph, GraphBuilder
from runtime.interpreter import interpret
from runtime.layout import to_channels_last
from runtime.machine import detect
from runtime.network import Network
from tests.strategies.graphs import EXACT, feeds, graphs


def run(network: Network, graph: Graph, threads: int) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        return executor.build(network, Path(folder) / "net", threads=threads).run(**feeds(graph))


def check(graph: Graph, found: dict[str, np.ndarray], exact: bool) -> None:
    for name, wanted in graph.evaluate(feeds(graph)).items():
        if exact:
            np.testing.assert_array_equal(found[name], wanted)
        else:
            np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.cc
@settings(max_examples=10)
@given(graphs(EXACT))
def test_networks_of_exact_operators_give_the_same_bits(graph: Graph) -> None:
    note(str(graph))
    check(graph, run(plain_network(graph), graph, 1), exact=True)
    check(graph, run(default_network(to_channels_last(graph), detect(), 2), graph, 2), exact=True)


@pytest.mark.cc
@settings(max_examples=10)
@given(graphs())
def test_networks_of_all_operators_agree(graph: Graph) -> None:
    note(str(graph))
    check(graph, run(default_network(graph, detect(), 1), graph, 1), exact=False)


@settings(max_examples=15)
@given(graphs(EXACT))
def test_default_nests_are_right_in_the_interpreter(graph: Graph) -> None:
    for part in partition(to_channels_last(graph)):
        if part.kind == "compute":
            inputs = feeds(part.fragment)
            nest = default_nest(part, detect(), 2)
            note(str(nest))
            (wanted,) = part.fragment.evaluate(inputs).values()
            (found,) = interpret(nest, *inputs.values())
            np.testing.assert_array_equal(found, wanted)


def small_network() -> Graph:
    """Two convolutions, the second with an epilogue."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("small")
    x = build.input("x", (1, 8, 9, 9))
    for i in range(2):
        w = build.weight(f"w{i}", rng.integers(-2, 3, (16, 8 if i == 0 else 16, 3, 3)).astype(np.float32))
        x = build.add("relu", build.add("conv", x, w, padding=(1, 1, 1, 1)))
    return build.finish(x)


@pytest.mark.cc
def test_network_tuner_measures_every_task_and_resumes() -> None:
    parts = partition(to_channels_last(small_network()))
    kept: list = []

    class Sink:
        def append(self, record: object) -> None:
            kept.append(record)

    machine = detect()
    with NetworkTuner(parts, machine=machine, threads=1, records=Sink()) as tuner:
        assert tuner.run(trials=12) == "trials"
        assert all(task.tuner.best is not None for task in tuner.tasks.values())
        best = {key: task.tuner.best_seconds for key, task in tuner.tasks.items()}
    assert len(kept) == 12
    with NetworkTuner(parts, machine=machine, threads=1, resume=kept) as again:
        assert again.trials == 12
        assert {key: task.tuner.best_seconds for key, task in again.tasks.items()} == best
        assert again.run(trials=12) == "trials" and set(again.nests()) == set(best)
