"""Tune the kernels of whole networks and keep every measured program.

    python -m tests.benchmarks.record_networks --networks papers light --threads 1 2 --trials-per-task 60

All networks share one store of records, so that a kernel which two of them run is tuned once, and one cost model for
each number of threads. Of a network all forms are tuned (see `network_cases.forms`); when its trials or its share of
the seconds are used up, the forms run against each other; for those that are close to the fastest, and for Winograd's,
programs are chosen by their time in the network, and they run against each other again; the fastest counts from then
on. With more threads the best programs of fewer are measured first. Stopping at any moment keeps what was measured;
starting again goes on, and skips networks that are done. The records go to `results/networks-records.jsonl.gz` and what
the runs took to `results/networks-runs.json` whenever a network is done. `--choose-only` tunes nothing: it chooses the
programs of networks that are tuned already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ansor_mini.cost_model import CostModel
from ansor_mini.measured_programs import program_of
from ansor_mini.network_choice import NetworkChoice
from ansor_mini.network_tuner import NetworkTask, NetworkTuner
from ansor_mini.partition import partition
from ansor_mini.record import Record
from ansor_mini.recorded_kernels import dags_of, fastest_alone
from ansor_mini.records import RecordFile, read_choices, read_records, write_records
from ansor_mini.task_tuner import default_model
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import cache_directory
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from tests.benchmarks.network_cases import (
    ALL,
    RECORDS,
    available,
    by_layer,
    chosen,
    everywhere,
    forms,
    graph_of,
)
from tests.benchmarks.network_finals import choose_in_forms, contenders, race
from tests.benchmarks.network_runs import DONE_WHEN, RUNS, Run, read_runs, write_runs

TRIALS_PER_TASK = 60
SAVE_SECONDS = 20.0  # between two notes of how long a run has taken


class Recorder:
    """The store of records and runs, and the cost models that networks share."""

    def __init__(self, store: Path, records: Path = RECORDS, runs: Path = RUNS, *, seed: int = 0) -> None:
        """Read what earlier sittings have left.

        store: a plain file to which records are appended. records, runs: where they go when a network is done.
        """
        self.store, self.records, self.runs_file, self.seed = store, records, runs, seed
        self.machine = detect()
        self.runs = read_runs(runs)
        self.models: dict[int, CostModel] = {}

    def earlier(self) -> list[Record]:
        """All records so far, each once."""
        found: dict[tuple[object, ...], Record] = {}
        for path in (self.records, self.store):
            for record in read_records(path) if path.exists() else []:
                annotation = tuple(sorted(record.annotation.items()))
                found[record.task, record.steps, annotation, record.threads, record.machine, record.time] = record
        return list(found.values())

    def choices(self) -> list[NetworkChoice]:
        """The last choice of every network's programs."""
        found: dict[tuple[object, ...], NetworkChoice] = {}
        for path in (self.records, self.store):
            for choice in read_choices(path) if path.exists() else []:
                found[choice.kernels, choice.threads, choice.machine] = choice
        return list(found.values())

    def model(self, threads: int) -> CostModel:
        """The cost model of all networks with so many threads."""
        if threads not in self.models:
            self.models[threads] = default_model(self.machine, threads, np.random.default_rng(self.seed))
        return self.models[threads]

    def note(self, run: Run) -> None:
        """Remember a run, also for the next sitting."""
        self.runs[run.network, run.threads] = run
        write_runs(self.runs.values(), self.runs_file)

    def record(
        self, network: str, threads: int, trials_per_task: int, deadline: float, *, winograd: bool = False
    ) -> Run:
        """Tune a network until its trials are used up or it is too late; then compare its forms.

        deadline: in seconds of the monotonic clock. winograd: tune Winograd's definition of convolutions too.
        Raises: KeyboardInterrupt: the user stopped it; what was measured is kept.
        """
        started = time.monotonic()
        run = self.runs.get((network, threads), Run(network, threads, trials_per_task))
        run = replace(run, trials_per_task=trials_per_task, winograd=run.winograd or winograd, stopped="")
        found, earlier = forms(graph_of(network)), self.earlier()
        extra = everywhere(found) if run.winograd else None
        tuned = [*found.values(), *([extra] if extra is not None else [])]
        (parts, weights), *others = [(partition(form), form.weights) for form in tuned]
        with RecordFile(self.store) as sink:
            watch = _Watch(self, run, started)
            tuner = NetworkTuner(
                parts,
                weights=weights,
                others=others,
                machine=self.machine,
                threads=threads,
                seed=self.seed,
                records=sink,
                resume=earlier,
                model=self.model(threads),
                observer=watch.measured,
            )
            with tuner:
                watch.tuner = tuner
                wanted = trials_per_task * len(tuner.tasks)
                stopped = tuner.run(trials=wanted, budget_seconds=deadline - time.monotonic())
                if stopped in DONE_WHEN:
                    tuner.confirm()
                nests = tuner.nests()
        run = watch.state(stopped)
        if run.trials and stopped != "interrupted":
            seconds = {key: task.tuner.best_seconds for key, task in tuner.tasks.items()}
            found |= by_layer(found, seconds) if extra is not None else {}
            latencies = self._latencies(found, nests, self.earlier(), threads)
            run = replace(watch.state(stopped), latencies=latencies)
        self.note(run)
        if stopped == "interrupted":
            raise KeyboardInterrupt
        return run

    def choose(self, network: str, threads: int) -> Run:
        """Choose the programs of a tuned network by their time in it; its forms' latencies are measured anew.

        Raises: KeyError: it has not been tuned.
        """
        run = self.runs[network, threads]
        found, records = forms(graph_of(network)), self.earlier()
        extra = everywhere(found) if run.winograd else None
        parts = [
            part for form in (*found.values(), *([extra] if extra is not None else [])) for part in partition(form)
        ]
        best = fastest_alone(parts, records, threads)
        if extra is not None:
            found |= by_layer(found, {key: record.cost for key, record in best.items()})
        dags = dags_of(parts)
        nests = {key: program_of(record, dags[key]).lower() for key, record in best.items()}
        run = replace(run, latencies=self._latencies(found, nests, records, threads))
        self.note(run)
        return run

    def _latencies(
        self, found: Mapping[str, Graph], nests: Mapping[str, LoopNest], records: Sequence[Record], threads: int
    ) -> dict[str, float]:
        """Seconds of each form, after programs were chosen in those that are close to the fastest with these nests."""
        latencies = race(found, dict.fromkeys(found, nests), threads)
        close = {name: found[name] for name in contenders(latencies)}
        with RecordFile(self.store) as sink:
            chosen = choose_in_forms(close, records, sink, threads)
        return latencies | race(close, chosen, threads)

    def publish(self) -> None:
        """Write all records to the file that the benchmark reads."""
        write_records(self.records, [*self.earlier(), *self.choices()])


class _Watch:
    """Follows the tuning of a network: notes how far it is, and tells people."""

    def __init__(self, recorder: Recorder, run: Run, started: float) -> None:
        self.recorder, self.run, self.started = recorder, run, started
        self.tuner: NetworkTuner | None = None
        self.last = time.monotonic()

    def state(self, stopped: str = "") -> Run:
        """The run up to now."""
        assert self.tuner is not None
        spent = self.run.seconds + time.monotonic() - self.started
        return replace(
            self.run, tasks=len(self.tuner.tasks), trials=self.tuner.trials, seconds=round(spent, 1), stopped=stopped
        )

    def measured(self, task: NetworkTask, record: Record) -> None:
        """A program was measured."""
        if self.tuner is None or time.monotonic() - self.last < SAVE_SECONDS:
            return
        self.last = time.monotonic()
        run = self.state()
        self.recorder.note(run)
        best = " + ".join(f"{1e3 * seconds:.2f}" for seconds in self.tuner.latencies)
        print(
            f"  {run.network} {run.threads}t {run.seconds:6.0f} s {run.trials:5d} trials of"
            f" {run.trials_per_task * run.tasks}, kernels {best} ms, now {task.label}",
            file=sys.stderr,
            flush=True,
        )


def record_all(
    recorder: Recorder,
    networks: Sequence[str],
    threads: Sequence[int],
    trials_per_task: int,
    budget_seconds: float,
    *,
    winograd: bool = False,
) -> None:
    """Record what is not done, one number of threads after the other, until the seconds are used up.

    What is left of the seconds is shared out evenly among the networks that are left.
    """
    deadline = time.monotonic() + budget_seconds
    every = [(network, count) for count in threads for network in networks]
    runs = recorder.runs
    left = [job for job in every if job not in runs or not runs[job].done(trials_per_task, winograd)]
    while left and (now := time.monotonic()) < deadline:
        share = (deadline - now) / len(left)
        network, count = left.pop(0)
        if not available(network):
            print(f"{network}: the package that it comes from is not installed", file=sys.stderr)
            continue
        run = recorder.record(network, count, trials_per_task, now + share, winograd=winograd)
        print(run, file=sys.stderr, flush=True)
        recorder.publish()


def choose_all(recorder: Recorder, networks: Sequence[str], threads: Sequence[int], budget_seconds: float) -> None:
    """Choose the programs of networks that are tuned, until the seconds are used up."""
    deadline = time.monotonic() + budget_seconds
    for job in [(network, count) for count in threads for network in networks]:
        if job not in recorder.runs or not recorder.runs[job].latencies:
            print(f"{job[0]} {job[1]}t: not tuned yet", file=sys.stderr)
        elif available(job[0]) and time.monotonic() < deadline:
            print(recorder.choose(*job), file=sys.stderr, flush=True)
            recorder.publish()


def main() -> int:
    """The command."""
    parser = Parser(
        prog="python -m tests.benchmarks.record_networks",
        description=__doc__ or "",
        example="python -m tests.benchmarks.record_networks --networks squeezenet dcgan --budget-seconds 600",
    )
    parser.add_argument(
        "--networks", nargs="+", default=["papers"], metavar="NAME", help=f"papers, light, {', '.join(ALL)}"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads to tune for")
    parser.add_argument(
        "--trials-per-task", type=int, default=TRIALS_PER_TASK, help="on average over a network's tasks"
    )
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--winograd", action="store_true", help="tune Winograd's convolutions too, which round otherwise"
    )
    parser.add_argument(
        "--choose-only", action="store_true", help="tune nothing: choose the programs of networks tuned before in place"
    )
    parser.add_argument("--store", type=Path, default=None, help="working file (default: in the cache directory)")
    options = parser.parse_args()

    def run() -> int:
        if not 1 <= options.trials_per_task <= TRIALS_PER_TASK:
            raise ValueError(f"--trials-per-task: expected 1 to {TRIALS_PER_TASK}, got {options.trials_per_task}")
        recorder = Recorder(options.store or cache_directory() / "networks-records.jsonl")
        networks = chosen(options.networks)
        try:
            if options.choose_only:
                choose_all(recorder, networks, options.threads, options.budget_seconds)
                return DONE
            record_all(
                recorder,
                networks,
                options.threads,
                options.trials_per_task,
                options.budget_seconds,
                winograd=options.winograd,
            )
        finally:
            recorder.publish()
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
