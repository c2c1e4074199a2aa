"""Section of networks: ResNet-50 and BERT end to end on the GPU, against PyTorch running the very same graph.

1. Every kernel is searched for with the GPU model in place of measurements, which costs no time of the GPU.
2. The few programs of each kernel that the model likes best, and the default, are checked and timed on the GPU.
3. The network of the fastest ones runs as a whole: its outputs are compared with NumPy's, then it is timed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ansor_mini.evolution import EvolutionOptions
from ansor_mini.model_measurer import ModelMeasurer
from ansor_mini.network import assemble
from ansor_mini.network_task import NetworkTask, case_of
from ansor_mini.network_tuner import NetworkTuner
from ansor_mini.partition import partition
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import cuda_target
from runtime.cuda_driver import Device
from runtime.cuda_library import CudaError
from runtime.cuda_network import CudaNetwork
from runtime.gpu_model import predict
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase
from runtime.measure_cuda import measure_cuda
from taso_mini.models.bert_base import bert_base
from taso_mini.models.resnet50 import resnet50
from tests.gpu.report import Row
from tests.gpu.session import Session, with_peer

Make = Callable[[np.random.Generator], Graph]
NETWORKS: dict[str, Make] = {"ResNet-50": resnet50, "BERT base, 128 words": bert_base}
REHEARSED: dict[str, Make] = {
    "BERT of one small layer": lambda rng: bert_base(rng, layers=1, hidden=32, heads=2, feed_forward=64, sequence=8)
}
SHARE = 0.2  # of the time that is left, for each network
MODEL_SHARE = 0.5  # of that, for the search with the model
FINALISTS = 3  # programs of each kernel, besides the default, that the GPU measures
RTOL = 1e-3


def networks(session: Session) -> Iterator[Row]:
    """Each network, tuned and timed."""
    for name, make in (REHEARSED if session.rehearsal else NETWORKS).items():
        seconds = 5.0 if session.rehearsal else SHARE * session.seconds_left
        graph = make(np.random.default_rng(0))
        requests = [{"name": name, "kind": "network", "network": name}]
        yield with_peer(_run(session, name, graph, seconds), "PyTorch", session.peers(requests), name)


def torch_call(torch: Any, request: dict[str, Any]) -> Callable[[], Any]:
    """What `tests.gpu.peers` times: the same graph with the same weights as a PyTorch module on the GPU."""
    from tests.benchmarks.torch_graph import torch_module

    graph = NETWORKS[request["network"]](np.random.default_rng(0))
    module = torch_module(graph).cuda()
    feeds = [torch.from_numpy(array).cuda() for array in _feeds(graph).values()]
    return lambda: module(*feeds)


def _feeds(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(kind.shape).astype(kind.dtype) for name, kind in graph.inputs.items()}


def _run(session: Session, name: str, graph: Graph, seconds: float) -> Row:
    started = time.monotonic()
    parts = partition(graph)
    target = cuda_target(session.gpu)
    few = EvolutionOptions(population=256, generations=2)
    options = type(target.options)(**{**vars(target.options), "evolution": few})
    with NetworkTuner(
        parts, machine=session.gpu, options=options, measurer=lambda task, case: ModelMeasurer(session.gpu)
    ) as tuner:
        tuner.run(budget_seconds=MODEL_SHARE * seconds)
        facts: dict[str, Any] = {"kernels": len(tuner.tasks), "programs the model was asked about": tuner.trials}
        facts["model's seconds of the kernels"] = float(tuner.latencies[0])
        facts["search seconds"] = round(time.monotonic() - started, 1)
        nests, rows = _fastest(session, tuner)
    facts["tasks"] = rows
    network = CudaNetwork(assemble(graph, parts, nests, gpu=session.gpu))
    facts |= {"launches": network.launches, "modules": len(network.modules)}
    facts["seconds of the kernels alone"] = sum(line["measured"] * line["runs"] for line in rows)
    return _timed(session, name, graph, network, facts)


def _fastest(session: Session, tuner: NetworkTuner) -> tuple[dict[str, LoopNest], list[dict[str, Any]]]:
    """For each task the program that is fastest on the GPU, of the default and a few that the model likes."""
    nests: list[LoopNest] = []
    cases: list[MeasureCase] = []
    owners: list[str] = []
    for key, task in tuner.tasks.items():
        case = case_of(task.part, task.tuner.task.dag, np.random.default_rng(0))
        own = [program.lower() for program in _finalists(task)]
        nests, cases, owners = nests + own, cases + [case] * len(own), owners + [key] * len(own)
    found = measure_cuda(nests, cases, session.gpu, builder=session.builder, runner=session.runner, repeats=5)
    chosen: dict[str, LoopNest] = {}
    lines = []
    for key, task in tuner.tasks.items():
        own = [number for number, owner in enumerate(owners) if owner == key]
        best = min(own, key=lambda number: found[number].cost)
        chosen[key] = nests[best]
        line: dict[str, Any] = {"task": task.label, "runs": task.weight, "measured": found[best].cost}
        line["predicted"] = [predict(nests[number], session.gpu).seconds for number in own]
        line["results"] = [found[n].cost if found[n].ok else f"{found[n].kind}: {found[n].reason}" for n in own]
        lines.append(line)
    return chosen, lines


def _finalists(task: NetworkTask) -> list[Program]:
    """The default, and the programs that the model likes best."""
    measured = task.tuner.measured
    default = Program(Sketch(task.tuner.task.dag, task.tuner.target.default(task.tuner.task.dag)))
    good = [program for program, seconds in measured.items() if program != default and math.isfinite(seconds)]
    return [default, *sorted(good, key=measured.__getitem__)[:FINALISTS]]


def _timed(session: Session, name: str, graph: Graph, network: CudaNetwork, facts: dict[str, Any]) -> Row:
    """Run the network as a whole, compare with NumPy, and time it."""
    feeds = _feeds(graph)
    try:
        with Device() as device, network.on_device(device, session.gpu.arch, builder=session.builder) as loaded:
            found = loaded(**feeds)
            for output, wanted in graph.evaluate(feeds).items():
                off = float(np.abs(found[output] - wanted).max() / max(1e-30, np.abs(wanted).max()))
                facts[f"largest difference of {output}"] = off
                if not off <= RTOL:
                    return Row("networks", name, f"wrong answer: {output} is off by {off:.3g}", facts=facts)
            return Row("networks", name, "ok", loaded.seconds(), facts=facts)
    except CudaError as error:
        return Row("networks", name, f"crash: {error}", facts=facts)
