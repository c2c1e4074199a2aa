"""The kernels of a partitioned graph: tuned within a budget, or taken from earlier records.

Paper: Ansor §6
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ansor_mini.network_choice import NetworkChoice
from ansor_mini.network_task import Part
from ansor_mini.network_tuner import NetworkTask, NetworkTuner
from ansor_mini.partition import Subgraph
from ansor_mini.recorded_kernels import recorded_best, recorded_nests
from ansor_mini.records import Record, RecordFiles, read_records
from runtime.loop_nest import LoopNest
from taso_mini.compile_job import Job, Log
from taso_mini.compile_options import CompileOptions

PROGRESS_SECONDS = 5.0
RECORDS = "records.jsonl"


@dataclass(frozen=True)
class TunedTask:
    """One line of the report: a distinct kernel, what it cost by default and what it costs now, in seconds per call."""

    key: str
    label: str
    weight: int
    trials: int
    default_seconds: float
    best_seconds: float
    gflops: float
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Tuned:
    """What tuning the kernels gave: the report's lines, the best nests and their seconds by subgraph key.

    records: all that is known of the kernels, after a search. choice: among them, where the search has made it.
    """

    tasks: tuple[TunedTask, ...] = ()
    nests: Mapping[str, LoopNest] = field(default_factory=dict)
    trials: int = 0
    stopped: str = "trials"
    seconds: Mapping[str, float] = field(default_factory=dict)
    records: Sequence[Record] = ()
    choice: NetworkChoice | None = None


def tune(parts: Sequence[Subgraph], weights: Collection[str], job: Job, *, others: Sequence[Part] = ()) -> Tuned:
    """Tune the kernels of a partitioned graph with these weights, within the options' trials and seconds.

    others: further graphs whose kernels share the budget, each its subgraphs and the names of its weights.
    """
    options = job.options
    if options.trials == 0:
        every = [part for some in (parts, *(other for other, _ in others)) for part in some]
        return _recorded(every, options.records, job.threads) if options.records else Tuned()
    trials, budget_seconds = options.limits
    earlier = [record for path in sources(options) for record in read_records(path)]
    measured: list[Record] = []
    progress = _progress(job.log)

    def observe(task: NetworkTask, record: Record) -> None:
        measured.append(record)
        progress(task, record)

    with ExitStack() as stack:
        sink = stack.enter_context(RecordFiles(sinks(options)))
        tuner = NetworkTuner(
            parts,
            weights=weights,
            others=others,
            machine=job.machine,
            threads=job.threads,
            seed=options.seed,
            records=sink,
            resume=earlier,
            observer=observe,
        )
        stack.enter_context(tuner)
        stopped = tuner.run(trials=trials, budget_seconds=budget_seconds)
        if stopped != "interrupted":
            tuner.confirm()
        tasks = tuple(_line(key, task) for key, task in tuner.tasks.items())
        seconds = {key: task.tuner.best_seconds for key, task in tuner.tasks.items()}
        return Tuned(tasks, tuner.nests(), tuner.trials, stopped, seconds, (*earlier, *measured))


def sources(options: CompileOptions) -> list[Path]:
    """The files of earlier records that a search goes on from."""
    own = options.out / RECORDS if options.out and options.resume else None
    return [path for path in (options.records, own) if path is not None and path.exists()]


def sinks(options: CompileOptions) -> list[Path]:
    """The files that new records go to."""
    own = options.out / RECORDS if options.out else None
    return [path for path in (own, options.records) if path is not None]


def _recorded(parts: Sequence[Subgraph], path: Path, threads: int) -> Tuned:
    seconds = {key: record.cost for key, record in recorded_best(parts, path, threads).items()}
    return Tuned(nests=recorded_nests(parts, path, threads), seconds=seconds)


def _line(key: str, task: NetworkTask) -> TunedTask:
    result = task.result("")
    return TunedTask(
        key=key,
        label=task.label,
        weight=task.weight,
        trials=result.trials,
        default_seconds=task.default_seconds,
        best_seconds=result.best_seconds,
        gflops=result.gflops,
        failures=result.failures,
    )


def _progress(log: Log) -> Callable[[NetworkTask, Record], None]:
    """Log a line every few seconds of tuning."""
    last = time.monotonic()

    def observe(task: NetworkTask, record: Record) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log(f"tuning {task.label}: {len(task.tuner.measured)} trials, best {task.tuner.best_seconds * 1e6:.1f} us")

    return observe
