"""Whole networks, batch 1: compiled by us, against ONNX Runtime and PyTorch on the same ONNX graph.

    python -m tests.benchmarks.networks [--quick] [--networks NAME ...] [--threads N ...] [--json FILE]

Our kernels are those in `results/networks-records.jsonl.gz` that were chosen by their time in the network, in the form
of it that was faster (`record_networks` tunes, chooses and records; what has no record runs under its default schedule,
and is counted). Where Winograd's definition of convolutions, which rounds otherwise, was tuned and is faster, the
network runs with it as well, in columns of its own. PyTorch runs eagerly, in both orders of channels, and under
`torch.compile` with frozen weights. All take turns, every library in a process of its own; times are medians, and the
peer that counts is the fastest. The error is our largest difference from ONNX Runtime in any output, relative to the
largest magnitude in that output. "Limit" is what the ratio would be at the machine's limits, the network's
multiply-adds or the reading of its weights, measured before.

`--quick` compares two small networks, without `torch.compile`, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.network import assemble
from ansor_mini.partition import Subgraph, partition
from ansor_mini.recorded_kernels import recorded_best, recorded_nests
from ansor_mini.records import read_records
from runtime import executor
from runtime.command_line import Parser
from runtime.graph import Graph
from runtime.machine import detect
from taso_mini.compile_model import relative_error
from taso_mini.load_model import sample_inputs
from taso_mini.models import NETWORKS
from tests.benchmarks.command import main
from tests.benchmarks.limits import Limits
from tests.benchmarks.network_cases import (
    ALL,
    AS_GIVEN,
    RECORDS,
    WINOGRAD,
    Model,
    available,
    by_layer,
    chosen,
    everywhere,
    forms,
    opened,
)
from tests.benchmarks.network_finals import nests_of
from tests.benchmarks.network_rows import HEAD, Built, print_row, row_of, summary
from tests.benchmarks.network_runs import RUNS, Run, read_runs
from tests.benchmarks.network_worker import OURS_WINOGRAD, numbered, save_numbered
from tests.benchmarks.operator_worker import OURS
from tests.benchmarks.turns import SETTLE, Worker

THREADS = (1, 2)
QUICK = ("squeezenet", "dcgan")
ROUNDS = 9
SLOW_SECONDS, SLOW_ROUNDS = 0.5, 5  # of a network
PEERS = ("onnxruntime", "torch")
REFERENCE = "onnxruntime"


def compile_recorded(graph: Graph, threads: int, run: Run | None, folder: Path, winograd: bool = False) -> Built:
    """Compile a network with the recorded kernels chosen for it, in the form that was fastest, into a folder."""
    started = time.perf_counter()
    name = run.fastest(winograd) if run is not None else AS_GIVEN
    found = forms(graph)
    extra = everywhere(found) if name == WINOGRAD else None
    if extra is not None:
        every = [*partition(list(found.values())[-1]), *partition(extra)]
        alone = {key: record.cost for key, record in recorded_best(every, RECORDS, threads).items()}
        found |= by_layer(found, alone)
    form = found.get(name, found[AS_GIVEN])
    parts = partition(form)
    known = recorded_nests(parts, RECORDS, threads) if RECORDS.exists() else {}
    network = assemble(form, parts, nests_of(parts, known, threads), threads=threads)
    executor.build(network, folder, threads=threads)
    seconds = time.perf_counter() - started
    kernels = {part.key for part in parts if part.kind == "compute"}
    tuned = set(recorded_best(parts, RECORDS, threads)) if RECORDS.exists() else set()
    return Built(name, len(kernels), len(kernels - tuned), seconds)


def tuned_trials(graph: Graph, threads: int) -> float:
    """Different programs measured for each kernel of a network on average, for so many threads."""
    from ansor_mini.operators import declare

    parts: dict[str, Subgraph] = {}
    for form in forms(graph).values():
        parts |= {part.key: part for part in partition(form) if part.kind == "compute"}
    keys = {declare(part.fragment).key() for part in parts.values()}
    records = read_records(RECORDS) if RECORDS.exists() else []
    different = {
        (r.task, r.steps, tuple(sorted(r.annotation.items())))
        for r in records
        if r.threads == threads and r.task in keys
    }
    return len(different) / max(1, len(keys))


def compare(
    model: Model, folders: Mapping[str, Path], folder: Path, threads: int, quick: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of all programs of a network, medians over rounds; and the errors of ours.

    folders: of our compiled networks, by the names of their programs. folder: for files on the way.
    """
    feeds = list(sample_inputs(model.graph, 0).values())
    save_numbered(folder / "feeds.npz", feeds)
    libraries = [*folders, *(name for name in PEERS if find_spec(name) is not None)]
    with ExitStack() as stack:
        programs: dict[str, Worker] = {}
        workers = [stack.enter_context(Worker(library, threads, "network_worker", ())) for library in libraries]
        for library, worker in zip(libraries, workers):
            path = folders.get(library, model.path)
            answer = worker.ask(load=str(path), feeds=str(folder / "feeds.npz"), slow=not quick)
            programs |= dict.fromkeys(answer["programs"], worker)
        seconds = _turns(programs, threads, quick)
        return seconds, _errors(programs, list(folders), list(model.graph.outputs), folder)


def _turns(programs: Mapping[str, Worker], threads: int, quick: bool) -> dict[str, float]:
    length = {"seconds": 0.05 if quick else 0.2, "warm": 0.02, "calls": 1 if quick else 2}
    turns: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    for start in range(3 if quick else ROUNDS):
        if start >= SLOW_ROUNDS and turns[OURS][0] > SLOW_SECONDS:
            break
        for name in names[start % len(names) :] + names[: start % len(names)]:
            turns[name].append(programs[name].ask(turn=name, **length)["seconds"])
            time.sleep(SETTLE.get(programs[name].library, SETTLE[OURS]) if threads > 1 else 0.0)
    return {name: statistics.median(times) for name, times in turns.items()}


def _errors(
    programs: Mapping[str, Worker], own: Sequence[str], outputs: Sequence[str], folder: Path
) -> dict[str, float]:
    """Of our outputs against ONNX Runtime's, or the last peer's without it; nothing to compare is an error of 0."""
    reference = REFERENCE if REFERENCE in programs else list(programs)[-1]
    answers: dict[str, dict[str, np.ndarray]] = {}
    for name in dict.fromkeys((*own, reference)):
        file = folder / f"answer{len(answers)}.npz"
        programs[name].ask(answer=name, file=str(file))
        answers[name] = dict(zip(outputs, numbered(str(file)), strict=True))
    return {name: relative_error(answers[name], answers[reference]) for name in own}


def least_seconds(graph: Graph, limits: Limits) -> float:
    """The time of a network at the machine's limits: its multiply-adds, or reading its weights where that takes longer.

    Taps on padding count, though nobody needs to execute them; they are a few per cent.
    """
    weights = sum(array.nbytes for array in graph.weights.values())
    return max(graph.flops / limits.gflops, weights / limits.gigabytes(weights)) * 1e-9


def one_network(name: str, limits: Limits, quick: bool, runs: Mapping[tuple[str, int], Run]) -> dict[str, Any]:
    """Compile a network for as many threads as the limits are of, and compare it."""
    threads = limits.threads
    run = runs.get((name, threads))
    with opened(name) as model, tempfile.TemporaryDirectory(prefix="mini-compilers-networks-") as scratch:
        folder = Path(scratch)
        folders = {OURS: folder / "ours"}
        built = compile_recorded(model.graph, threads, run, folders[OURS])
        if run is not None and run.fastest(winograd=True) == WINOGRAD:
            folders[OURS_WINOGRAD] = folder / "winograd"
            compile_recorded(model.graph, threads, run, folders[OURS_WINOGRAD], winograd=True)
        seconds, errors = compare(model, folders, folder, threads, quick)
        least = least_seconds(model.graph, limits)
        return row_of(seconds, errors, built, run, tuned_trials(model.graph, threads), least)


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier result of this benchmark.  Raises: ValueError: it comes from another machine."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["machine"] != detect().line:
        raise ValueError(f"--add: expected a result of this machine ({detect().line}), got one of {result['machine']}")
    return result["networks"]


def networks(quick: bool, options: argparse.Namespace) -> dict[str, Any]:
    """All networks with each number of threads."""
    names = chosen(options.networks or (QUICK if quick else ["all"]))
    runs, figures = read_runs(RUNS), {}
    rows = rows_of(options.add) if options.add is not None else {}
    for threads in options.threads:
        limits = Limits(threads)
        plural = "s" if threads > 1 else ""
        print(f"\n{threads} thread{plural}, multiply-add limit {limits.gflops:.1f} GFLOP/s\n{HEAD}", flush=True)
        for name in names:
            if not available(name):
                print(f"{name:20} the package that it comes from is not installed")
                continue
            row = rows.get(name, {}).get(f"{threads}t") or one_network(name, limits, quick, runs)
            rows.setdefault(name, {})[f"{threads}t"] = row
            print_row(name, row)
        for group, members in (("", NETWORKS), ("light_", [name for name in ALL if name not in NETWORKS])):
            own = [rows[name][f"{threads}t"] for name in members if f"{threads}t" in rows.get(name, {})]
            if own:
                figures |= summary(own, group, f"{threads}t")
    return {**figures, "networks": rows}


def add_arguments(parser: Parser) -> None:
    """What this benchmark can be told besides."""
    names = f"papers, light, all, or some of {', '.join(ALL)}"
    parser.add_argument("--networks", nargs="+", metavar="NAME", help=f"{names} (default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), help="numbers of threads")
    add = (
        "keep the rows of an earlier result of this machine and measure what is missing, so that sittings can be short"
    )
    parser.add_argument("--add", type=Path, metavar="FILE", help=add)


if __name__ == "__main__":
    sys.exit(main("networks", networks, __doc__ or "", add_arguments))
