"""What the commands share: how one is declared, how a workload is named, and how records are chosen."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.measured_programs import program_of
from ansor_mini.record import MEASURED, SOURCES
from ansor_mini.records import Record, read_records
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.workloads import ALIASES, WORKLOADS, parse_workload

SCHEMA = 1


def add_workload(parser: ArgumentParser) -> None:
    """Declare the workload as the first argument, and its batch."""
    parser.add_argument("workload", help="a name and its numbers, for example matmul:512,512,512")
    parser.add_argument("--batch", type=int, default=1, help="images or matrices at once (default: 1)")


def add_json(parser: ArgumentParser) -> None:
    """Declare --json."""
    parser.add_argument("--json", action="store_true", help="one JSON object per line on stdout")


def add_selection(parser: ArgumentParser) -> None:
    """Declare which records of a file are meant, and what computes the ones that do not say."""
    parser.add_argument("--task", help="only records of this task: its key or its workload")
    parser.add_argument("--threads", type=int, help="only records of programs for so many cores")
    parser.add_argument("--source", default=MEASURED, choices=SOURCES, help="where their seconds come from (measured)")
    parser.add_argument("--workload", default="", help="the computation of records that name none")
    parser.add_argument("--batch", type=int, default=1, help="the batch of --workload (default: 1)")


def workload_text(workload: str, batch: int = 1) -> str:
    """A workload and its batch as one text, which `workload_dag` reads.

    >>> workload_text("matmul:8,8,8"), workload_text("matmul:8,8,8", 16)
    ('matmul:8,8,8', 'matmul:8,8,8 batch=16')
    """
    return workload if batch == 1 or not workload else f"{workload} batch={batch}"


@lru_cache(maxsize=64)
def workload_dag(text: str) -> ComputeDAG:
    """The computation of a text that `workload_text` made.  Raises: ValueError: there is none.

    >>> workload_dag("matmul:2,2,2 batch=3").outputs[0].shape
    (3, 2, 2)
    """
    name, _, batch = text.partition(" batch=")
    if batch and not batch.isdecimal():
        raise ValueError(f"expected a workload such as 'matmul:8,8,8 batch=16', got {text!r}")
    return parse_workload(name, batch=int(batch or 1))


def workload_constants(text: str) -> tuple[str, ...]:
    """The inputs of a workload that are weights, whose layout every program may choose.

    >>> workload_constants("conv2d:7,7,512,512,3,1,1 batch=16"), workload_constants("matmul:8,8,8")
    (('W',), ())
    """
    name = text.partition(":")[0].lower()
    name = ALIASES.get(name, name).lower()
    return next((workload.constants for key, workload in WORKLOADS.items() if key.lower() == name), ())


def choose(paths: Iterable[Path], arguments: Namespace) -> list[Record]:
    """The records of files that `add_selection`'s arguments mean.  Raises: ValueError: there are none."""
    records = [record for path in paths for record in read_records(path)]
    chosen = [
        record
        for record in records
        if arguments.task in (None, record.task, record.workload)
        and arguments.threads in (None, record.threads)
        and arguments.source == record.source
    ]
    if not chosen:
        wanted = f"that task and threads and is {arguments.source}"
        raise ValueError(f"{', '.join(map(str, paths))}: none of {len(records)} records has {wanted}")
    return chosen


class Programs:
    """The programs of records, each sketch and computation built once."""

    def __init__(self, workload: str = "") -> None:
        """Prepare; `workload` computes the records that name no workload."""
        self.workload = workload
        self._known: dict[str, dict[tuple[str, ...], Sketch]] = {}

    def name(self, record: Record) -> str:
        """The record's workload; its task where that is one; else the given one.  Raises: ValueError: there is none."""
        text = record.workload or (record.task if ":" in record.task else "") or self.workload
        if not text:
            raise ValueError(f"task {record.task} does not say what it computes; give --workload")
        return text

    def dag(self, record: Record) -> ComputeDAG:
        """The computation of a record.  Raises: ValueError: unknown, or it is another one than was measured."""
        text = self.name(record)
        dag = workload_dag(text)
        if record.task not in (dag.key(), text):
            raise ValueError(f"records of task {record.task} are not of {text}, whose key is {dag.key()}")
        return dag

    def sketches(self, record: Record) -> list[Sketch]:
        """The sketches of a record's computation, and those that its records have asked for."""
        known = self._known.setdefault(self.name(record), {})
        if not known:
            known.update((sketch.key, sketch) for sketch in derive(self.dag(record)))
        return list(known.values())

    def __call__(self, record: Record) -> Program:
        """The program of a record.  Raises: ValueError: its steps or its annotation do not fit."""
        self.sketches(record)
        known = self._known[self.name(record)]
        program = program_of(record, self.dag(record), known)
        known.setdefault(program.sketch.key, program.sketch)
        return program


def by_task(records: Iterable[Record]) -> dict[tuple[str, int], list[Record]]:
    """Records by (workload or task, threads), in order of appearance."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record.workload or record.task, record.threads), []).append(record)
    return groups


def say_json(fields: Mapping[str, Any]) -> None:
    """Print one JSON line for machines."""
    print(json.dumps({"schema": SCHEMA, **fields}))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their header; the first column to the left, numbers to the right.

    >>> print(table(("task", "us"), [("a", "1.5"), ("long", "12.0")]))
    task    us
    a      1.5
    long  12.0
    """
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
        for line in lines
    )
