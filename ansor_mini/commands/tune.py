"""`tune`: search for a fast program of one workload, measure on the way, keep a record of everything measured.

Paper: Ansor §3
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from ansor_mini.ablations import FULL, STRATEGIES, strategy
from ansor_mini.commands.base import (
    add_json,
    add_workload,
    say_json,
    workload_constants,
    workload_dag,
    workload_text,
)
from ansor_mini.commands.measuring import add_measuring, measuring_options
from ansor_mini.commands.models import MODELS, named_model
from ansor_mini.commands.progress import Shown
from ansor_mini.commands.targets import add_target, chosen_target, open_measurer
from ansor_mini.curve import draw_curves, save_plot, time_text
from ansor_mini.records import MEASURED, MODEL, REHEARSED, RecordFile, read_records, versions
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import Target
from ansor_mini.task import TuneResult
from ansor_mini.tuner import Task, tune
from runtime import debug
from runtime.command_line import DONE, INTERRUPTED, NOTHING_FOUND, Command

NOT_MEASURED = {MODEL: " (says a model; nothing was measured)", REHEARSED: " (on a stand-in; nothing was measured)"}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_workload(parser)
    parser.add_argument("--trials", type=int, default=64, help="programs to measure, resumed ones included")
    parser.add_argument("--budget-seconds", type=float, default=math.inf, help="stop after this long")
    parser.add_argument("--threads", type=int, default=1, help="cores that a program may use (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--out", type=Path, help="append a record per measured program to this file")
    parser.add_argument("--resume", action="store_true", help="count what --out already holds, and go on from there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save the curve of the best so far as a picture")
    parser.add_argument("--quiet", action="store_true", help="no progress and no curve")
    parser.add_argument("--strategy", default=FULL.name, choices=[s.name for s in STRATEGIES], help="how to search")
    parser.add_argument("--model", help=f"cost model: {', '.join(MODELS)}, or a file that `train` has written")
    add_target(parser)
    add_measuring(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Tune a workload and print what was found."""
    text = workload_text(arguments.workload, arguments.batch)
    dag = workload_dag(text)
    if arguments.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {arguments.threads}")
    if arguments.resume and arguments.out is None:
        raise ValueError("--resume needs --out FILE, the records to resume from")
    options = measuring_options(arguments) | {"threads": arguments.threads}
    target = chosen_target(arguments)
    search = np.random.default_rng(arguments.seed)
    model = named_model(arguments.model, search, arguments.threads) if arguments.model else None
    earlier = read_records(arguments.out) if arguments.resume and arguments.out.is_file() else []
    constants = workload_constants(text)
    task = Task(dag.key(), dag, threads=arguments.threads, constants=constants)
    with ExitStack() as stack:
        records = stack.enter_context(RecordFile(arguments.out, workload=text)) if arguments.out else None
        rng = np.random.default_rng(arguments.seed)
        measurer = stack.enter_context(open_measurer(arguments, target, dag, rng, constants, options))
        observer = stack.enter_context(Shown(arguments.trials, arguments.quiet or arguments.json))
        result = tune(
            task,
            trials=arguments.trials,
            budget_seconds=arguments.budget_seconds,
            rng=search,
            measurer=measurer,
            records=records,
            resume=earlier,
            # The cores' searches begin with random programs, as the paper's; on a GPU many of them cannot be launched.
            seeds=[Program(Sketch(dag, target.default(dag)))] if target.name == "cuda" else [],
            model=model,
            machine=target.device,
            options=replace(target.options, strategy=strategy(arguments.strategy)),
            observer=observer,
        )
    report(arguments, text, result, target, getattr(measurer, "source", MEASURED))
    if arguments.plot is not None and result.best:
        path = save_plot(arguments.plot, {f"seed {arguments.seed}": result.curve}, result.trials, title=text)
        if not arguments.json:
            print(f"curve: {path}")
    return INTERRUPTED if result.stopped == "interrupted" else DONE if result.best else NOTHING_FOUND


def report(arguments: Namespace, text: str, result: TuneResult, target: Target, source: str) -> None:
    """Print a result for people or for machines; what a model says is called that."""
    if arguments.json:
        say_json(
            {
                "workload": text,
                "seed": arguments.seed,
                "target": target.name,
                "source": source,
                "machine": target.device.line,
                "versions": versions(),
                "threads": result.task.threads,
                "trials": result.trials,
                "stopped": result.stopped,
                "seconds": result.best_seconds if result.best else None,
                "gflops": round(result.gflops, 2) if result.best else None,
                "program": result.best.annotation if result.best else None,
                "curve": result.curve,
                "failures": dict(result.failures),
                "rejections": dict(result.rejections.most_common()),
            }
        )
        return
    best = f"{time_text(result.best_seconds)}, {result.gflops:.1f} GFLOP/s" if result.best else "no correct program"
    best += NOT_MEASURED.get(source, "")
    print(f"{text}: {best} after {result.trials} trials ({result.stopped}), seed {arguments.seed}")
    print(f"{'machine' if target.name == 'cpu' else 'GPU'}: {target.device.line}; threads: {result.task.threads}")
    if result.best:
        print(f"program: {result.best}")
    for title, counts in (("failed", result.failures), ("dropped before measuring", result.rejections)):
        for reason, count in counts.most_common(5):
            print(f"{title}: {count} x {reason}")
    if result.best and not arguments.quiet and arguments.plot is None and len(result.curve) > 1:
        print(draw_curves({"best so far": result.curve}, result.trials))
    if result.best and debug.shows(1):
        debug.say(1, str(result.best.lower()))


COMMAND = Command(
    "tune",
    "search for a fast program and measure",
    "python -m ansor_mini tune matmul:512,512,512 --trials 100 --out records.jsonl",
    add_arguments,
    run,
)
