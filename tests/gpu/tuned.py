"""Section of tuning: a fixed list of computations searched for an equal share of the time that is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.local_measurer import case_of
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import target_of
from ansor_mini.task_tuner import Task, TaskTuner
from ansor_mini.tensor_expression import compute, placeholder
from ansor_mini.workloads import parse_workload
from runtime.gpu import Gpu
from runtime.gpu_model import predict
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.measure_cuda import CudaMeasurer, OnResult
from tests.benchmarks.gpu_model import spearman
from tests.gpu.peers import Request
from tests.gpu.report import Row
from tests.gpu.session import Session, with_peer

ROUND = 32  # programs measured between two proposals
RESERVE = 20.0  # seconds that are left for what follows


@dataclass(frozen=True)
class Entry:
    """One computation: its workload on a GPU and in a rehearsal, and the peer's request.

    nbytes: what it must move at least, where memory is its limit; then the figure is a bandwidth.
    weight: its share of the time.
    """

    workload: str
    rehearsed: str
    peer: str
    request: Request = field(default_factory=dict)
    nbytes: float = 0.0
    weight: float = 1.0


TUNED = (
    Entry(
        "matmul:4096,4096,4096", "matmul:64,64,64", "cuBLAS", {"kind": "matmul", "shape": [4096, 4096, 4096]},
        weight=4.0,
    ),
    Entry("add:8192,4096", "add:16,64", "torch", {"kind": "add", "shape": [8192, 4096]}, 12.0 * (1 << 25), 0.5),
    Entry("softmax:8192,4096", "softmax:16,64", "torch", {"kind": "softmax", "shape": [8192, 4096]}, 8.0 * (1 << 25)),
    Entry("rowmin:8192,4096", "rowmin:16,64", "torch", {"kind": "min", "shape": [8192, 4096]}, 4.0 * (1 << 25)),
    Entry(
        "C2D:56,56,64,64,3,1,1", "C2D:7,7,4,4,3,1,1", "cuDNN",
        {"kind": "conv", "input": [1, 64, 56, 56], "weight": [64, 64, 3, 3], "options": {"padding": 1}},
        weight=2.0,
    ),
    Entry("matmul:1024,1024,1024", "matmul:32,32,32", "cuBLAS", {"kind": "matmul", "shape": [1024, 1024, 1024]}),
)  # fmt: skip


class WatchedMeasurer(CudaMeasurer):
    """Measures, and notes what the model predicts beside what was measured."""

    def __init__(self, case: MeasureCase, gpu: Gpu, scatter: list[tuple[float, float]], **options: Any) -> None:
        """scatter: gets a pair of seconds for each program that runs."""
        super().__init__(case, gpu, **options)
        self.scatter = scatter

    def __call__(self, nests: Sequence[Any], on_result: OnResult | None = None) -> list[MeasureResult]:
        """As a `CudaMeasurer`."""
        results = super().__call__(nests, on_result)
        pairs = zip(nests, results, strict=True)
        self.scatter += [(predict(nest, self.gpu).seconds, result.cost) for nest, result in pairs if result.ok]
        return results


def model_against_measured(session: Session) -> Iterator[Row]:
    """How the model ranks the programs that were measured; nothing is fitted here."""
    if not session.scatter:
        yield Row("model", "rank correlation", "skipped: no program was tuned")
    for workload, scatter in session.scatter.items():
        predicted, measured = ([pair[side] for pair in scatter] for side in (0, 1))
        facts: dict[str, Any] = {"programs": len(scatter)}
        if len(scatter) < 2:
            yield Row("model", workload, "skipped: fewer than two programs ran", facts=facts)
            continue
        factors = sorted(p / m for p, m in scatter)
        facts |= {"rank correlation": spearman(predicted, measured), "median factor": factors[len(factors) // 2]}
        label = f"{workload}: rank correlation {facts['rank correlation']:.2f} over {len(scatter)} programs"
        yield Row("model", label, facts=facts)


def tune_list(session: Session) -> Iterator[Row]:
    """Tune each and time the best program again beside the peer."""
    answers = session.peers([{"name": entry.workload, **entry.request} for entry in TUNED])
    for number, entry in enumerate(TUNED):
        left = max(1.0, session.deadline - RESERVE - time.monotonic())
        share = left * entry.weight / sum(other.weight for other in TUNED[number:])
        share = min(share, 10.0) if session.rehearsal else share
        row = _tune(session, entry, share)
        yield with_peer(row, entry.peer, answers, entry.workload)


def _tune(session: Session, entry: Entry, seconds: float) -> Row:
    workload = entry.rehearsed if session.rehearsal else entry.workload
    dag = _dag(workload)
    case = _case(workload, dag)
    target = target_of(session.gpu)
    rng = np.random.default_rng(0)
    stop = time.monotonic() + seconds
    facts: dict[str, Any] = {"budget seconds": round(seconds, 1)}
    scatter: list[tuple[float, float]] = []
    options = {"builder": session.builder, "build_timeout": 20.0, "repeats": 5, "run_timeout": 5.0}
    with WatchedMeasurer(case, session.gpu, scatter, runner=session.runner, **options) as measurer:
        seeds = [Program(Sketch(dag, target.default(dag)))]
        tuner = TaskTuner(Task(workload, dag), rng=rng, measurer=measurer, machine=session.gpu, seeds=seeds)
        count = 4 if session.rehearsal else ROUND
        while time.monotonic() < stop and tuner.round(count):
            if session.rehearsal:
                break
        facts |= {"trials": len(tuner.measured), "failures": dict(tuner.failures)}
        facts |= {"rejections": dict(tuner.rejections.most_common(8)), "sketches": len(tuner.sketches)}
        facts |= {"curve": tuner.curve[-200:], "predicted and measured seconds": scatter}
        session.scatter[workload] = scatter
        if tuner.best is None:
            return Row("tuned", workload, f"no program ran: {dict(tuner.failures)}", facts=facts)
        nest = tuner.best.lower()
    result = session.measure(nest, case, min_repeat_seconds=0.01)
    status = "ok" if result.ok else f"{result.kind}: {result.reason}"
    facts |= dict(result.facts) | {"nest": str(nest), "predicted seconds": predict(nest, session.gpu).seconds}
    work = {"nbytes": entry.nbytes, "copy_rate": session.copy_rate} if entry.nbytes else {"flops": float(dag.flops)}
    work = {} if session.rehearsal else work
    return Row("tuned", workload, status, list(result.seconds), facts=facts, **work)


def _dag(workload: str) -> ComputeDAG:
    """The computation of a workload's text, or the sum of two matrices."""
    family, _, numbers = workload.partition(":")
    if family != "add":
        return parse_workload(workload)
    x, y = (placeholder([int(number) for number in numbers.split(",")], name) for name in "XY")
    return ComputeDAG([compute(x.shape, lambda i, j: x[i, j] + y[i, j], "total")])


def _case(workload: str, dag: ComputeDAG) -> MeasureCase:
    """Inputs and outputs; a large matrix product by BLAS, since a DAG evaluates slowly."""
    if workload.startswith("matmul:"):
        rng = np.random.default_rng(0)
        inputs = [rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in dag.inputs]
        return MeasureCase(inputs, [inputs[0] @ inputs[1]])
    return case_of(dag, np.random.default_rng(0))
