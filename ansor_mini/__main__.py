"""The command `python -m ansor_mini`: tune one workload, or print its sketches."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.records import Record, RecordFile, read_records
from ansor_mini.sketch import derive
from ansor_mini.task_tuner import TaskTuner, TuneResult
from ansor_mini.tuner import Task, tune
from ansor_mini.workloads import WORKLOADS, parse_workload
from runtime import debug
from runtime.command_line import DONE, INTERRUPTED, NOTHING_FOUND, Parser, exit_status
from runtime.compile_c import CompilerNotFound, find_compiler
from runtime.machine import detect

SCHEMA = 1


def parser() -> argparse.ArgumentParser:
    """The arguments of both commands."""
    top = Parser(
        prog="python -m ansor_mini",
        example="python -m ansor_mini tune matmul:512,512,512 --trials 100 --out records.jsonl",
        description="Search for a fast program for one computation.",
        epilog="workloads: " + ", ".join(f"{name}:{','.join(w.fields)}" for name, w in WORKLOADS.items()),
    )
    commands = top.add_subparsers(dest="command", required=True)
    search = commands.add_parser(
        "tune", help="search and measure", example="python -m ansor_mini tune matmul:512,512,512"
    )
    search.add_argument("--trials", type=int, default=64, help="programs to measure, resumed ones included")
    search.add_argument("--budget-seconds", type=float, default=math.inf, help="stop after this long")
    search.add_argument("--threads", type=int, default=1, help="cores that a program may use")
    search.add_argument("--seed", type=int, default=0, help="of the random numbers")
    search.add_argument("--out", type=Path, help="append a record per measured program to this file")
    search.add_argument("--resume", action="store_true", help="count what --out already holds, and go on from there")
    search.add_argument("--quiet", action="store_true", help="no progress")
    show = commands.add_parser(
        "sketches", help="print the sketches", example="python -m ansor_mini sketches matmul:512,512,512"
    )
    for command in (search, show):
        command.add_argument("workload", help="a name and its numbers, for example matmul:512,512,512")
        command.add_argument("--batch", type=int, default=1, help="images or matrices at once")
        command.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    return top


class Progress:
    """One rewritten line on a terminal; elsewhere a line every few seconds."""

    def __init__(self, trials: int, quiet: bool) -> None:
        self.trials, self.quiet = trials, quiet
        self.start = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def __call__(self, tuner: TaskTuner, record: Record) -> None:
        """Show where the search stands."""
        now = time.monotonic()
        if self.quiet or now - self.last < (0.1 if self.terminal else 5.0):
            return
        self.last = now
        best = f"{tuner.best_seconds * 1e6:.1f} us" if tuner.best else "none"
        line = f"{now - self.start:6.1f} s  {len(tuner.measured)}/{self.trials} trials  best {best}"
        sys.stderr.write(f"\r{line}  " if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the rewritten line."""
        if self.terminal and not self.quiet:
            sys.stderr.write("\n")


def run_sketches(arguments: argparse.Namespace) -> int:
    """Print every sketch of a workload."""
    dag = parse_workload(arguments.workload, batch=arguments.batch)
    for number, sketch in enumerate(derive(dag)):
        if arguments.json:
            holes = {hole.name: hole.kind for hole in sketch.holes}
            line = {"schema": SCHEMA, "sketch": number, "rules": sketch.rules, "steps": sketch.key, "holes": holes}
            print(json.dumps(line))
        else:
            print(f"{number}. {sketch}\n")
    return DONE


def run_tune(arguments: argparse.Namespace) -> int:
    """Tune a workload and print what was found."""
    dag = parse_workload(arguments.workload, batch=arguments.batch)
    if arguments.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {arguments.threads}")
    if arguments.resume and arguments.out is None:
        raise ValueError("--resume needs --out FILE, the records to resume from")
    find_compiler()
    earlier = read_records(arguments.out) if arguments.resume and arguments.out.exists() else []
    task = Task(dag.key(), dag, threads=arguments.threads)
    progress = Progress(arguments.trials, arguments.quiet or arguments.json)
    records = RecordFile(arguments.out) if arguments.out else None
    try:
        with LocalMeasurer(dag, threads=task.threads, rng=np.random.default_rng(arguments.seed)) as measurer:
            result = tune(
                task,
                trials=arguments.trials,
                budget_seconds=arguments.budget_seconds,
                rng=np.random.default_rng(arguments.seed),
                measurer=measurer,
                records=records,
                resume=earlier,
                observer=progress,
            )
    finally:
        progress.close()
        if records is not None:
            records.close()
    report(arguments, result)
    return INTERRUPTED if result.stopped == "interrupted" else DONE if result.best else NOTHING_FOUND


def report(arguments: argparse.Namespace, result: TuneResult) -> None:
    """Print a result for people or for machines."""
    line = {
        "schema": SCHEMA,
        "workload": arguments.workload,
        "seed": arguments.seed,
        "machine": detect().line,
        "threads": result.task.threads,
        "trials": result.trials,
        "stopped": result.stopped,
        "seconds": result.best_seconds if result.best else None,
        "gflops": round(result.gflops, 2) if result.best else None,
        "program": result.best.annotation if result.best else None,
        "failures": dict(result.failures),
        "rejections": dict(result.rejections.most_common()),
    }
    if arguments.json:
        print(json.dumps(line))
        return
    best = f"{result.best_seconds * 1e6:.1f} us, {result.gflops:.1f} GFLOP/s" if result.best else "no correct program"
    print(f"{arguments.workload}: {best} after {result.trials} trials ({result.stopped}), seed {arguments.seed}")
    print(f"machine: {line['machine']}; threads: {result.task.threads}")
    if result.best:
        print(f"program: {result.best}")
    for title, counts in (("failed", result.failures), ("dropped before measuring", result.rejections)):
        for reason, count in counts.most_common(5):
            print(f"{title}: {count} x {reason}")
    if result.best and debug.shows(1):
        debug.say(1, str(result.best.lower()))


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = parser().parse_args(argv)
    command = run_sketches if arguments.command == "sketches" else run_tune
    return exit_status(lambda: command(arguments), (ValueError, OSError, CompilerNotFound))


if __name__ == "__main__":
    sys.exit(main())
