"""The paper's ten operators, four shapes each, batch 1: tuned kernels against NumPy, PyTorch and ONNX Runtime.

Paper: Ansor §7.1

Each case is timed with one thread and with two, our kernel and all peers in turns, every library in a process of its
own (`operator_worker` says why), on the same core when there is one thread. All cases have their rounds twice, minutes
apart (with `--quick` once), and medians are taken over the calmer half (`turns` says why). The peer that counts is the
fastest. The order of channels is free for all: our programs of C2D and DEP may compute the definition over NCHW16c, and
PyTorch's may have what oneDNN prefers.

Beside each case stands its share of what the machine can do: of the multiply-adds of its cores, counting only those
that are executed (padding is skipped), or of its memory's bytes; and the ratio that a kernel at that limit would have,
since no search can find more where a peer is near it already.

`--quick` takes the programs in `results/operators-records.jsonl.gz`; a full run tunes every case first
(`python -m tests.benchmarks.tune_operators` does that alone, and goes on where it stopped). `--recorded` takes the
recorded programs too, but measures at length.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.record import Record
from ansor_mini.records import read_records
from runtime.command_line import Parser
from runtime.compile_c import build_library
from runtime.emit_c import emit_library
from runtime.machine import usable_cores
from tests.benchmarks.command import main
from tests.benchmarks.operator_cases import OPERATORS, Case, Suite
from tests.benchmarks.operator_peers import LIBRARIES
from tests.benchmarks.operator_worker import OURS, best_kernels, inputs_of
from tests.benchmarks.turns import SETTLE, SPREAD, Worker, ask_all, calm_medians, on_all_cores, on_one_core

THREADS = (1, 2)
LARGE = 2e9  # operations beyond which a case gets fewer rounds
MEMORY_BOUND = ("DEP", "NRM")
WRONG, WRONG_PEER = 1e-3, 1e-2  # a larger relative error is another result; some peers sum millions into one float


@dataclass
class Compared:
    """Seconds of all programs of a case by rounds, their relative errors, and the definition that ours computes."""

    rounds: list[dict[str, float]]
    errors: dict[str, float]
    task: str


def compare(workers: Sequence[Worker], suite: Suite, number: int, threads: int, quick: bool) -> Compared:
    """Some rounds of a case; our worker comes first."""
    case = suite.cases[number]
    if threads == 1:
        on_all_cores(workers)
    loaded = ask_all(workers, load=number, compiled=not quick)
    programs = {name: worker for worker, found in zip(workers, loaded) for name in found["programs"]}
    expected = case.dag.evaluate(*inputs_of(case.dag))[0] if suite.evaluated else None
    errors = relative_errors(programs, expected)  # first: a long call that is timed must not be a program's first
    time.sleep(max(SETTLE.values()) if threads > 1 else 0.0)  # all have just worked at once
    large = case.dag.flops > LARGE
    rounds = (1 if large or threads > 1 else 2) if quick else (3 if large else 7)
    length = {"seconds": 0.02, "warm": SPREAD if threads > 1 else 0.003, "calls": 2}
    if quick:
        length = {"seconds": 0.002, "warm": SPREAD / 2 if threads > 1 else 0.001, "calls": 1}
    names = list(programs)

    def take_turns(start: int) -> dict[str, float]:
        if threads == 1:
            on_one_core(workers, start)
        seconds = {}
        for name in names[start % len(names) :] + names[: start % len(names)]:
            seconds[name] = programs[name].ask(turn=name, **length)["seconds"]
            time.sleep(SETTLE[programs[name].library] if threads > 1 else 0.0)
        return seconds

    return Compared([take_turns(start) for start in range(rounds)], errors, loaded[0]["tasks"][0])


def relative_errors(programs: Mapping[str, Worker], expected: np.ndarray | None) -> dict[str, float]:
    """Of all answers against what is expected; without that against NumPy's where it has one, else the last peer's.

    Raises: ValueError: an answer is wrong.
    """
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.npy" for number, name in enumerate(programs)}
        for name, worker in programs.items():
            worker.send(answer=name, file=str(files[name]))
        for name, worker in programs.items():
            worker.receive()
            answers[name] = np.load(files[name])
    if expected is None:
        expected = answers["numpy" if "numpy" in answers else list(answers)[-1]]
    largest = float(np.max(np.abs(expected)))
    errors = {name: float(np.max(np.abs(answer - expected))) / largest for name, answer in answers.items()}
    for name, error in errors.items():
        if not error < (WRONG if name == OURS else WRONG_PEER):
            raise ValueError(f"{name} computes something else: relative error {error:.2g}")
    return errors


def measured_limits(machine: Worker, cases: Sequence[Case]) -> tuple[float, dict[str, dict[str, float]]]:
    """GFLOP/s, and the time of each case at the machine's limits.

    These are its multiply-adds, and its bytes where those may take longer. Our process, whose threads have a core each,
    measures them.
    """
    sizes = {}
    for case in cases:
        if case.family in MEMORY_BOUND:
            dag = case.dag
            sizes[case.text] = 4 * sum(int(np.prod(tensor.shape)) for tensor in (*dag.inputs, *dag.outputs))
    found = machine.ask(limits=list(sizes.values()))
    least = {case.text: {"multiply_adds": case.executed() / 1e9 / found["gflops"]} for case in cases}
    for (name, size), gigabytes in zip(sizes.items(), found["gigabytes"]):
        least[name]["bandwidth"] = size / 1e9 / gigabytes
    return found["gflops"], least


def row_of(case: Case, seconds: Mapping[str, float], least: Mapping[str, float]) -> dict[str, Any]:
    """What the table says about a case."""
    ours = seconds[OURS]
    peer = min((name for name in seconds if name != OURS), key=seconds.__getitem__)
    row = {
        "ratio": round(seconds[peer] / ours, 3),
        "peer": peer,
        "microseconds": round(ours * 1e6, 2),
        "gflops": round(case.dag.flops / ours / 1e9, 1),
        "ratio_at_the_limit": round(seconds[peer] / max(least.values()), 3),
    }
    return row | {f"share_of_{name}": round(value / ours, 3) for name, value in least.items()}


def measure_all(
    suite: Suite, cases: Sequence[Case], threads: int, quick: bool, records: Sequence[Record]
) -> tuple[float, dict[str, dict[str, Any]]]:
    """Some cases with one number of threads: the multiply-add limit, and a row for each case."""
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(OURS, threads, arguments=(suite.name,)))]
        limit, least = measured_limits(workers[0], cases)  # before the others start
        print(f"\n{threads} thread{'s' if threads > 1 else ''}, multiply-add limit {limit:.1f} GFLOP/s")
        print(f"{'case':36} {'us':>9} {'GFLOP/s':>8} {'of limit':>8} {'best peer':>20}", end="")
        print(f" {'ratio':>6} {'at most':>7} {'trials':>6}")
        libraries = [name for name in LIBRARIES if find_spec(name) is not None]
        workers += [stack.enter_context(Worker(library, threads, arguments=(suite.name,))) for library in libraries]
        numbers = [suite.cases.index(case) for case in cases]
        earlier = [compare(workers, suite, number, threads, quick).rounds for number in ([] if quick else numbers)]
        for place, (case, number) in enumerate(zip(cases, numbers)):
            found = compare(workers, suite, number, threads, quick)
            rounds = found.rounds + (earlier[place] if earlier else [])
            row = rows[case.text] = row_of(case, calm_medians(rounds), least[case.text])
            own = [record for record in records if record.task in case.names and record.threads == threads]
            row["trials"] = len({(r.task, r.steps, tuple(sorted(r.annotation.items()))) for r in own})
            row |= {"error": found.errors.pop(OURS), "error_of_peers": max(found.errors.values())}
            if found.task != case.text:
                row["definition"] = found.task
            share = f"{row['share_of_multiply_adds']:.2f}  "
            if "share_of_bandwidth" in row:
                share = f"{row['share_of_bandwidth']:.2f} B"
            print(
                f"{case.text:36} {row['microseconds']:9.1f} {row['gflops']:8.1f} {share:>8} {row['peer']:>20}"
                f" {row['ratio']:6.2f} {row['ratio_at_the_limit']:7.2f} {row['trials']:6d} {row.get('definition', '')}",
                flush=True,
            )
    return limit, rows


def build_all(suite: Suite, chosen: Mapping[int, Sequence[Case]], records: Sequence[Record]) -> None:
    """Compile the best kernels of cases by number of threads, side by side; the workers find them built."""

    def build(case: Case, threads: int) -> None:
        for kernel in best_kernels(suite, case, records, threads):
            build_library(emit_library([kernel.nest], threads=threads))

    with ThreadPoolExecutor(usable_cores()) as pool:
        jobs = [pool.submit(build, case, threads) for threads, cases in chosen.items() for case in cases]
        for job in jobs:
            job.result()


def compare_suite(suite: Suite, quick: bool, recorded: bool) -> dict[str, Any]:
    """Tune (unless quick, or to take what is recorded), compare, and sum up.

    Cases that were not tuned with a number of threads are left out there, and named.
    Raises: ValueError: nothing was.
    """
    if not (quick or recorded):
        from tests.benchmarks.operator_finals import play_all
        from tests.benchmarks.tune_operators import TRIALS, tune_all

        tune_all(suite, TRIALS)
        play_all(suite)
    records = read_records(suite.records)
    chosen = {threads: suite.recorded(records, threads) for threads in THREADS}
    build_all(suite, chosen, records)
    figures: dict[str, Any] = {}
    cases: dict[str, Any] = {}
    for threads, ready in chosen.items():
        missing = [case.text for case in suite.cases if case not in ready]
        if missing:
            figures[f"not_recorded_{threads}t"] = missing
            print(f"\nnot recorded with {threads} threads: {', '.join(missing)}")
        if not ready:
            continue
        limit, rows = measure_all(suite, ready, threads, quick, records)
        figures |= {f"{name}_{threads}t": value for name, value in summary(rows).items()}
        figures[f"limit_gflops_{threads}t"] = round(limit, 1)
        batches = {case.batch for case in ready}
        for batch in sorted(batches) if len(batches) > 1 else ():
            print(f"batch {batch}: ", end="")
            own = {case.text: rows[case.text] for case in ready if case.batch == batch}
            figures |= {f"{name}_{threads}t_batch_{batch}": value for name, value in summary(own).items()}
        for name, row in rows.items():
            cases.setdefault(name, {})[f"{threads}t"] = row
    if not cases:
        raise ValueError(f"{suite.records} has no correct program; run {suite.command}")
    every = [row for case in cases.values() for row in case.values()]
    figures["trials"] = max(row["trials"] for row in every)
    figures["largest_error"] = max(row["error"] for row in every)
    return {**figures, "cases": cases}


def summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Of the ratios of some rows."""
    ratios = [row["ratio"] for row in rows.values()]
    figures = {"geomean": round(statistics.geometric_mean(ratios), 3), "min": min(ratios)}
    bound = statistics.geometric_mean(row["ratio_at_the_limit"] for row in rows.values())
    print(f"{len(rows)} cases: geometric mean {figures['geomean']} (at the limit {bound:.3f}), least {figures['min']}")
    return figures | {"geomean_at_the_limit": round(bound, 3)}


def add_arguments(parser: Parser) -> None:
    """Declare what `compare_suite` may be told."""
    parser.add_argument("--recorded", action="store_true", help="take the recorded programs, and measure at length")


def operators(quick: bool, options: Namespace) -> dict[str, Any]:
    """The forty operator cases."""
    return compare_suite(OPERATORS, quick, options.recorded)


if __name__ == "__main__":
    sys.exit(main("operators", operators, __doc__ or "", add_arguments))
