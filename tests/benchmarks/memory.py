"""Memory of the built-in networks: the plan against its lower bound, and whole processes against ONNX Runtime's.

    python -m tests.benchmarks.memory [--quick]

For the plans, every network is partitioned and its kernels get their default schedules; nothing is compiled. The lower
bound is the most bytes that are alive at one moment, which no plan in this order of calls can undercut. Inputs, outputs
and weights have memory of their own and are not counted.

For the processes, a network is compiled so and run in a process of its own, the same graph in ONNX Runtime in another.
Counted is what loading the network and running it adds to resident memory, weights included: at the peak (ONNX Runtime
reads the file and packs weights then), and afterwards. `--quick` does this for two networks.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.network import default_network
from runtime import executor
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.machine import detect
from runtime.memory_plan import MemoryPlan, plan
from runtime.network import Network
from taso_mini.models import MODELS
from tests.benchmarks.command import main
from tests.benchmarks.memory_worker import THREADS

LIMIT = 1.1  # times the lower bound
QUICK = ("squeezenet", "mobilenet_v2")
ROOT = Path(__file__).resolve().parents[2]


def built_in(name: str) -> Graph:
    """A built-in network in full size."""
    return MODELS[name](np.random.default_rng(0)).fold_constants()


def compiled_form(graph: Graph) -> Network:
    """A graph's kernels under their default schedules."""
    return default_network(to_channels_last(graph), detect(), THREADS)


def planned(name: str) -> MemoryPlan:
    """The memory plan of a built-in network."""
    return plan(compiled_form(built_in(name)))


def process_bytes(library: str, path: Path) -> dict[str, int]:
    """What loading and running a network adds to a process's resident memory, at the peak and afterwards."""
    command = [sys.executable, "-m", "tests.benchmarks.memory_worker", library, str(path)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600).stdout
    report = json.loads(said.splitlines()[-1])
    return {moment: report[moment] - report["before"] for moment in ("peak", "after")}


def processes(name: str) -> dict[str, dict[str, int]]:
    """Bytes that a network takes in our process and in ONNX Runtime's."""
    from runtime.onnx_export import export_onnx

    graph = built_in(name)
    with tempfile.TemporaryDirectory(prefix="mini-compilers-memory-") as folder:
        export_onnx(graph, Path(folder) / "model.onnx")
        network = compiled_form(graph)
        del graph
        executor.build(network, Path(folder) / "ours", threads=THREADS)
        del network
        return {
            "ours": process_bytes("ours", Path(folder) / "ours"),
            "onnxruntime": process_bytes("onnxruntime", Path(folder) / "model.onnx"),
        }


def plans() -> dict[str, Any]:
    """Print the table of plans and return its figures."""
    sys.stdout.write(f"{'plan, MB':14}{'sum':>10}{'peak':>10}{'bound':>10}{'peak/bound':>12}{'sum/peak':>10}\n")
    ratios: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for name in MODELS:
        memory = planned(name)
        peaks[name] = memory.total_bytes
        ratios[name] = memory.total_bytes / memory.live_lower_bound
        sizes = (memory.sum_bytes, memory.total_bytes, memory.live_lower_bound)
        sys.stdout.write(
            f"{name:14}"
            + "".join(f"{size / 1e6:10.3f}" for size in sizes)
            + f"{ratios[name]:12.4f}{memory.sum_bytes / memory.total_bytes:10.1f}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"at most {max(ratios.values()):.4f} x the lower bound (wanted: {LIMIT})\n")
    return {"plan_over_lower_bound": ratios, "worst": max(ratios.values()), "peak_bytes": peaks}


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the tables and return the figures."""
    figures = plans()
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        sys.stdout.write("processes are not compared: onnx or onnxruntime is not installed\n")
        return figures
    heads = ("ours peak", "after", "ONNX RT peak", "after")
    sys.stdout.write(f"\n{'process, MB':14}" + "".join(f"{head:>14}" for head in heads) + "    ratio of peaks\n")
    resident: dict[str, dict[str, dict[str, int]]] = {}
    for name in QUICK if quick else MODELS:
        found = resident[name] = processes(name)
        sizes = "".join(f"{size / 1e6:14.1f}" for moments in found.values() for size in moments.values())
        sys.stdout.write(f"{name:14}{sizes}{found['ours']['peak'] / found['onnxruntime']['peak']:18.2f}\n")
        sys.stdout.flush()
    return figures | {"resident_bytes": resident}


if __name__ == "__main__":
    sys.exit(main("memory", benchmark, "Compare memory plans with their lower bound, and processes with ONNX Runtime."))
