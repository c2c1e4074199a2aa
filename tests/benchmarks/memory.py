"""Working memory of the built-in networks: the plan's peak against the sum of all values and the lower bound.

    python -m tests.benchmarks.memory

Every network is partitioned and its kernels get their default schedules; nothing is compiled. The lower bound is the
most bytes that are alive at one moment, which no plan in this order of calls can undercut. Inputs, outputs and weights
have memory of their own and are not counted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ansor_mini.network import default_network
from runtime.layout import to_channels_last
from runtime.machine import detect
from runtime.memory_plan import MemoryPlan, plan
from taso_mini.models import MODELS
from tests.benchmarks.command import main

LIMIT = 1.1  # times the lower bound


def planned(name: str, threads: int = 2) -> MemoryPlan:
    """The memory plan of a built-in network in full size."""
    graph = MODELS[name](np.random.default_rng(0)).fold_constants()
    return plan(default_network(to_channels_last(graph), detect(), threads))


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the table and return the figures; `quick` changes nothing, since nothing is slow."""
    sys.stdout.write(f"{'MB':14}{'sum':>10}{'peak':>10}{'bound':>10}{'peak/bound':>12}{'sum/peak':>10}\n")
    ratios: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for name in MODELS:
        memory = planned(name)
        peaks[name] = memory.total_bytes
        ratios[name] = memory.total_bytes / memory.live_lower_bound
        sizes = (memory.sum_bytes, memory.total_bytes, memory.live_lower_bound)
        sys.stdout.write(
            f"{name:14}" + "".join(f"{size / 1e6:10.3f}" for size in sizes)
            + f"{ratios[name]:12.4f}{memory.sum_bytes / memory.total_bytes:10.1f}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"at most {max(ratios.values()):.4f} x the lower bound (wanted: {LIMIT})\n")
    return {"plan_over_lower_bound": ratios, "worst": max(ratios.values()), "peak_bytes": peaks}


if __name__ == "__main__":
    sys.exit(main("memory", benchmark, "Compare memory plans of the built-in networks with the lower bound."))
