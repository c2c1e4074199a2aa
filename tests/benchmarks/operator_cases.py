"""The forty cases of the paper's operator benchmark at batch 1, and how many of their operations need to be executed.

Paper: Ansor §7.1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.workloads import WORKLOADS
from tests.benchmarks.command import RESULTS

FAMILIES = ("C1D", "C2D", "C3D", "matmul", "GRP", "DIL", "DEP", "T2D", "CAP", "NRM")


@dataclass(frozen=True)
class Case:
    """One shape of one operator."""

    family: str
    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        """As the command line names it."""
        return f"{self.family}:{','.join(map(str, self.numbers))}"

    @property
    def constants(self) -> tuple[str, ...]:
        """The inputs that are weights."""
        return () if self.family in ("matmul", "NRM") else ("W",)

    def executed(self, dag: ComputeDAG) -> float:
        """Operations besides those on padding: the share of taps inside the input, for each spatial axis."""
        fields = dict(zip(WORKLOADS[self.family].fields, self.numbers))
        if "kernel" not in fields:
            return dag.flops
        sizes = [fields[name] for name in ("d", "h", "w") if name in fields]
        kernel, stride, padding = fields["kernel"], fields["stride"], fields["padding"]
        if self.family == "T2D":
            # every input element meets every tap once, unless the result lies in the border that is cut off
            shares = [
                _inside(kernel, ((size - 1) * stride - 2 * padding + kernel), size, stride, padding) for size in sizes
            ]
        else:
            dilation = 2 if self.family == "DIL" else 1
            shares = [_taps(size, kernel, stride, padding, dilation) for size in sizes]
        return dag.flops * math.prod(shares)


def _taps(size: int, kernel: int, stride: int, padding: int, dilation: int) -> float:
    """The share of (output, tap) pairs that read inside the input."""
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    places = [o * stride + k * dilation - padding for o in range(outputs) for k in range(kernel)]
    return sum(0 <= place < size for place in places) / len(places)


def _inside(kernel: int, outputs: int, size: int, stride: int, padding: int) -> float:
    """The share of (output, tap) pairs of a transposed convolution that meet an input element."""
    hits = sum(0 <= i * stride + k - padding < outputs for i in range(size) for k in range(kernel))
    return hits / (outputs * kernel)


RECORDS = RESULTS / "operators-records.jsonl.gz"  # all measured programs of all cases
FINALS = RESULTS / "operators-finals.jsonl.gz"  # the fastest of each case, measured against one another
CASES = tuple(Case(family, numbers) for family in FAMILIES for numbers in WORKLOADS[family].shapes)
