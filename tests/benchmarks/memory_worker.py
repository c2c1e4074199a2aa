"""A process of its own that loads one network, runs it three times, and says how much memory that took.

    python -m tests.benchmarks.memory_worker ours DIRECTORY | onnxruntime FILE

Prints one JSON object, in bytes: resident before the network was loaded, resident after, and the peak.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

THREADS = 2
RUNS = 3


def resident(field: str) -> int:
    """Bytes of this process's memory that are resident now (`VmRSS`) or were at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def ours(path: str) -> tuple[int, int]:
    """Run a compiled network; returns what was resident before, and while it stands ready."""
    from runtime.compiled_network import CompiledNetwork

    before = resident("VmRSS")
    network = CompiledNetwork.load(path)
    feeds = {name: np.ones(kind.shape, kind.dtype) for name, kind in network.inputs.items()}
    for _ in range(RUNS):
        network.run(**feeds)
    return before, resident("VmRSS")


def onnxruntime(path: str) -> tuple[int, int]:
    """Run an ONNX file in ONNX Runtime; returns what was resident before, and while it stands ready."""
    import onnxruntime as ort

    before = resident("VmRSS")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32"}
    feeds = {item.name: np.ones(item.shape, types[item.type]) for item in session.get_inputs()}
    for _ in range(RUNS):
        session.run(None, feeds)
    return before, resident("VmRSS")


if __name__ == "__main__":
    before, after = {"ours": ours, "onnxruntime": onnxruntime}[sys.argv[1]](sys.argv[2])
    peak = max(after, resident("VmHWM"))  # the kernel counts the two apart, and the peak a little late
    print(json.dumps({"before": before, "after": after, "peak": peak}))
