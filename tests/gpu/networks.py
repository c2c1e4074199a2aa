"""Section of networks: ResNet-50 and BERT end to end on the GPU, against PyTorch running the very same graph.

1. Every kernel is searched for on the GPU: a first round for each, the default schedule in it, then as the task
   scheduler chooses.
2. The network of the fastest programs runs as a whole: its outputs are compared with NumPy's, then it is timed, all
   launches recorded as one. PyTorch runs eagerly, and again with its launches recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ansor_mini.evolution import EvolutionOptions
from ansor_mini.network import assemble
from ansor_mini.network_task import NetworkTask
from ansor_mini.network_tuner import NetworkTuner, Scheduling
from ansor_mini.partition import partition
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import cuda_target
from runtime.cuda_driver import Device
from runtime.cuda_library import CudaError
from runtime.cuda_network import CudaNetwork
from runtime.gpu_model import predict
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.measure_cuda import CudaMeasurer
from taso_mini.models.bert_base import bert_base
from taso_mini.models.resnet50 import resnet50
from tests.gpu.report import Row
from tests.gpu.session import Session, with_peer

Make = Callable[[np.random.Generator], Graph]
NETWORKS: dict[str, Make] = {"ResNet-50": resnet50, "BERT base, 128 words": bert_base}
REHEARSED: dict[str, Make] = {
    "BERT of one small layer": lambda rng: bert_base(rng, layers=1, hidden=32, heads=2, feed_forward=64, sequence=8)
}
SHARE = 0.33  # of the time that is left, for each network
ROUND = 24  # programs measured before the next kernel is chosen
RTOL = 1e-3


def networks(session: Session) -> Iterator[Row]:
    """Each network, tuned and timed."""
    for name, make in (REHEARSED if session.rehearsal else NETWORKS).items():
        seconds = 5.0 if session.rehearsal else SHARE * session.seconds_left
        graph = make(np.random.default_rng(0))
        row = _run(session, name, graph, seconds)
        recorded = f"{name}, launches recorded"
        requests = [{"name": recorded, "recorded": True}, {"name": name}]
        answers = session.peers([{**request, "kind": "network", "network": name} for request in requests])
        row.facts["PyTorch with its launches recorded"] = answers.get(recorded, "")
        yield with_peer(row, "PyTorch", answers, name)


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
    with NetworkTuner(
        parts,
        machine=session.gpu,
        options=replace(target.options, evolution=few, screen=1),
        scheduling=Scheduling(round_size=session.size(ROUND, 4), default_first=False),
        measurer=lambda task, case: CudaMeasurer(
            case(),
            session.gpu,
            runner=session.runner,
            builder=session.builder,
            build_timeout=12.0,
            repeats=5,
            run_timeout=5.0,
        ),
    ) as tuner:
        for task in tuner.tasks.values():
            task.tuner.seeds.append(_default(task, session))
        stopped = tuner.run(budget_seconds=seconds)
        facts: dict[str, Any] = {"kernels": len(tuner.tasks), "trials": tuner.trials, "stopped": stopped}
        facts["search seconds"] = round(time.monotonic() - started, 1)
        nests = {key: task.best_nest() or _default(task, session).lower() for key, task in tuner.tasks.items()}
        facts["tasks"] = [_line(task, nests[key], session) for key, task in tuner.tasks.items()]
    network = CudaNetwork(assemble(graph, parts, nests, gpu=session.gpu))
    facts |= {"launches": network.launches, "modules": len(network.modules)}
    facts["seconds of the kernels alone"] = sum(line["measured"] * line["runs"] for line in facts["tasks"])
    return _timed(session, name, graph, network, facts)


def _default(task: NetworkTask, session: Session) -> Program:
    dag = task.tuner.task.dag
    return Program(Sketch(dag, cuda_target(session.gpu).default(dag)))


def _line(task: NetworkTask, nest: LoopNest, session: Session) -> dict[str, Any]:
    """What the search of one kernel found, and what the model says of it."""
    tuner = task.tuner
    return {
        "task": task.label,
        "runs": task.weight,
        "trials": len(tuner.measured),
        "default": task.default_seconds,
        "measured": tuner.best_seconds,
        "predicted": predict(nest, session.gpu).seconds,
        "failures": dict(tuner.failures),
    }


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
