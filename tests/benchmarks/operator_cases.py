"""The cases of the paper's operator and subgraph benchmarks, and how many of their operations need to be executed.

Paper: Ansor §7.1, §7.2

A suite is what is tuned, played off and compared together: the forty operator cases at batch 1, and the subgraphs
ConvLayer and TBS in four shapes each at batch 1 and 16.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ansor_mini.blocked_tensors import Alternative
from ansor_mini.commands.base import workload_dag, workload_text
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.record import OK, Record
from ansor_mini.workloads import PAPER_OPERATORS, PAPER_SUBGRAPHS, WORKLOADS
from runtime.machine import detect
from tests.benchmarks.command import RESULTS


@dataclass(frozen=True)
class Case:
    """One shape of one operator or subgraph."""

    family: str
    numbers: tuple[int, ...]
    batch: int = 1

    @property
    def text(self) -> str:
        """As the commands name it; its name in records.

        >>> Case("TBS", (64, 12, 128), 16).text
        'TBS:64,12,128 batch=16'
        """
        return workload_text(f"{self.family}:{','.join(map(str, self.numbers))}", self.batch)

    @property
    def dag(self) -> ComputeDAG:
        """What it computes."""
        return workload_dag(self.text)

    @property
    def constants(self) -> tuple[str, ...]:
        """The inputs that are weights."""
        return WORKLOADS[self.family].constants

    @property
    def alternatives(self) -> dict[str, Alternative]:
        """Other definitions of the same computation, over arrays in another order, by the names of their cases."""
        return {replace(self, family=other.name).text: other for other in WORKLOADS[self.family].alternatives}

    @property
    def definitions(self) -> tuple[Case, ...]:
        """This case, and one for each alternative: all of them are tuned, and the fastest program counts."""
        return (self, *(replace(self, family=other.name) for other in WORKLOADS[self.family].alternatives))

    @property
    def names(self) -> frozenset[str]:
        """What the definitions are called in records."""
        return frozenset(case.text for case in self.definitions)

    def executed(self) -> float:
        """Operations besides those on padding: the share of taps inside the input, for each spatial axis."""
        flops, fields = self.dag.flops, dict(zip(WORKLOADS[self.family].fields, self.numbers))
        if "kernel" not in fields:
            return flops
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
        return flops * math.prod(shares)


def _taps(size: int, kernel: int, stride: int, padding: int, dilation: int) -> float:
    """The share of (output, tap) pairs that read inside the input."""
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    places = [o * stride + k * dilation - padding for o in range(outputs) for k in range(kernel)]
    return sum(0 <= place < size for place in places) / len(places)


def _inside(kernel: int, outputs: int, size: int, stride: int, padding: int) -> float:
    """The share of (output, tap) pairs of a transposed convolution that meet an input element."""
    hits = sum(0 <= i * stride + k - padding < outputs for i in range(size) for k in range(kernel))
    return hits / (outputs * kernel)


@dataclass(frozen=True)
class Suite:
    """Cases that are compared in one benchmark.

    name: of the benchmark and of its files. evaluated: whether all answers are compared with the DAG's own evaluation
    in NumPy, which takes minutes for some operators; otherwise with a library's.
    """

    name: str
    cases: tuple[Case, ...]
    evaluated: bool = False

    @property
    def records(self) -> Path:
        """All measured programs of all cases."""
        return RESULTS / f"{self.name}-records.jsonl.gz"

    @property
    def finals(self) -> Path:
        """The fastest programs of each case, measured against one another."""
        return RESULTS / f"{self.name}-finals.jsonl.gz"

    @property
    def command(self) -> str:
        """What makes the records."""
        return f"python -m tests.benchmarks.tune_operators --suite {self.name}"

    def recorded(self, records: Iterable[Record], threads: int) -> list[Case]:
        """The cases that were tuned with so many threads and have a correct program."""
        known = {record.task for record in records if record.threads == threads and record.kind == OK}
        return [case for case in self.cases if case.names & known]


def processor(machine: str) -> str:
    """What a machine's line says besides its number of cores: on one processor, times are comparable.

    >>> processor("a CPU, 2 cores, 32-byte vectors"), processor("a CPU, 1 core, 32-byte vectors")
    ('a CPU, 32-byte vectors', 'a CPU, 32-byte vectors')
    """
    return re.sub(r", \d+ cores?\b", "", machine, count=1)


def measured_here(records: Iterable[Record]) -> list[Record]:
    """Those of a processor like this machine's."""
    here = processor(detect().line)
    return [record for record in records if processor(record.machine) == here]


def _cases(families: Iterable[str], batches: Iterable[int]) -> tuple[Case, ...]:
    shapes = [(family, numbers) for family in families for numbers in WORKLOADS[family].shapes]
    return tuple(Case(family, numbers, batch) for batch in batches for family, numbers in shapes)


OPERATORS = Suite("operators", _cases(PAPER_OPERATORS, (1,)))
SUBGRAPHS = Suite("subgraphs", _cases(PAPER_SUBGRAPHS, (1, 16)), evaluated=True)
SUITES = {suite.name: suite for suite in (OPERATORS, SUBGRAPHS)}
CASES, RECORDS = OPERATORS.cases, OPERATORS.records
