"""Tune one task until its trials or its seconds are used up.

Paper: Ansor §3

The search itself, round by round, is `task_tuner`; here is the loop around it, and what it hands back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np

from ansor_mini.cost_model import CostModel
from ansor_mini.records import Record
from ansor_mini.sketch import Program
from ansor_mini.target import Device
from ansor_mini.task_tuner import Measurer, Observer, RecordSink, SearchOptions, Task, TaskTuner, TuneResult

DRY_ROUNDS = 3  # rounds without a new program after which a task counts as exhausted

__all__ = ["SearchOptions", "Task", "TaskTuner", "TuneResult", "tune"]


def tune(
    task: Task,
    *,
    trials: int,
    rng: np.random.Generator,
    measurer: Measurer,
    budget_seconds: float = math.inf,
    records: RecordSink | None = None,
    resume: Iterable[Record] = (),
    seeds: Sequence[Program] = (),
    model: CostModel | None = None,
    machine: Device | None = None,
    options: SearchOptions | None = None,
    observer: Observer | None = None,
) -> TuneResult:
    """Tune one task until `trials` programs are measured (resumed ones included) or `budget_seconds` have passed.

    Ctrl-C ends the search early: every finished record is kept, and the result says "interrupted".
    Raises: ValueError: a negative number of trials.
    """
    if trials < 0:
        raise ValueError(f"trials must not be negative, got {trials}")
    tuner = TaskTuner(
        task,
        rng=rng,
        measurer=measurer,
        records=records,
        resume=resume,
        seeds=seeds,
        model=model,
        machine=machine,
        options=options,
        observer=observer,
    )
    deadline = time.monotonic() + budget_seconds
    dry = 0
    try:
        while len(tuner.measured) < trials:
            if time.monotonic() >= deadline:
                return tuner.result("budget")
            dry = 0 if tuner.round(min(tuner.options.round_size, trials - len(tuner.measured))) else dry + 1
            if dry == DRY_ROUNDS:
                return tuner.result("exhausted")
    except KeyboardInterrupt:
        return tuner.result("interrupted")
    return tuner.result("trials")
