"""Tune for `sample_efficiency`: the forty operator cases, and the ablations on one convolution and one network.

Each finished run is added to `results/sample-efficiency-runs.jsonl`; what is there already is not run again, so the
command may be stopped and started at any time, and a longer one needs only more `--trials` or `--seeds`. The programs
an operator's run has measured are kept in the cache directory, and an interrupted run goes on from them.

Paper: Ansor §7.1, §7.3
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from ansor_mini.curve import time_text
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.network_tuner import NetworkTuner, Scheduling
from ansor_mini.partition import partition
from ansor_mini.records import RecordFile, read_records
from ansor_mini.task import Task
from ansor_mini.tuner import tune
from ansor_mini.workloads import WORKLOADS, parse_workload
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import cache_directory
from runtime.layout import to_channels_last
from runtime.machine import detect
from taso_mini.models import MODELS
from tests.benchmarks.efficiency_runs import (
    LAST_CONV2D,
    NETWORK,
    RUNS,
    VARIANTS,
    Run,
    append_run,
    read_runs,
)
from tests.benchmarks.operator_cases import CASES, measured_here, processor

Wanted = tuple[str, str, int]  # case, variant, seed
ONE_TASK = [name for name in VARIANTS if name != "no-task-scheduler"]
IN_NETWORKS = ["full", "no-fine-tuning", "limited-space", "no-task-scheduler"]  # as in the paper's figure


def wanted(parts: list[str], seeds: int) -> Iterator[Wanted]:
    """All runs of some parts of the benchmark, every variant with the first seed before any with the second."""
    for seed in range(seeds):
        if "conv" in parts:
            yield from ((LAST_CONV2D, name, seed) for name in ONE_TASK)
        if "network" in parts:
            yield from ((NETWORK, name, seed) for name in IN_NETWORKS)
        if "cases" in parts:
            spread = sorted(range(len(CASES)), key=lambda number: (number % 4, number))  # all operators early
            for name in ("full", "five-times-the-search"):
                yield from ((CASES[number].text, name, seed) for number in spread)


def measured_by(case: str, variant: str, seed: int, threads: int) -> Path:
    """Where the programs that a run has measured are kept."""
    name = re.sub(r"\W+", "-", f"{case} {variant} {threads} {seed}")
    return cache_directory() / "sample-efficiency" / f"{name}.jsonl"


def tune_case(case: str, variant: str, seed: int, threads: int, trials: int) -> Run:
    """Tune one operator, from nothing or from where an earlier command was stopped."""
    text, _, batch = case.partition(" batch ")
    dag, machine, rng = parse_workload(text, batch=int(batch or 1)), detect(), np.random.default_rng(seed)
    constants = WORKLOADS[text.partition(":")[0]].constants
    kept = measured_by(case, variant, seed, threads)
    earlier = measured_here(read_records(kept)) if kept.exists() else []
    with LocalMeasurer(dag, threads=threads, rng=rng, constants=constants) as measurer, RecordFile(kept) as records:
        result = tune(
            Task(case, dag, threads=threads, constants=constants),
            trials=trials,
            rng=rng,
            measurer=measurer,
            records=records,
            resume=earlier,
            machine=machine,
            options=VARIANTS[variant].options,
        )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return Run(case, variant, seed, threads, trials, result.curve, machine.line)


def tune_network(variant: str, seed: int, threads: int, trials: int) -> Run:
    """Tune all tasks of the network from nothing; the model is shared. Both as in the paper."""
    graph = to_channels_last(MODELS[NETWORK](np.random.default_rng(0)))
    machine, chosen = detect(), VARIANTS[variant]
    with NetworkTuner(
        partition(graph),
        weights=graph.weights,
        machine=machine,
        threads=threads,
        seed=seed,
        options=chosen.options,
        scheduling=Scheduling(strategy=chosen.scheduling, default_first=False),
    ) as tuner:
        if tuner.run(trials=trials) == "interrupted":
            raise KeyboardInterrupt
        curve = tuple((at, value) for at, value in tuner.curve if np.isfinite(value))
    return Run(NETWORK, variant, seed, threads, trials, curve, machine.line)


def record(
    parts: list[str],
    seeds: int,
    threads: int,
    trials: int,
    budget_seconds: float,
    path: Path = RUNS,
    only: Collection[str] = (),
    variants: Collection[str] = (),
) -> None:
    """Make the runs that are missing, until the seconds are used up.

    only: beginnings of cases; variants: names of variants; nothing given excludes none.
    """
    deadline = time.monotonic() + budget_seconds
    here = processor(detect().line)
    enough = [run for run in read_runs(path) if run.threads == threads and run.trials >= trials]
    # Variants are compared with one another, and can only be where all ran.
    enough = [r for r in enough if r.case not in (LAST_CONV2D, NETWORK) or processor(r.machine) == here]
    done = {(run.case, run.variant, run.seed) for run in enough}
    for case, variant, seed in wanted(parts, seeds):
        if (case, variant, seed) in done or not case.startswith(tuple(only) or ""):
            continue
        if variants and variant not in variants:
            continue
        if time.monotonic() >= deadline:
            return
        started = time.monotonic()
        if case == NETWORK:
            run = tune_network(variant, seed, threads, trials)
        else:
            run = tune_case(case, variant, seed, threads, trials)
        append_run(path, run)
        spent = f"{trials} trials in {time.monotonic() - started:.0f} s"
        print(f"{case:32} {variant:22} seed {seed} {time_text(run.best_after(trials)):>9} {spent}", file=sys.stderr)


def main() -> int:
    """The command."""
    parser = Parser(
        prog="python -m tests.benchmarks.record_efficiency",
        description=__doc__ or "",
        example="python -m tests.benchmarks.record_efficiency --parts conv --trials 300 --seeds 3",
    )
    parser.add_argument("--parts", nargs="+", default=["conv", "network"], choices=["conv", "network", "cases"])
    parser.add_argument("--trials", type=int, default=1000, help="of each run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant")
    parser.add_argument("--threads", type=int, default=1, help="cores for each kernel")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="start no run after so long")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="beginnings of case names, e.g. C2D")
    parser.add_argument("--variants", nargs="+", default=[], choices=VARIANTS, help="ways to search (default: all)")
    options = parser.parse_args()

    def run() -> int:
        record(
            options.parts,
            options.seeds,
            options.threads,
            options.trials,
            options.budget_seconds,
            only=options.only,
            variants=options.variants,
        )
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
