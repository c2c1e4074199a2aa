"""Tune all kernels of one network or several, spending the trials where they promise most.

Paper: Ansor §6

1. Every distinct subgraph is a task; its weight is how often each network runs it. Networks share tasks.
2. Warm-up: the default schedule of every task is measured once (or, as in the paper, a round of searched programs).
3. The next round goes to the task that the scheduler chooses, under a strategy and an objective: both are arguments.
4. Until the trials or the seconds are used up, or nothing promises more. Ctrl-C keeps what was measured.
5. `confirm` measures the default and the best few programs of every task again, side by side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ansor_mini.cost_model import CostModel
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.network_task import NetworkTask, Part, case_of, constant_inputs, distinct_parts
from ansor_mini.objectives import Make, TotalLatency, network_latencies
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph
from ansor_mini.records import Record
from ansor_mini.similarity import Similarity, structure
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import Device, target_of
from ansor_mini.task_scheduler import Candidate, SchedulerOptions, Strategy, TaskScheduler
from ansor_mini.task_tuner import Measurer, RecordSink, SearchOptions, Task, TaskTuner, default_model
from ansor_mini.transfer import programs_for_fewer_threads
from runtime import debug
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase
from runtime.runner import Runner

__all__ = ["FINALISTS", "ROUND", "NetworkTask", "NetworkTuner", "Scheduling"]

ROUND = 8  # programs measured before the next task is chosen
FINALISTS = 3  # programs of each task that are measured again in the end

Observer = Callable[["NetworkTask", Record], None]
MakeCase = Callable[[], MeasureCase]
MakeMeasurer = Callable[[Task, MakeCase], Measurer]


@dataclass(frozen=True)
class Scheduling:
    """How trials are shared out; each may be replaced.

    objective: makes the objective from the weights [networks, tasks]. strategy: a name in `STRATEGIES` or a function.
    options: the strategy's numbers. similarity: a task's group, from its computation. round_size: programs measured
    before the next task is chosen. default_first: measure each task's default schedule before its search begins, so
    that no kernel ends up slower than that, and then the best programs that are known for fewer threads; the paper
    searches from nothing. share_model: one cost model learns from all tasks, as in the paper; else each has its own,
    and its search is the same whenever its turns come.
    """

    objective: Make = TotalLatency
    strategy: str | Strategy = "gradient"
    options: SchedulerOptions = field(default_factory=SchedulerOptions)
    similarity: Similarity = structure
    round_size: int = ROUND
    default_first: bool = True
    share_model: bool = True

    @property
    def warm_up(self) -> int:
        """Programs of a task's first round."""
        return 1 if self.default_first else self.round_size


class NetworkTuner:
    """The tuning of all distinct compute subgraphs of partitioned networks.

    Attributes: tasks: by subgraph key. weights: how often each network runs each task, [networks, tasks].
    curve: (trials, objective) after each round.
    """

    def __init__(
        self,
        parts: Sequence[Subgraph],
        *,
        weights: Collection[str] = (),
        others: Sequence[Part] = (),
        machine: Device,
        threads: int = 1,
        seed: int = 0,
        records: RecordSink | None = None,
        resume: Iterable[Record] = (),
        model: CostModel | None = None,
        options: SearchOptions | None = None,
        scheduling: Scheduling | None = None,
        observer: Observer | None = None,
        measurer: MakeMeasurer | None = None,
    ) -> None:
        """Declare the tasks; nothing is measured yet.

        weights: names of the graph's constants, whose layout the kernels may choose. others: further networks, each
        its subgraphs and the names of its constants. model: of all tasks; by default `default_model`, shared or not as
        `scheduling` says. resume: earlier records, of any tasks and numbers of threads. measurer: makes each task's,
        given the task and what makes inputs with the outputs they must give; by default one that runs programs on this
        machine. The rest as for `TaskTuner`.
        """
        networks = ((parts, weights), *others)
        distinct, self.weights = distinct_parts([subgraphs for subgraphs, _ in networks])
        constants, earlier = constant_inputs(networks), list(resume)
        self.scheduling = scheduling or Scheduling()
        self._machine, self._threads, self._seed = machine, threads, seed
        self._records, self._observer = records, observer
        if model is None and self.scheduling.share_model:
            model = default_model(machine, threads, np.random.default_rng(seed))
        self._model = model
        self._target = target_of(machine, threads)
        self._options = replace(options or self._target.options, round_size=self.scheduling.round_size)
        self._runner = Runner() if measurer is None else None
        self._measurer = measurer or self._local_measurer
        self.tasks: dict[str, NetworkTask] = {}
        for part, weight in zip(distinct, self.weights.sum(axis=0).tolist(), strict=True):
            self.tasks[part.key] = self._task(part, weight, constants[part.key], earlier)
        self.scheduler = TaskScheduler(
            [self._candidate(task) for task in self.tasks.values()],
            self.scheduling.objective(self.weights),
            rng=np.random.default_rng(seed),
            strategy=self.scheduling.strategy,
            options=self.scheduling.options,
        )
        self.curve: list[tuple[int, float]] = []

    def _task(self, part: Subgraph, weight: int, constants: Collection[str], resume: Sequence[Record]) -> NetworkTask:
        dag = declare(part.fragment)
        task = Task(dag.key(), dag, weight, self._threads, constants)
        default = Program(Sketch(dag, self._target.default(dag)))
        tuner = TaskTuner(
            task,
            rng=np.random.default_rng(self._seed),
            measurer=self._measurer(task, lambda: case_of(part, dag, np.random.default_rng(self._seed))),
            records=self._records,
            resume=resume,
            seeds=[default] if self.scheduling.default_first else [],
            model=self._model,
            machine=self._machine,
            options=self._options,
        )
        if self.scheduling.default_first:
            tuner.seeds += programs_for_fewer_threads(tuner, resume)
        network_task, observer = NetworkTask(part, tuner), self._observer
        if observer is not None:
            tuner.observer = lambda _, record: observer(network_task, record)
        return network_task

    def _local_measurer(self, task: Task, case: MakeCase) -> Measurer:
        return LocalMeasurer(
            task.dag, threads=self._threads, case=case(), constants=task.constants, runner=self._runner
        )

    def _candidate(self, task: NetworkTask) -> Candidate:
        """The task as the scheduler sees it, with what earlier records tell."""
        dag = task.tuner.task.dag
        candidate = Candidate(task.label, dag.flops, self.scheduling.similarity(dag))
        for programs, latency in task.best_after_rounds(self.scheduling.warm_up, self.scheduling.round_size):
            candidate.observe(latency, programs - candidate.trials)
        return candidate

    @property
    def trials(self) -> int:
        """Programs measured, resumed ones included."""
        return sum(len(task.tuner.measured) for task in self.tasks.values())

    @property
    def latencies(self) -> np.ndarray:
        """Seconds of one run of each network's kernels as tuned so far, float64 [networks]."""
        return network_latencies(self.weights, self.scheduler.latencies)

    def run(self, *, trials: float = math.inf, budget_seconds: float = math.inf) -> str:
        """Tune until so many programs are measured or so many seconds have passed.

        Returns why it stopped: "trials", "budget", "exhausted" (every task is dead), "patience" (the objective has not
        improved for so long) or "interrupted".
        """
        deadline = time.monotonic() + budget_seconds
        try:
            while True:
                if self.trials >= trials:
                    return "trials"
                if time.monotonic() >= deadline:
                    return "budget"
                number = self.scheduler.choose()
                if number is None:
                    return "patience" if self.scheduler.stagnant else "exhausted"
                self._round(number, trials - self.trials)
        except KeyboardInterrupt:
            return "interrupted"

    def _round(self, number: int, trials_left: float) -> None:
        """One round of a task."""
        candidate, task = self.scheduler.tasks[number], list(self.tasks.values())[number]
        size = self.scheduling.round_size if candidate.rounds else self.scheduling.warm_up
        measured = task.tuner.round(int(min(size, trials_left)))
        self.scheduler.observe(number, task.tuner.best_seconds, measured)
        self.curve.append((self.trials, self.scheduler.value))
        debug.say(2, lambda: f"{self.trials} trials, objective {self.scheduler.value:.4g}: a round of {task.label}")

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
        if self._runner is not None:
            self._runner.close()

    def __enter__(self) -> NetworkTuner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
