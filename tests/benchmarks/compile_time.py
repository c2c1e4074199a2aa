"""How long a network takes to compile when nothing is to be tuned: with an empty cache of built code, and again.

    python -m tests.benchmarks.compile_time [--quick] [--network NAME] [--threads N]

The kernels are the recorded ones (`record_networks`); counted is all of `taso_mini.compile` in a process of its own,
from drawing the weights to comparing the outputs with the NumPy reference, but not Python's start. Substitutions are
priced by formula, since measuring prices is not compiling. Every time is taken three times, with `--quick` once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from runtime.command_line import Parser
from tests.benchmarks.command import main
from tests.benchmarks.network_cases import RECORDS

NETWORK, THREADS = "resnet50", 2
LIMITS = {"cold": 30.0, "warm": 3.0}  # seconds, wanted
JOB = """
import json, sys, time
from pathlib import Path
from taso_mini.compile_model import compile_model
from taso_mini.compile_options import CompileOptions
records = Path(sys.argv[3])
options = CompileOptions(
    trials=0, threads=int(sys.argv[2]), records=records if records.exists() else None, cost="flops", compare=False
)
start = time.perf_counter()
compiled = compile_model(sys.argv[1], options)
print(json.dumps([time.perf_counter() - start, compiled.max_relative_error]))
"""


def seconds_to_compile(network: str, threads: int, cache: str) -> float:
    """Seconds in a process of its own that keeps built code in a folder."""
    command = [sys.executable, "-c", JOB, network, str(threads), str(RECORDS)]
    environment = {**os.environ, "MINI_CACHE": cache}
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(said.splitlines()[-1])[0])


def benchmark(quick: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Print and return both times."""
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory(prefix="mini-compilers-cache-") as cache:
            for kind in times:
                times[kind].append(seconds_to_compile(options.network, options.threads, cache))
    found = {kind: round(statistics.median(measured), 2) for kind, measured in times.items()}
    for kind, seconds in found.items():
        print(f"{options.network}, {options.threads} threads, {kind} cache: {seconds:6.2f} s (wanted: {LIMITS[kind]})")
    return {"network": options.network, "threads": options.threads, **{f"{k}_seconds": v for k, v in found.items()}}


def add_arguments(parser: Parser) -> None:
    """What this benchmark can be told besides."""
    parser.add_argument("--network", default=NETWORK, help=f"a built-in network (default: {NETWORK})")
    parser.add_argument("--threads", type=int, default=THREADS, help=f"of the kernels (default: {THREADS})")


if __name__ == "__main__":
    sys.exit(main("compile_time", benchmark, __doc__ or "", add_arguments))
