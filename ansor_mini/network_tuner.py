"""Tune all kernels of a network, spending the trials where they promise most.

Paper: Ansor §6

1. Every distinct subgraph is a task; its weight is how often the network runs it.
2. Warm-up: the default schedule of every task is measured once.
3. The next round goes to the task with the largest optimistic gradient w_i · g_i / t_i: the latency that would vanish
   if another t_i rounds brought task i's latency g_i to zero.
4. Until the trials or the seconds are used up, or every task is exhausted. Ctrl-C keeps what was measured.
5. `confirm` measures the default and the best few programs of every task again, side by side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import default_steps
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph, task_weights
from ansor_mini.records import Record
from ansor_mini.sketch import Program, Sketch
from ansor_mini.task_tuner import RecordSink, SearchOptions, Task, TaskTuner, TuneResult
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from runtime.measure_case import MeasureCase
from runtime.runner import Runner

ROUND = 8  # programs measured before the next task is chosen
DRY_ROUNDS = 2  # rounds without a new program after which a task is left alone
FINALISTS = 3  # programs of each task that are measured again in the end
HOPELESS_ROUNDS = 4  # rounds without a correct program after which a task is left alone

Observer = Callable[["NetworkTask", Record], None]


@dataclass
class NetworkTask:
    """One subgraph being tuned. rounds: how many it had; dry: how many of the last found nothing new to measure."""

    part: Subgraph
    tuner: TaskTuner
    rounds: int = 0
    dry: int = 0

    @property
    def weight(self) -> int:
        """How often the network runs it."""
        return self.tuner.task.weight

    @property
    def label(self) -> str:
        """The fused operators and the shape of the result, for people."""
        operators = "+".join(node.operator for node in self.part.nodes)
        shape = "x".join(map(str, self.part.fragment.types[self.part.fragment.outputs[0]].shape))
        return f"{operators} {shape}"

    @property
    def default_seconds(self) -> float:
        """Latency under the default schedule, which is measured first."""
        return next(iter(self.tuner.measured.values()), math.inf)

    @property
    def gain(self) -> float:
        """The optimistic gradient, w · g / t; infinite before the first round, 0 for a task to leave alone."""
        if self.rounds == 0:
            return math.inf
        hopeless = self.tuner.best is None and self.rounds >= HOPELESS_ROUNDS
        return 0.0 if hopeless or self.dry >= DRY_ROUNDS else self.weight * self.tuner.best_seconds / self.rounds

    def result(self, stopped: str) -> TuneResult:
        """What was found so far."""
        return self.tuner.result(stopped)

    def best_nest(self) -> LoopNest | None:
        """The fastest correct program, lowered; None when there is none."""
        return self.tuner.best.lower() if self.tuner.best else None


def case_of(part: Subgraph, dag: ComputeDAG, rng: np.random.Generator) -> MeasureCase:
    """Inputs for a subgraph, and what its graph operators' NumPy references make of them."""
    low, high = (-3, 4) if dag.exact else (1, 4)
    feeds = {
        name: rng.integers(low, high, kind.shape).astype(kind.dtype) for name, kind in part.fragment.inputs.items()
    }
    wanted = part.fragment.evaluate(feeds)
    return MeasureCase(list(feeds.values()), [wanted[name] for name in part.fragment.outputs], exact=dag.exact)


def constant_inputs(parts: Sequence[Subgraph], weights: Collection[str]) -> dict[str, frozenset[str]]:
    """For each subgraph key, the fragment inputs that are weights wherever the subgraph occurs."""
    found: dict[str, frozenset[str]] = {}
    for part in parts:
        own = frozenset(
            name for name, value in zip(part.fragment.inputs, part.inputs, strict=True) if value in weights
        )
        found[part.key] = found.get(part.key, own) & own
    return found


class NetworkTuner:
    """The tuning of all distinct compute subgraphs of a partitioned network."""

    def __init__(
        self,
        parts: Sequence[Subgraph],
        *,
        weights: Collection[str] = (),
        machine: Machine,
        threads: int,
        seed: int = 0,
        records: RecordSink | None = None,
        resume: Iterable[Record] = (),
        options: SearchOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Declare the tasks; nothing is measured yet.

        weights: names of the graph's constants, whose layout the kernels may choose; the rest as for `TaskTuner`.
        """
        counts = task_weights(parts)
        constants = constant_inputs(parts, weights)
        earlier = list(resume)
        self._runner = Runner()
        self.tasks: dict[str, NetworkTask] = {}
        for part in parts:
            if part.key in counts and part.key not in self.tasks:
                fixed = constants[part.key]
                self.tasks[part.key] = self._task(
                    part, counts[part.key], fixed, machine, threads, seed, records, earlier, options, observer
                )

    def _task(
        self,
        part: Subgraph,
        weight: int,
        constants: Collection[str],
        machine: Machine,
        threads: int,
        seed: int,
        records: RecordSink | None,
        resume: Sequence[Record],
        options: SearchOptions | None,
        observer: Observer | None,
    ) -> NetworkTask:
        dag = declare(part.fragment)
        case = case_of(part, dag, np.random.default_rng(seed))
        measurer = LocalMeasurer(dag, threads=threads, case=case, constants=constants, runner=self._runner)
        tuner = TaskTuner(
            Task(dag.key(), dag, weight, threads),
            rng=np.random.default_rng(seed),
            measurer=measurer,
            records=records,
            resume=resume,
            seeds=[Program(Sketch(dag, default_steps(dag, machine, threads)))],
            machine=machine,
            options=replace(options or SearchOptions(), round_size=ROUND),
        )
        task = NetworkTask(part, tuner, rounds=len(tuner.measured) // ROUND)
        if observer is not None:
            tuner.observer = lambda _, record: observer(task, record)
        return task

    @property
    def trials(self) -> int:
        """Programs measured, resumed ones included."""
        return sum(len(task.tuner.measured) for task in self.tasks.values())

    def run(self, *, trials: float = math.inf, budget_seconds: float = math.inf) -> str:
        """Tune until so many programs are measured or so many seconds have passed.

        Returns why it stopped: "trials", "budget", "exhausted" or "interrupted".
        """
        deadline = time.monotonic() + budget_seconds
        try:
            while True:
                if self.trials >= trials:
                    return "trials"
                if time.monotonic() >= deadline:
                    return "budget"
                task = max(self.tasks.values(), key=lambda task: task.gain, default=None)
                if task is None or task.gain <= 0:
                    return "exhausted"
                first = task.rounds == 0
                measured = task.tuner.round(1 if first else int(min(ROUND, trials - self.trials)))
                task.rounds += 1
                task.dry = 0 if measured else task.dry + 1
        except KeyboardInterrupt:
            return "interrupted"

    def confirm(self, finalists: int = FINALISTS) -> None:
        """Measure the best programs of every task, and its default schedule, once more; Ctrl-C ends it early."""
        try:
            for task in self.tasks.values():
                task.tuner.confirm(finalists)
        except KeyboardInterrupt:
            return

    def nests(self) -> dict[str, LoopNest]:
        """The best loop nest of every task that has one, by subgraph key."""
        found = {key: task.best_nest() for key, task in self.tasks.items()}
        return {key: nest for key, nest in found.items() if nest is not None}

    def close(self) -> None:
        """Stop the runner."""
        self._runner.close()

    def __enter__(self) -> NetworkTuner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
