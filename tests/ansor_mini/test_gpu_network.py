"""Whole networks as CUDA: the checked run on the CPU and the stand-in for a driver give what the graph says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ansor_mini.evolution import EvolutionOptions
from ansor_mini.model_measurer import ModelMeasurer
from ansor_mini.network import assemble, default_network
from ansor_mini.network_tuner import NetworkTuner
from ansor_mini.partition import partition
from ansor_mini.record import MODEL, Record
from ansor_mini.target import cuda_target
from ansor_mini.task import Task
from runtime import cuda_library, cuda_stand_in
from runtime.cuda_network import CudaNetwork
from runtime.gpu import gpu
from runtime.graph import Graph, GraphBuilder
from runtime.measure_case import MeasureCase
from taso_mini.models.squeezenet import squeezenet

H100 = gpu("h100")


def mixed_network() -> Graph:
    """Convolutions joined and cut apart, a residual sum, pooling, and a reduction that threads share."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("mixed")

    def weight(name: str, *shape: int) -> str:
        return build.weight(name, rng.integers(-2, 3, shape).astype(np.float32))

    x = build.input("x", (1, 4, 9, 9))
    left = build.add("relu", build.add("conv", x, weight("w0", 6, 4, 3, 3), padding=(1, 1, 1, 1)))
    right = build.add("conv", x, weight("w1", 2, 4, 1, 1), weight("b1", 2))
    joined = build.add("concat", left, right, axis=1)
    first, second = build.add("split", joined, axis=1, sizes=(4, 4))
    both = build.add("add", first, second)
    pooled = build.add("max_pool", both, kernel=(3, 3), strides=(2, 2))
    return build.finish((build.add("reduce_sum", pooled, axes=(1, 2, 3), keepdims=False), both))


def feeds(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.integers(-3, 4, kind.shape).astype(kind.dtype) for name, kind in graph.inputs.items()}


@pytest.mark.cc
def test_a_network_on_the_cpu_gives_the_same_bits_and_no_reports() -> None:
    graph = mixed_network()
    network = CudaNetwork(default_network(graph, H100))
    assert network.launches >= len(network.modules) > 3
    outputs, reports = network.run_on_cpu(feeds(graph))
    assert reports == ()
    for name, wanted in graph.evaluate(feeds(graph)).items():
        np.testing.assert_array_equal(outputs[name], wanted)


@pytest.mark.cc
def test_a_network_through_the_driver_gives_the_same_bits() -> None:
    graph = mixed_network()
    network = CudaNetwork(default_network(graph, H100))
    cuda_library._open_driver.cache_clear()
    try:
        with cuda_stand_in.use():
            from runtime.cuda_driver import Device

            with Device() as device, network.on_device(device, "cpu", builder="cpu") as loaded:
                for _ in range(2):
                    found = loaded(**feeds(graph))
                    for name, wanted in graph.evaluate(feeds(graph)).items():
                        np.testing.assert_array_equal(found[name], wanted)
                assert all(second > 0 for second in loaded.seconds(min_seconds=0.0, repeats=2))
    finally:
        cuda_library._open_driver.cache_clear()


def test_values_that_live_together_have_places_of_their_own() -> None:
    network = CudaNetwork(default_network(mixed_network(), H100))
    starts, workspaces, total = network.places()
    ends = {value: start + network.network.type_of(value).nbytes for value, start in starts.items()}
    assert max(ends.values(), default=0) <= total
    for call, buffers in workspaces.items():
        own = {value for value in network.network.calls[call].inputs if value in starts}
        for start in buffers.values():
            assert not any(starts[value] <= start < ends[value] for value in own)


@pytest.mark.cc
@pytest.mark.slow
def test_squeezenet_end_to_end_at_reduced_size() -> None:
    graph = squeezenet(np.random.default_rng(0), image=32)
    network = CudaNetwork(default_network(graph, H100))
    data = {"data": np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    outputs, reports = network.run_on_cpu(data)
    assert reports == ()
    for name, wanted in graph.evaluate(data).items():
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-4, atol=1e-6)


def test_a_network_is_tuned_with_the_model() -> None:
    graph = mixed_network()
    parts = partition(graph)
    kept: list[Record] = []

    class Sink:
        def append(self, record: Record) -> None:
            kept.append(record)

    def measurer(task: Task, case: Callable[[], MeasureCase]) -> ModelMeasurer:
        return ModelMeasurer(H100)

    options = cuda_target(H100).options
    options = type(options)(**{**vars(options), "evolution": EvolutionOptions(population=16, generations=1)})
    with NetworkTuner(parts, machine=H100, records=Sink(), options=options, measurer=measurer) as tuner:
        assert tuner.run(trials=24) in ("trials", "exhausted")
        nests = tuner.nests()
    assert {record.source for record in kept} == {MODEL}
    assert {record.machine for record in kept} == {H100.line}
    assert set(nests) == {part.key for part in parts if part.kind == "compute"}
    network = assemble(graph, parts, nests, gpu=H100)
    assert CudaNetwork(network).launches > 0
