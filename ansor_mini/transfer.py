"""Programs found for fewer threads, as a start for a search with more.

A kernel that is fast on one core is most often fast on two with its outermost loops shared out; only their granularity
has to be chosen anew.

Paper: Ansor §5.1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ansor_mini.annotation import complete
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.holes import PARALLEL
from ansor_mini.measured_programs import program_of
from ansor_mini.record import OK, Record
from ansor_mini.sketch import Program, Sketch
from ansor_mini.task_tuner import TaskTuner

SEEDS = 4  # programs that are measured first


def programs_for_fewer_threads(tuner: TaskTuner, records: Iterable[Record], count: int = SEEDS) -> list[Program]:
    """The fastest recorded programs of a task for fewer threads than it is tuned for, with new parallel loops.

    Programs that were measured already are left out, and those of sketches that this search does not have.
    """
    task, known = tuner.task, {sketch.key: sketch for sketch in tuner.sketches}
    fewer = [record for record in records if record.task == task.key and record.threads < task.threads]
    found = with_threads(fewer, task.dag, known, task.threads, tuner.machine.lanes, count)
    return [program for program in found if program not in tuner.measured]


def with_threads(
    records: Iterable[Record],
    dag: ComputeDAG,
    known: Mapping[tuple[str, ...], Sketch],
    threads: int,
    lanes: int,
    count: int,
) -> list[Program]:
    """The fastest correct programs of some records of a task, different once their parallel loops are chosen anew.

    known: the sketches to take, by their keys.
    """
    good = [record for record in records if record.kind == OK and record.steps in known]
    found: dict[Program, None] = {}
    for record in sorted(good, key=lambda record: record.cost):
        sketch = program_of(record, dag, known).sketch
        kept = {name: value for name, value in record.annotation.items() if sketch.hole[name].kind != PARALLEL}
        rng = np.random.default_rng(0)
        found[sketch.program(complete(sketch, kept, rng, threads=threads, lanes=lanes))] = None
        if len(found) == count:
            break
    return list(found)
