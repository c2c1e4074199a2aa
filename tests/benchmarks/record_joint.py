"""Search five networks in four ways and keep what was found: what the benchmark `joint` reports and builds again.

    python -m tests.benchmarks.record_joint --networks squeezenet nasrnn --trials-per-task 32 --threads 1

All ways have the same budget, so many trials for each task of the graph as given, and nothing in common: each prices
and measures what it needs itself, and its search seconds count that. They are one and the same search with other
options: "Ansor alone" tunes the one graph as given; "TASO, then Ansor" the one graph that prices of default schedules
choose; "joint" proposes, tunes what decides, and proposes again. "neither" runs default schedules.

Of each way's programs those stay that take least time in the network. Stopping at any moment keeps what was measured;
starting again goes on, and `--again` chooses programs for networks that were recorded before they were chosen so. A
network is done when all four are built, agree with NumPy and have been timed in turns; then it goes into
`results/joint-runs.jsonl.gz`.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from runtime import executor
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import cache_directory
from runtime.graph import Graph
from runtime.machine import detect
from runtime.timing import interleaved
from taso_mini.ansor_backend import MeasuredKernels
from taso_mini.compile_model import TOLERANCE, relative_error
from taso_mini.costs import MeasuredCost
from taso_mini.derived_rules import completed
from taso_mini.joint.alternatives import Alternative
from taso_mini.joint.finals import Joined
from taso_mini.joint.search import JointOptions, JointSearch
from taso_mini.joint.store import Store
from taso_mini.load_model import sample_inputs
from taso_mini.models import MODELS
from taso_mini.optimizer import optimize
from taso_mini.rules_text import load_rules
from tests.benchmarks.joint_runs import (
    ANSOR,
    JOINT,
    NEITHER,
    RUNS,
    SEQUENTIAL,
    VARIANTS,
    Run,
    items_of,
    lines_of,
    read_runs,
    rebuilt,
    records_of,
    write_runs,
)

NETWORKS = ("squeezenet", "nasrnn", "resnext50", "bert", "nasnet_a")
WAYS: Mapping[str, JointOptions] = {
    NEITHER: JointOptions(trials=0, proposals=("as given",), rounds=1, finalists=1),
    ANSOR: JointOptions(trials=0, proposals=("as given",), rounds=1, finalists=1),
    SEQUENTIAL: JointOptions(trials=0, proposals=("by default schedules",), rounds=1, finalists=1),
    JOINT: JointOptions(trials=0),
}
TIMING_ROUNDS = 15


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


class Clock:
    """Seconds that a search has taken, all sittings together; kept in a file, up to the last line it logged."""

    def __init__(self, path: Path) -> None:
        """Go on from what the file says."""
        self.path, self.start = path, time.monotonic()
        self.before = float(path.read_text(encoding="utf-8")) if path.exists() else 0.0

    def read(self) -> float:
        """The seconds so far, which are written down."""
        seconds = round(self.before + time.monotonic() - self.start, 1)
        self.path.write_text(str(seconds), encoding="utf-8")
        return seconds


def task_count(graph: Graph) -> int:
    """Distinct kernels of the graph as given."""
    return sum(part.kind == "compute" for part in {p.key: p for p in Alternative("", graph).parts}.values())


def searched(name: str, graph: Graph, variant: str, folder: Path, options: Namespace) -> tuple[Run, Joined]:
    """Search one network one way, going on from what is in the folder."""
    machine, tasks = detect(), task_count(graph)
    stem = f"{name}-{variant.replace(', ', '-').replace(' ', '-')}-{options.threads}"
    trials = 0 if variant == NEITHER else options.trials_per_task * tasks
    clock = Clock(folder / f"{stem}-seconds.txt")

    def log(line: str) -> None:
        clock.read()
        say(f"{name}, {variant}: {line}")

    with (
        MeasuredKernels(machine, options.threads, channels_last=False) as kernels,
        Store(folder / f"{stem}.jsonl", machine=machine, threads=options.threads) as store,
    ):
        defaults = MeasuredCost(kernels, folder / f"{stem}-operators.jsonl", machine.line)
        chosen = replace(WAYS[variant], trials=trials, search=partial(optimize, budget=options.expansions))
        search = JointSearch(
            graph, completed(load_rules()), machine, store, defaults, chosen,
            log, trials=store.total,
        )  # fmt: skip
        found = search.run()
        if found.stopped == "interrupted":
            raise KeyboardInterrupt
        bill = found.bills[found.chosen.name]
        run = Run(
            network=name, variant=variant, threads=options.threads, machine=machine.line,
            trials_per_task=options.trials_per_task, tasks=tasks, trials=store.total,
            seconds=clock.read(), chosen=found.chosen.name,
            graph=str(found.chosen.graph), rewrites=dict(Counter(step.rule for step in found.chosen.steps)),
            bill=items_of(bill), records=records_of(bill, store), timed=dict(found.timed),
            prediction_error=found.prediction_error, choice=lines_of(found.choice),
        )  # fmt: skip
    return run, found


def record(name: str, options: Namespace) -> list[Run]:
    """All ways of one network, built, checked and timed."""
    graph = MODELS[name](np.random.default_rng(0)).fold_constants()
    folder = options.folder
    runs, graphs = {}, {}
    for variant in VARIANTS:
        runs[variant], found = searched(name, graph, variant, folder, options)
        graphs[variant] = found.chosen.graph
        say(f"{name}, {variant}: {runs[variant].trials} trials, {runs[variant].seconds:.0f} s; {found}")
    feeds = sample_inputs(graph)
    wanted = graph.evaluate(feeds)
    built, errors = {}, {}
    for variant, run in runs.items():
        network, _ = rebuilt(run, graphs.pop(variant))
        built[variant] = executor.build(network, threads=options.threads)
        errors[variant] = relative_error(built[variant].run(**feeds), wanted)
        if not errors[variant] <= TOLERANCE:
            raise ValueError(f"{name}, {variant}: differs from NumPy by {errors[variant]:.1e}")
    programs = {variant: network.bind(feeds) for variant, network in built.items()}
    latency = interleaved(programs, rounds=TIMING_ROUNDS)
    for variant, seconds in latency.items():
        say(f"{name}, {variant}: {seconds * 1e3:.3f} ms, error {errors[variant]:.1e}")
    return [replace(run, latency=latency[v], error=float(f"{errors[v]:.3g}")) for v, run in runs.items()]


def main() -> int:
    """Record what has not been recorded yet."""
    command = "python -m tests.benchmarks.record_joint"
    parser = Parser(prog=command, description=__doc__ or "", example=f"{command} --networks squeezenet")
    parser.add_argument("--networks", nargs="+", choices=sorted(MODELS), default=NETWORKS, metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials-per-task", type=int, default=32)
    parser.add_argument("--expansions", type=int, default=50, help="graphs that a search expands in each block")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="start no network after this")
    parser.add_argument("--folder", type=Path, default=cache_directory() / "joint", help="where unfinished work is")
    parser.add_argument("--out", type=Path, default=RUNS, help="the file of finished runs")
    parser.add_argument("--again", action="store_true", help="also networks that are recorded already")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    def run() -> int:
        start = time.monotonic()
        for name in options.networks:
            known = read_runs(options.out)
            if not options.again and all((name, variant, options.threads) in known for variant in VARIANTS):
                continue
            if time.monotonic() - start > options.budget_seconds:
                break
            known.update((found.key, found) for found in record(name, options))
            write_runs(known.values(), options.out)
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
