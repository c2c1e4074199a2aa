"""The paper's ten operators, four shapes each, batch 1: tuned kernels against NumPy, PyTorch and ONNX Runtime.

Paper: Ansor §7.1

Each case is timed with one thread and with two, in a process of its own per thread count, our kernel and all peers in
turns. The peer that counts is the fastest. Beside each case stands its share of what the machine can do: of the
multiply-adds of its cores, counting only those that are executed (padding is skipped), or of its memory's bytes; and
the ratio that a kernel at that limit would have, since no search can find more where a peer is near it already.

`--quick` takes the programs in `results/operators-records.jsonl.gz`; a full run tunes every case first
(`python -m tests.benchmarks.tune_operators` does that alone, and goes on where it stopped).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.record import Record, best_of
from ansor_mini.records import read_records
from ansor_mini.task_tuner import program_of
from ansor_mini.workloads import parse_workload
from runtime.compile_c import aligned_empty, build_library, load_kernel
from runtime.emit_c import emit_library
from runtime.loop_nest import LoopNest
from runtime.machine import usable_cores
from runtime.measure_case import MeasureCase
from runtime.timing import interleaved
from tests.benchmarks.command import main
from tests.benchmarks.limits import Limits
from tests.benchmarks.operator_cases import CASES, RECORDS, Case
from tests.benchmarks.operator_peers import peers_of

THREADS = (1, 2)
LARGE = 2e9  # operations beyond which a case gets fewer rounds
MEMORY_BOUND = ("DEP", "NRM")
# The environment of the processes that compare: nothing that would hold a peer back.
HINDRANCES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Kernel:
    """A case's best program: its loop nest, whose constant inputs may be packed, and how many trials found it."""

    case: Case
    dag: ComputeDAG
    nest: LoopNest
    inputs: list[np.ndarray]
    plain: list[np.ndarray]
    trials: int


def best_kernel(case: Case, records: Sequence[Record], threads: int) -> Kernel:
    """The fastest recorded program of a case.  Raises: ValueError: there is none."""
    dag = parse_workload(case.text)
    own = [record for record in records if record.task == case.text and record.threads == threads]
    best = best_of(own)
    if best is None:
        raise ValueError(f"no correct program for {case.text}, {threads} threads; run tests.benchmarks.tune_operators")
    rng = np.random.default_rng(0)
    plain = [rng.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in dag.inputs]
    empty = [np.empty(tensor.shape, tensor.dtype) for tensor in dag.outputs]
    nest, packed = pack_case(program_of(best, dag).lower(), MeasureCase(plain, empty), case.constants)
    programs = {(record.steps, tuple(sorted(record.annotation.items()))) for record in own}
    return Kernel(case, dag, nest, list(packed.inputs), plain, len(programs))


def compare(kernel: Kernel, limits: Limits, quick: bool) -> dict[str, Any]:
    """Time one case against its peers; the row of the table."""
    threads, dag = limits.threads, kernel.dag
    compiled = load_kernel(build_library(emit_library([kernel.nest], threads=threads)), kernel.nest)
    out = [aligned_empty(buffer.shape, buffer.dtype) for buffer in kernel.nest.outputs]
    inputs = [_aligned(array) for array in kernel.inputs]
    pointers = compiled.pointers(*inputs, *out)
    peers = peers_of(kernel.case.family, kernel.case.numbers, kernel.plain, threads)
    compiled(*inputs, *out)
    wanted = peers[-1].result()
    error = float(np.max(np.abs(out[0] - wanted)) / np.max(np.abs(wanted)))
    rounds = 3 if dag.flops > LARGE else 7
    seconds = interleaved(
        {"ours": lambda: compiled.run(pointers), **{peer.name: peer.run for peer in peers}},
        rounds=rounds if quick else 3 * rounds,
        min_seconds=0.004 if quick else 0.02,
        settle=0.0 if threads == 1 else 0.01,
    )
    ours = seconds.pop("ours")
    peer = min(seconds, key=seconds.__getitem__)
    row = {
        "case": kernel.case.text,
        "ratio": round(seconds[peer] / ours, 3),
        "peer": peer,
        "microseconds": round(ours * 1e6, 2),
        "gflops": round(dag.flops / ours / 1e9, 1),
        "share_of_multiply_adds": round(kernel.case.executed(dag) / ours / 1e9 / limits.gflops, 3),
        "trials": kernel.trials,
        "error": error,
    }
    least = kernel.case.executed(dag) / 1e9 / limits.gflops
    if kernel.case.family in MEMORY_BOUND:
        size = sum(array.nbytes for array in (*inputs, *out))
        moving = size / 1e9 / limits.gigabytes(size)
        row["share_of_bandwidth"] = round(moving / ours, 3)
        least = max(least, moving)
    row["ratio_at_the_limit"] = round(seconds[peer] / least, 3)
    return row


def _aligned(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, str(array.dtype))
    copy[...] = array
    return copy


def run_child(threads: int, quick: bool, records_file: Path) -> None:
    """All cases with one thread count, one JSON line each on stdout."""
    records = read_records(records_file)
    kernels = [best_kernel(case, records, threads) for case in CASES]
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda kernel: build_library(emit_library([kernel.nest], threads=threads)), kernels))
    limits = Limits(threads)
    print(json.dumps({"limit_gflops": round(limits.gflops, 1)}), flush=True)
    for kernel in kernels:
        print(json.dumps(compare(kernel, limits, quick)), flush=True)


def _child(threads: int, quick: bool) -> tuple[float, list[dict[str, Any]]]:
    environment = {name: value for name, value in os.environ.items() if name not in HINDRANCES}
    environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "tests.benchmarks.operators", "--child", str(threads), str(int(quick))]
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        limit = json.loads(process.stdout.readline() or '{"limit_gflops": 0}')["limit_gflops"]
        print(f"\n{threads} thread{'s' if threads > 1 else ''}, multiply-add limit {limit} GFLOP/s")
        print(f"{'case':34} {'us':>9} {'GFLOP/s':>8} {'of limit':>8} {'best peer':>20}", end="")
        print(f" {'ratio':>6} {'at most':>7} {'trials':>6}")
        for line in process.stdout:
            row = json.loads(line)
            rows.append(row)
            share = f"{row['share_of_multiply_adds']:.2f}"
            if "share_of_bandwidth" in row:
                share = f"{row['share_of_bandwidth']:.2f} B"
            print(
                f"{row['case']:34} {row['microseconds']:9.1f} {row['gflops']:8.1f} {share:>8} {row['peer']:>20}"
                f" {row['ratio']:6.2f} {row['ratio_at_the_limit']:7.2f} {row['trials']:6d}",
                flush=True,
            )
    if process.returncode or len(rows) < len(CASES):
        raise ValueError(f"the process with {threads} threads ended early, with status {process.returncode}")
    return limit, rows


def operators(quick: bool) -> dict[str, Any]:
    """Tune (unless quick), compare, and sum up."""
    if not quick:
        from tests.benchmarks.tune_operators import TRIALS, tune_all

        tune_all(THREADS, TRIALS, RECORDS)
    figures: dict[str, Any] = {}
    cases: dict[str, Any] = {}
    for threads in THREADS:
        limit, rows = _child(threads, quick)
        ratios = [row["ratio"] for row in rows]
        figures[f"geomean_{threads}t"] = round(statistics.geometric_mean(ratios), 3)
        figures[f"min_{threads}t"] = min(ratios)
        bound = statistics.geometric_mean(row["ratio_at_the_limit"] for row in rows)
        figures[f"geomean_at_the_limit_{threads}t"] = round(bound, 3)
        figures[f"limit_gflops_{threads}t"] = limit
        for row in rows:
            cases.setdefault(row.pop("case"), {})[f"{threads}t"] = row
        print(f"geometric mean {figures[f'geomean_{threads}t']} (at the limit {bound:.3f}), least {min(ratios)}")
    rows = [row for case in cases.values() for row in case.values()]
    figures["trials"] = max(row["trials"] for row in rows)
    figures["largest_error"] = max(row["error"] for row in rows)
    return {**figures, "cases": cases}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(int(sys.argv[2]), bool(int(sys.argv[3])), RECORDS)
        sys.exit(0)
    sys.exit(main("operators", operators, __doc__ or ""))
