"""Graph and loops searched together, against one after the other, against loops alone, against neither.

Five networks, four ways, one budget of trials (`record_joint` says how). A full run searches the networks that have no
recorded runs, then builds every way's graph from its best programs and times the four in turns; `--quick` does that for
the two smallest networks, and repeats recorded latencies for the others. Kernels are compared with NumPy before they
are timed. The last table explains one network by its kernels: what joint and TASO-then-Ansor run, side by side.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import executor
from runtime.command_line import Parser
from runtime.compile_c import cache_directory
from runtime.timing import interleaved
from taso_mini.compile_model import TOLERANCE, relative_error
from taso_mini.load_model import sample_inputs
from tests.benchmarks.command import main
from tests.benchmarks.joint_runs import JOINT, RUNS, SEQUENTIAL, VARIANTS, Run, drawn, read_runs, rebuilt
from tests.benchmarks.record_joint import NETWORKS, record

QUICK = ("squeezenet", "nasrnn")
NOISE = 0.03  # of a latency, between two recordings
ROUNDS = 11
Runs = Mapping[str, Run]  # by variant


def add_arguments(parser: Parser) -> None:
    """Declare what a full run may be told."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials-per-task", type=int, default=32, help="of networks without recorded runs")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the recorded runs")


def latencies(runs: Runs) -> tuple[dict[str, float], int]:
    """Seconds per inference of every way, built from its recorded programs and taken in turns; kernels without one."""
    programs, missing, kept = {}, 0, []
    for variant, run in runs.items():
        graph = drawn(run.graph)
        feeds = sample_inputs(graph)
        network, absent = rebuilt(run, graph)
        built = executor.build(network, threads=run.threads)
        error = relative_error(built.run(**feeds), graph.evaluate(feeds))
        if not error <= TOLERANCE:
            raise ValueError(f"{run.network}, {variant}: differs from NumPy by {error:.1e}")
        programs[variant] = built.bind(feeds)
        kept.append(built)
        missing += absent
    return interleaved(programs, rounds=ROUNDS), missing


def figures(runs: Runs, seconds: Mapping[str, float | None], timed: bool) -> dict[str, Any]:
    """What is reported of one network; milliseconds but for the search."""
    ours = seconds[JOINT]
    return {
        "ms": {v: None if s is None else round(s * 1e3, 4) for v, s in seconds.items()},
        "joint_speedup": {v: None if s is None or ours is None else round(s / ours, 3) for v, s in seconds.items()},
        "search_seconds": {v: run.seconds for v, run in runs.items()},
        "trials": {v: run.trials for v, run in runs.items()},
        "trials_per_task": runs[JOINT].trials_per_task,
        "chosen": runs[JOINT].chosen,
        "same_graph_as_sequential": _kernels(runs[JOINT]) == _kernels(runs[SEQUENTIAL]),
        "max_relative_error": max(run.error or 0.0 for run in runs.values()),
        "prediction_error": runs[JOINT].prediction_error,
        "timed_now": timed,
    }


def row(name: str, found: Mapping[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{found['ms'][v] or 0:12.3f}" for v in VARIANTS]
    cells += [f"{found['search_seconds'][v]:9.0f}" for v in VARIANTS[1:]]
    return f"{name:12}{''.join(cells)}  {'' if found['timed_now'] else '(recorded)'}"


def _kernels(run: Run) -> Counter[str]:
    return Counter({label: times for label, times, _, _ in run.bill})


def explain(runs: Runs, count: int = 12) -> str:
    """The kernels that joint and TASO-then-Ansor do not share, those that take longest first; microseconds."""
    lines = [f"\n{runs[JOINT].network}: kernels that only one of the two graphs runs, or that differ most, us"]
    totals: dict[str, dict[str, tuple[int, float, str]]] = {}
    for variant in (SEQUENTIAL, JOINT):
        for label, times, seconds, source in runs[variant].bill:
            before = totals.setdefault(label, {}).get(variant, (0, 0.0, source))
            totals[label][variant] = (before[0] + times, before[1] + times * seconds, source)
    nothing = (0, 0.0, "-")

    def difference(label: str) -> float:
        return abs(totals[label].get(JOINT, nothing)[1] - totals[label].get(SEQUENTIAL, nothing)[1])

    width = max(map(len, totals))
    lines.append(f"{'':{width}} {SEQUENTIAL:>32} {JOINT:>32}")
    for label in sorted(totals, key=difference, reverse=True)[:count]:
        cells = [totals[label].get(variant, nothing) for variant in (SEQUENTIAL, JOINT)]
        shown = [
            f"{times:4} x {seconds * 1e6:10.1f} {source:>12}" if times else "-" for times, seconds, source in cells
        ]
        lines.append(f"{label:{width}} {shown[0]:>32} {shown[1]:>32}")
    return "\n".join(lines)


def runs_of(networks: Sequence[str], quick: bool, options: Namespace) -> dict[str, Runs]:
    """The recorded runs of the networks that have all; a full run searches the others first."""
    known = read_runs(options.runs)
    found: dict[str, Runs] = {}
    for name in networks:
        keys = [(name, variant, options.threads) for variant in VARIANTS]
        if not quick and not all(key in known for key in keys):
            folder = cache_directory() / "joint"
            folder.mkdir(parents=True, exist_ok=True)
            settings = Namespace(**vars(options), folder=folder, expansions=50)
            known.update((run.key, run) for run in record(name, settings))
        if all(key in known for key in keys):
            found[name] = {variant: known[name, variant, options.threads] for variant in VARIANTS}
    return found


def run(quick: bool, options: Namespace) -> dict[str, Any]:
    """All networks; the explanation is of the one that joint gains most on."""
    heads = "".join(f"{variant if variant != SEQUENTIAL else 'TASO, Ansor':>12}" for variant in VARIANTS)
    print(f"{'':12}{'latency, ms':>12}{'':36}{'search, s':>9}")
    print(f"{'':12}{heads}{'Ansor':>9}{'T, A':>9}{'joint':>9}")
    models: dict[str, Any] = {}
    missing = 0
    found = runs_of(options.networks, quick, options)
    for name, runs in found.items():
        timed = not quick or name in QUICK
        seconds: Mapping[str, float | None] = {v: one.latency for v, one in runs.items()}
        if timed:
            seconds, absent = latencies(runs)
            missing += absent
        models[name] = figures(runs, seconds, timed)
        print(row(name, models[name]), flush=True)
    if not models:
        print("nothing is recorded yet: python -m tests.benchmarks.record_joint")
        return {"unit": "ms", "joint": {}, "at_least_as_fast": 0, "strictly_better": 0, "kernels_without_records": 0}
    gains = {name: model["joint_speedup"][SEQUENTIAL] or 0.0 for name, model in models.items()}
    print(explain(found[max(gains, key=gains.__getitem__)]))
    others = [[model["joint_speedup"][v] or 0.0 for v in VARIANTS[:-1]] for model in models.values()]
    return {
        "unit": "ms",
        "joint": models,
        "at_least_as_fast": sum(min(ratios) >= 1 - NOISE for ratios in others),
        "strictly_better": sum(min(ratios) > 1 + NOISE for ratios in others),
        "kernels_without_records": missing,
    }


if __name__ == "__main__":
    sys.exit(main("joint", run, __doc__ or "", add_arguments))
