"""Programs with their measured times, out of records.

Paper: Ansor §5.2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.record import Record
from ansor_mini.sketch import Program, Sketch
from ansor_mini.steps import parse_step


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
        sketch = known.get(record.steps)
        if sketch is None:
            sketch = known[record.steps] = Sketch(dag, tuple(parse_step(text) for text in record.steps))
        program = Program(sketch, tuple(sorted(record.annotation.items())))
        before = found.get(program, record.cost)
        failed = math.isinf(before) or math.isinf(record.cost)
        found[program] = math.inf if failed else min(before, record.cost)
    return found
