"""A search for more threads starts from the best programs of fewer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ansor_mini.annotation import sample
from ansor_mini.holes import PARALLEL
from ansor_mini.record import Record
from ansor_mini.task_tuner import Task, TaskTuner
from ansor_mini.transfer import SEEDS, programs_for_fewer_threads
from ansor_mini.workloads import WORKLOADS
from runtime.machine import detect

DAG = WORKLOADS["matmul"].dag(64, 64, 64)
MACHINE = replace(detect(), cores=4)


def tuner_for(threads: int) -> TaskTuner:
    """A search that never measures."""
    task = Task(DAG.key(), DAG, threads=threads)
    return TaskTuner(task, rng=np.random.default_rng(0), measurer=lambda nests, on_result: [], machine=MACHINE)


def records_of_one_thread(count: int) -> list[Record]:
    """Random programs; the later, the faster."""
    rng, sketches = np.random.default_rng(1), tuner_for(1).sketches
    found = []
    for number in range(count):
        program = sample(sketches[number % len(sketches)], rng, MACHINE, threads=1)
        seconds = 1e-3 / (1 + number)
        found.append(Record(DAG.key(), program.sketch.key, program.annotation, "ok", (seconds,), threads=1))
    return found


def test_the_fastest_come_first_with_new_parallel_loops() -> None:
    records, tuner = records_of_one_thread(8), tuner_for(2)
    found = programs_for_fewer_threads(tuner, records)
    assert len(found) == SEEDS
    for program, record in zip(found, reversed(records)):
        kinds = {hole.name: hole.kind for hole in program.sketch.holes}
        assert program.sketch.key == record.steps
        assert all(program.annotation[name] == record.annotation[name] for name in kinds if kinds[name] != PARALLEL)
        assert any(kind == PARALLEL for kind in kinds.values())
        program.lower()
    assert any("parallel" in str(program.lower()) for program in found)


def test_only_good_programs_of_this_task_and_fewer_threads_count() -> None:
    best, *others = reversed(records_of_one_thread(6))
    assert programs_for_fewer_threads(tuner_for(1), [best]) == []
    assert programs_for_fewer_threads(tuner_for(2), [replace(best, task="another")]) == []
    assert programs_for_fewer_threads(tuner_for(2), [replace(best, kind="wrong_answer", seconds=())]) == []
    assert programs_for_fewer_threads(tuner_for(2), [replace(best, steps=("Unknown()",))]) == []
    tuner = tuner_for(2)
    (known,) = programs_for_fewer_threads(tuner, [best])
    tuner.measured[known] = 1e-3
    assert known not in programs_for_fewer_threads(tuner, [best, *others])
