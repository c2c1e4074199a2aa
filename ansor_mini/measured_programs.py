"""Programs and records: the record of a measured program, and programs with their times out of records.

Paper: Ansor §5.2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.holes import freeze
from ansor_mini.record import MEASURED, Record, now, versions
from ansor_mini.sketch import Program, Sketch
from ansor_mini.steps import parse_step
from runtime.measure_case import MeasureResult


def record_of(
    program: Program, result: MeasureResult, task: str, threads: int, machine: str, source: str = MEASURED
) -> Record:
    """The record of a program that was just measured."""
    return Record(
        task=task,
        steps=program.sketch.key,
        annotation=program.annotation,
        kind=result.kind,
        seconds=tuple(result.seconds),
        reason=result.reason,
        threads=threads,
        machine=machine,
        versions=versions(),
        time=now(),
        source=source,
        facts=result.facts,
    )


def program_of(record: Record, dag: ComputeDAG, known: Mapping[tuple[str, ...], Sketch] | None = None) -> Program:
    """The program of a record: its sketch out of `known` if it is there, else rebuilt from the recorded steps.

    A rebuilt sketch lists no holes, so it fits any annotation.
    Raises: ValueError: the steps are not steps, or the annotation does not fit them.
    """
    sketch = (known or {}).get(record.steps) or Sketch(dag, tuple(parse_step(text) for text in record.steps))
    return sketch.program(record.annotation) if sketch.holes else Program(sketch, freeze(record.annotation))


def measured_programs(
    records: Iterable[Record], dag: ComputeDAG, sketches: Sequence[Sketch] = ()
) -> dict[Program, float]:
    """Each program of some records of one task with its seconds, in the order they were first measured.

    The seconds are the least when it was measured more than once, and infinite when it ever failed. sketches: those of
    the task; programs of others get a sketch that is rebuilt from the steps and lists no holes.
    """
    known = {sketch.key: sketch for sketch in sketches}
    found: dict[Program, float] = {}
    for record in records:
        program = program_of(record, dag, known)
        known.setdefault(record.steps, program.sketch)
        before = found.get(program, record.cost)
        failed = math.isinf(before) or math.isinf(record.cost)
        found[program] = math.inf if failed else min(before, record.cost)
    return found
