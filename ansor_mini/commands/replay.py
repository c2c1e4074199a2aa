"""`replay`: build recorded programs again, check them again, and measure them on this machine.

Paper: Ansor §3
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

from ansor_mini.commands.base import (
    Programs,
    add_json,
    add_selection,
    by_task,
    choose,
    say_json,
    table,
    workload_constants,
    workload_text,
)
from ansor_mini.commands.measuring import add_measuring, measuring_options
from ansor_mini.curve import time_text
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.records import MEASURED, OK, Record
from runtime.command_line import DONE, NOTHING_FOUND, Command
from runtime.compile_c import find_compiler
from runtime.machine import detect
from runtime.measure_case import MeasureResult


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("records", type=Path, nargs="+", help="record files")
    add_selection(parser)
    parser.add_argument("--top", type=int, default=1, help="how many of the fastest programs of each task (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default: 0)")
    add_measuring(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Measure the best recorded programs; status 1 when one of them does not run or answers wrongly."""
    if arguments.top < 1:
        raise ValueError(f"--top must be at least 1, got {arguments.top}")
    if arguments.source != MEASURED:
        raise ValueError(f"--source must be {MEASURED}: programs are run here, and a GPU's are not")
    options = measuring_options(arguments)
    find_compiler()
    programs = Programs(workload_text(arguments.workload, arguments.batch))
    groups = by_task(choose(arguments.records, arguments))
    rows, good = [], True
    for (task, threads), records in groups.items():
        chosen = fastest(records, arguments.top)
        for record, result in zip(chosen, measure_again(chosen, programs, arguments.seed, options)):
            good &= result.ok
            if arguments.json:
                now = {"kind": result.kind, "seconds": result.cost if result.ok else None, "reason": result.reason}
                say_json({"task": task, "threads": threads, "recorded": record.cost, **now})
            ratio = f"{record.cost / result.cost:.3f}" if result.ok else result.kind
            rows.append((task, str(threads), time_text(record.cost), time_text(result.cost), ratio))
    if not arguments.json:
        print(f"machine: {detect().line}")
        print(table(("task", "threads", "recorded", "now", "speedup"), rows))
    return DONE if rows and good else NOTHING_FOUND


def fastest(records: list[Record], count: int) -> list[Record]:
    """The fastest correct records of different programs."""
    found: dict[tuple[object, ...], Record] = {}
    for record in sorted((record for record in records if record.kind == OK), key=lambda record: record.cost):
        found.setdefault((record.steps, *sorted(record.annotation.items())), record)
    return list(found.values())[:count]


def measure_again(records: list[Record], programs: Programs, seed: int, options: dict) -> list[MeasureResult]:
    """Measure records of one task and thread count."""
    if not records:
        return []
    dag, text = programs.dag(records[0]), programs.name(records[0])
    nests = [programs(record).lower() for record in records]
    results: dict[int, MeasureResult] = {}
    with LocalMeasurer(
        dag,
        threads=records[0].threads,
        rng=np.random.default_rng(seed),
        constants=workload_constants(text),
        **options,
    ) as measurer:
        measurer(nests, results.__setitem__)
    return [results[number] for number in range(len(records))]


COMMAND = Command(
    "replay",
    "build, check and measure recorded programs again",
    "python -m ansor_mini replay records.jsonl --top 3",
    add_arguments,
    run,
)
