"""`train`: fit the cost model to recorded programs, and say how well it orders programs that it has not seen.

Paper: Ansor §5.2

1. Hold out a share of the programs at random, fit the model to the others, and compare its scores with the times of
   those held out, task by task.
2. Fit it to all programs, and write it with its data, so that `tune --model FILE` starts from there.
"""

from __future__ import annotations

import time
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
    workload_text,
)
from ansor_mini.learned_model import LearnedModel
from ansor_mini.measured_programs import measured_programs
from ansor_mini.ranking import pairwise_accuracy, recall_at
from ansor_mini.records import Record
from ansor_mini.sketch import Program
from runtime.command_line import DONE, Command
from runtime.machine import detect

FEWEST = 10  # programs of a task that are held out, or none is
Measured = dict[Program, float]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("records", type=Path, nargs="+", help="record files")
    add_selection(parser)
    parser.add_argument("--out", type=Path, help="write the model to this file (.npz)")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of programs to test with (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Train, test, train on everything, write."""
    if not 0 <= arguments.held_out < 1:
        raise ValueError(f"--held-out must be at least 0 and below 1, got {arguments.held_out}")
    groups = by_task(choose(arguments.records, arguments))
    if len({threads for _, threads in groups}) > 1:
        raise ValueError("the records are of programs for several numbers of threads; choose one with --threads")
    programs = Programs(workload_text(arguments.workload, arguments.batch))
    tasks = {task: _measured(records, programs) for (task, _), records in groups.items()}
    rng = np.random.default_rng(arguments.seed)
    rows = _test(tasks, arguments.held_out, rng)
    start = time.perf_counter()
    model = _fitted(list(tasks.values()), rng)
    seconds = time.perf_counter() - start
    if arguments.out is not None:
        model.save(arguments.out)
    _report(arguments, rows, len(model.data), seconds)
    return DONE


def _measured(records: list[Record], programs: Programs) -> Measured:
    """The programs of one task with their seconds."""
    return measured_programs(records, programs.dag(records[0]), programs.sketches(records[0]))


def _fitted(tasks: list[Measured], rng: np.random.Generator) -> LearnedModel:
    model = LearnedModel(rng, machine=detect(), warmup=1 << 62)
    for measured in tasks:
        model.update(list(measured), list(measured.values()))
    if not len(model.data):
        raise ValueError("none of the recorded programs can be lowered")
    model.train()
    return model


def _test(tasks: dict[str, Measured], share: float, rng: np.random.Generator) -> list[tuple[str, int, float, float]]:
    """For each task with enough programs held out: their number, pairwise accuracy, recall of the best tenth."""
    kept: list[Measured] = []
    held: dict[str, Measured] = {}
    for task, measured in tasks.items():
        count = int(share * len(measured))
        out = set(rng.permutation(len(measured))[:count].tolist()) if count >= FEWEST else set()
        items = list(enumerate(measured.items()))
        kept.append(dict(item for number, item in items if number not in out))
        if out:
            held[task] = dict(item for number, item in items if number in out)
    if not held:
        return []
    model = _fitted(kept, rng)
    rows = []
    for task, measured in held.items():
        scores, labels = model.predict(list(measured)), 1 / np.array(list(measured.values()))
        best = max(1, len(labels) // 10)
        rows.append((task, len(labels), pairwise_accuracy(scores, labels), recall_at(best, scores, labels)))
    return rows


def _report(arguments: Namespace, rows: list[tuple[str, int, float, float]], programs: int, seconds: float) -> None:
    accuracy = float(np.mean([row[2] for row in rows])) if rows else None
    if arguments.json:
        for task, count, right, found in rows:
            say_json({"task": task, "held_out": count, "pairwise_accuracy": right, "recall_of_best_tenth": found})
        say_json({"programs": programs, "train_seconds": seconds, "pairwise_accuracy": accuracy})
        return
    if rows:
        cells = [(task, str(count), f"{right:.3f}", f"{found:.2f}") for task, count, right, found in rows]
        print(table(("task", "held out", "pairwise accuracy", "recall of best tenth"), cells))
    else:
        print(f"no task has {FEWEST} programs to hold out, so the model was not tested")
    print(
        f"{programs} programs, trained in {seconds:.2f} s" + (f", written to {arguments.out}" if arguments.out else "")
    )


COMMAND = Command(
    "train",
    "fit the cost model to recorded programs and test it",
    "python -m ansor_mini train records.jsonl --out model.npz",
    add_arguments,
    run,
)
