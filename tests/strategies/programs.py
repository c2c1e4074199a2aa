"""Random programs: a workload, one of its sketches, and a random annotation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from ansor_mini.annotation import register_tiles, sample, uniform_tiles
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.sketch import Program, derive
from ansor_mini.sketch_rules import CPU_RULES, CPU_RULES_WITH_RFACTOR
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_max, reduce_min
from ansor_mini.workloads import WORKLOADS
from runtime.machine import Machine

# A machine with short vectors, so that tiny shapes have register tiles too.
SMALL_MACHINE = Machine("test", 4, 16, 32 << 10, 512 << 10, 8 << 20, 64)


def max_pool(size: int, channels: int, kernel: int = 3) -> ComputeDAG:
    """Max pooling, stride 2, over unpadded images."""
    x = placeholder((1, size, size, channels), "X")
    kh, kw = reduce_axis(kernel, "kh"), reduce_axis(kernel, "kw")
    out = (size - kernel) // 2 + 1
    axes = ("n", "h", "w", "c")
    body = lambda n, h, w, c: reduce_max(x[n, h * 2 + kh, w * 2 + kw, c], (kh, kw))  # noqa: E731
    return ComputeDAG([compute((1, out, out, channels), body, "pool", axes=axes)])


def row_minimum(rows: int, columns: int) -> ComputeDAG:
    """The smallest number of each row."""
    x, k = placeholder((rows, columns), "X"), reduce_axis(columns, "k")
    return ComputeDAG([compute((rows,), lambda i: reduce_min(x[i, k], k), "smallest")])


# Small shapes of every workload with awkward sizes: primes, ones, and more channels in than out.
SMALL_WORKLOADS: dict[str, Callable[[], ComputeDAG]] = {
    "matmul": lambda: WORKLOADS["matmul"].dag(6, 8, 5),
    "matmul of a column": lambda: WORKLOADS["matmul"].dag(7, 1, 12),
    "batched matmul": lambda: WORKLOADS["matmul"].dag(3, 4, 6, batch=2),
    "1d convolution": lambda: WORKLOADS["C1D"].dag(8, 3, 4, 3, 2, 1),
    "convolution": lambda: WORKLOADS["C2D"].dag(6, 5, 3, 8, 3, 1, 1),
    "dilated convolution": lambda: WORKLOADS["DIL"].dag(7, 7, 2, 4, 3, 1, 1),
    "grouped convolution": lambda: WORKLOADS["GRP"].dag(4, 4, 8, 4, 3, 2, 1),
    "depthwise convolution": lambda: WORKLOADS["DEP"].dag(5, 6, 4, 3, 1, 1),
    "transposed convolution": lambda: WORKLOADS["T2D"].dag(3, 3, 2, 4, 4, 2, 1),
    "capsule convolution": lambda: WORKLOADS["CAP"].dag(4, 3, 2, 2, 3, 2, 1),
    "conv layer": lambda: WORKLOADS["ConvLayer"].dag(5, 6, 3, 8, 3, 2, 1),
    "max pool": lambda: max_pool(7, 4),
    "row minimum": lambda: row_minimum(3, 20),
}


@st.composite
def programs(draw: st.DrawFn, names: tuple[str, ...] = tuple(SMALL_WORKLOADS)) -> Program:
    """A random program; it may be infeasible, as the search's own random programs may."""
    dag = SMALL_WORKLOADS[draw(st.sampled_from(names))]()
    rules = draw(st.sampled_from((CPU_RULES, CPU_RULES_WITH_RFACTOR)))
    structure = draw(st.sampled_from(("SSRSRS", "SRS", "SSRS")))
    sketch = draw(st.sampled_from(derive(dag, rules, SMALL_MACHINE, structure=structure)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tiles = draw(st.sampled_from((uniform_tiles, register_tiles)))
    return sample(sketch, rng, SMALL_MACHINE, threads=draw(st.sampled_from((1, 2))), tiles=tiles)
