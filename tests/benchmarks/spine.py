"""The first walk through the whole house: SqueezeNet compiled against ONNX Runtime, a 512³ matmul against OpenBLAS.

`--quick` takes the programs recorded in `results/spine-*.jsonl.gz` instead of searching, as they were chosen, and
measures them anew; a full run searches and writes those files.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.measured_programs import program_of
from ansor_mini.records import Record, RecordFile, best_of, read_choices, read_records, write_records
from ansor_mini.task import Task
from ansor_mini.tuner import tune
from ansor_mini.workloads import parse_workload
from runtime.compile_c import build_library, load_kernel
from runtime.emit_c import emit_library
from runtime.timing import interleaved
from taso_mini.compile_model import compile_model
from taso_mini.compile_options import CompileOptions
from taso_mini.kernel_tuning import RECORDS
from taso_mini.report import as_text, figures
from tests.benchmarks.command import RESULTS, main

MATMUL_TRIALS = 200
THREADS = 2


def squeezenet(quick: bool) -> dict[str, Any]:
    """Compile SqueezeNet with the default budget (or recorded kernels) and compare all variants."""
    recorded = RESULTS / "spine-squeezenet.jsonl.gz"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "squeezenet"
        options = CompileOptions(threads=THREADS, out=out)
        if quick:
            options = CompileOptions(threads=THREADS, out=out, trials=0, records=recorded)
        compiled = compile_model("squeezenet", options, lambda line: print(line, file=sys.stderr))
        print(as_text(compiled))
        if not quick:
            write_records(recorded, [*read_records(out / RECORDS), *read_choices(out / RECORDS)])
    found = figures(compiled)
    error = found.pop("max_relative_error")
    return {f"squeezenet_{name}": value for name, value in found.items()} | {"max_relative_error": error}


def matmul512(quick: bool) -> dict[str, Any]:
    """Tune a 512³ float32 matmul on one thread (or take the recorded best) and time it against NumPy."""
    recorded = RESULTS / "spine-matmul512.jsonl.gz"
    dag = parse_workload("matmul:512,512,512")
    records = read_records(recorded) if quick else _tune(dag, recorded)
    best = best_of(records)
    if best is None:
        raise ValueError(f"{recorded} holds no correct program for the matmul")
    nest = program_of(best, dag).lower()
    kernel = load_kernel(build_library(emit_library([nest])), nest)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    ours, theirs = np.empty((512, 512), np.float32), np.empty((512, 512), np.float32)
    programs = {"ours": lambda: kernel(a, b, ours), "OpenBLAS": lambda: np.matmul(a, b, out=theirs)}
    seconds = interleaved(programs)
    error = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
    print(f"\n512 x 512 x 512 matmul, one thread, {len(records)} trials recorded; error {error:.1e}")
    for name, value in seconds.items():
        print(f"  {name:10} {value * 1e6:8.1f} us  {2 * 512**3 / value / 1e9:7.1f} GFLOP/s")
    return {"matmul512_vs_openblas": round(seconds["OpenBLAS"] / seconds["ours"], 3)}


def _tune(dag: Any, recorded: Path) -> Sequence[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECORDS
        with RecordFile(path) as sink, LocalMeasurer(dag, rng=np.random.default_rng(0)) as measurer:
            tune(
                Task(dag.key(), dag),
                trials=MATMUL_TRIALS,
                rng=np.random.default_rng(0),
                measurer=measurer,
                records=sink,
            )
        write_records(recorded, read_records(path))
    return read_records(recorded)


def spine(quick: bool) -> dict[str, Any]:
    """Both parts."""
    return {**squeezenet(quick), **matmul512(quick)}


if __name__ == "__main__":
    sys.exit(main("spine", spine, __doc__ or ""))
