"""Random programs: a workload, one of its sketches, and a random annotation; and whether a program is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from hypothesis import strategies as st

from ansor_mini.annotation import register_tiles, sample, uniform_tiles
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES, PAPER_RULES
from ansor_mini.workloads import WORKLOADS
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from runtime.measure_case import MeasureCase
from runtime.verify_nest import verify
from tests.strategies.row_stages import row_stages

# A machine with short vectors, so that tiny shapes have register tiles too.
SMALL_MACHINE = Machine("test", 4, 16, 32 << 10, 512 << 10, 8 << 20, 64)


# Small shapes of every workload with awkward sizes: primes, ones, and more channels in than out.
SMALL_WORKLOADS: dict[str, Callable[[], ComputeDAG]] = {
    "matmul": lambda: WORKLOADS["matmul"].dag(6, 8, 5),
    "awkward matmul": lambda: WORKLOADS["matmul"].dag(17, 22, 3),
    "matmul of a column": lambda: WORKLOADS["matmul"].dag(7, 1, 12),
    "batched matmul": lambda: WORKLOADS["matmul"].dag(3, 4, 6, batch=2),
    "1d convolution": lambda: WORKLOADS["C1D"].dag(8, 3, 4, 3, 2, 1),
    "convolution": lambda: WORKLOADS["C2D"].dag(6, 5, 3, 8, 3, 1, 1),
    "dilated convolution": lambda: WORKLOADS["DIL"].dag(7, 7, 2, 4, 3, 1, 1),
    "grouped convolution": lambda: WORKLOADS["GRP"].dag(4, 4, 8, 4, 3, 2, 1),
    "depthwise convolution": lambda: WORKLOADS["DEP"].dag(5, 6, 4, 3, 1, 1),
    "blocked convolution": lambda: WORKLOADS["C2D_NCHW16c"].dag(3, 2, 18, 20, 2, 2, 1),
    "blocked depthwise convolution": lambda: WORKLOADS["DEP_NCHW16c"].dag(4, 5, 32, 3, 1, 1),
    "transposed convolution": lambda: WORKLOADS["T2D"].dag(3, 3, 2, 4, 4, 2, 1),
    "capsule convolution": lambda: WORKLOADS["CAP"].dag(4, 3, 2, 2, 3, 2, 1),
    "conv layer": lambda: WORKLOADS["ConvLayer"].dag(5, 6, 3, 8, 3, 2, 1),
    "max pool": lambda: WORKLOADS["maxpool"].dag(7, 7, 4, 3, 2, 1),
    "row minimum": lambda: WORKLOADS["rowmin"].dag(3, 20),
    "sum of everything": lambda: WORKLOADS["total"].dag(37),
    "two matmuls": lambda: WORKLOADS["matmuls"].dag(3, 4, 5, 6),
    "rows of a product": lambda: row_stages(2, 5, 6, 3),
    "winograd": lambda: WORKLOADS["winograd"].dag(4, 3, 2, 4, 1, 2),
}


@st.composite
def programs(draw: st.DrawFn, names: tuple[str, ...] = tuple(SMALL_WORKLOADS)) -> Program:
    """A random program; it may be infeasible, as the search's own random programs may."""
    dag = SMALL_WORKLOADS[draw(st.sampled_from(names))]()
    rules = draw(st.sampled_from((CPU_RULES, PAPER_RULES)))
    structure = draw(st.sampled_from(("SSRSRS", "SRS", "SSRS")))
    sketch = draw(st.sampled_from(derive(dag, rules, SMALL_MACHINE, structure=structure)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tiles = draw(st.sampled_from((uniform_tiles, register_tiles)))
    return sample(sketch, rng, SMALL_MACHINE, threads=draw(st.sampled_from((1, 2))), tiles=tiles)


def random_nests(sketches: Iterable[Sketch], draws: int, *, threads: int = 1) -> Iterator[LoopNest]:
    """The loops of so many random programs of each sketch; infeasible ones are left out."""
    rng = np.random.default_rng(0)
    for sketch in sketches:
        for _ in range(draws):
            try:
                yield sample(sketch, rng, SMALL_MACHINE, threads=threads).lower()
            except ScheduleError:
                continue


def check_nest(nest: LoopNest, case: MeasureCase) -> None:
    """A nest is legal and gives the very bits that a case expects."""
    verify(nest)
    for actual, expected in zip(interpret(nest, *case.inputs), case.expected, strict=True):
        np.testing.assert_array_equal(actual, expected)
