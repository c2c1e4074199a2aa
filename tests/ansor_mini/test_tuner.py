"""Tuning goes on past programs that fail, stops when it should, and loses nothing when interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.evolution import EvolutionOptions
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.measured_programs import program_of
from ansor_mini.records import RecordFile, best_of, read_records
from ansor_mini.sketch import Sketch
from ansor_mini.task_tuner import OnResult, SearchOptions, TaskTuner
from ansor_mini.tuner import Task, TuneResult, tune
from ansor_mini.twins import twins
from ansor_mini.workloads import WORKLOADS
from runtime.loop_nest import LoopNest
from runtime.measure import KernelSource, measure_sources
from runtime.measure_case import MeasureResult

DAG = WORKLOADS["matmul"].dag(16, 16, 8)
TASK = Task(DAG.key(), DAG)


class FakeMeasurer:
    """Says that a program takes a time made from its text; `failures` maps a trial's number to another result."""

    def __init__(self, failures: dict[int, str] | None = None, interrupt_at: int | None = None) -> None:
        self.failures, self.interrupt_at = failures or {}, interrupt_at
        self.texts: list[str] = []

    def __call__(self, nests: Sequence[LoopNest], on_result: OnResult) -> None:
        for number, nest in enumerate(nests):
            if len(self.texts) == self.interrupt_at:
                raise KeyboardInterrupt
            kind = self.failures.get(len(self.texts), "ok")
            self.texts.append(str(nest))
            seconds = 1e-6 * (1 + int(hashlib.sha256(str(nest).encode()).hexdigest()[:4], 16))
            on_result(
                number, MeasureResult(kind, (seconds,) if kind == "ok" else (), "" if kind == "ok" else "injected")
            )


def _tune(measurer: FakeMeasurer, trials: int = 20, seed: int = 0, **arguments: object) -> TuneResult:
    options = SearchOptions(round_size=8)
    rng = np.random.default_rng(seed)
    return tune(TASK, trials=trials, rng=rng, measurer=measurer, options=options, **arguments)  # type: ignore[arg-type]


def test_best_is_the_fastest_and_the_curve_descends() -> None:
    measurer = FakeMeasurer()
    result = _tune(measurer)
    assert result.stopped == "trials" and result.trials == 20 == len(measurer.texts)
    assert [seconds for _, seconds in result.curve] == sorted((s for _, s in result.curve), reverse=True)
    assert result.best is not None and result.curve[-1][1] == result.best_seconds
    assert str(result.best.lower()) in measurer.texts


def test_no_program_is_measured_twice() -> None:
    measurer = FakeMeasurer()
    _tune(measurer, trials=60)
    assert len(set(measurer.texts)) == len(measurer.texts)


def test_same_seed_gives_same_search() -> None:
    first, second, other = FakeMeasurer(), FakeMeasurer(), FakeMeasurer()
    _tune(first)
    _tune(second)
    _tune(other, seed=1)
    assert first.texts == second.texts != other.texts


class PaddedFirst(FakeMeasurer):
    """Says that programs which copy their padded input are the fastest."""

    def __call__(self, nests: Sequence[LoopNest], on_result: OnResult) -> None:
        for number, nest in enumerate(nests):
            self.texts.append(str(nest))
            seconds = 1e-6 * (len(self.texts) + 1000 * (") as pad:" not in str(nest)))
            on_result(number, MeasureResult("ok", (seconds,), ""))


def test_the_twin_of_the_best_program_is_measured_next() -> None:
    options = SearchOptions(round_size=8, evolution=EvolutionOptions(population=64))
    measurer, rng = PaddedFirst(), np.random.default_rng(0)
    tuner = TaskTuner(
        Task("conv", WORKLOADS["C2D"].dag(8, 8, 4, 8, 3, 1, 1)), rng=rng, measurer=measurer, options=options
    )
    tuner.round(8)
    assert tuner.best is not None and ") as pad:" in str(tuner.best.lower())
    (twin,) = twins(tuner.best, np.random.default_rng(0))
    assert str(twin.lower()) not in measurer.texts
    tuner.round(8)
    assert str(twin.lower()) == measurer.texts[8]


def test_failures_are_records_and_tuning_goes_on(tmp_path: Path) -> None:
    kinds = {0: "crash", 3: "run_timeout", 4: "wrong_answer", 9: "compile_error"}
    with RecordFile(tmp_path / "records.jsonl") as records:
        result = _tune(FakeMeasurer(kinds), records=records)
    read = read_records(tmp_path / "records.jsonl")
    assert [record.kind for record in read] == [kinds.get(i, "ok") for i in range(20)]
    assert dict(result.failures) == {kind: 1 for kind in kinds.values()}
    best = best_of(read, TASK.key)
    assert best is not None and best.cost == result.best_seconds
    assert program_of(best, DAG).lower() == result.best.lower()  # type: ignore[union-attr]


def test_everything_failing_leaves_no_best() -> None:
    result = _tune(FakeMeasurer(dict.fromkeys(range(100), "crash")))
    assert result.best is None and result.failures["crash"] == 20


def test_interrupt_keeps_finished_records_and_resume_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first = FakeMeasurer(interrupt_at=11)
    with RecordFile(path) as records:
        result = _tune(first, records=records)
    assert result.stopped == "interrupted" and result.trials == 11 == len(read_records(path))
    second = FakeMeasurer()
    with RecordFile(path) as records:
        result = _tune(second, records=records, resume=read_records(path))
    assert len(second.texts) == 9 and not set(first.texts) & set(second.texts)
    assert len(read_records(path)) == result.trials == 20
    best = best_of(read_records(path))
    assert best is not None and result.best_seconds == best.cost


def test_records_of_other_tasks_and_threads_do_not_count(tmp_path: Path) -> None:
    with RecordFile(tmp_path / "records.jsonl") as records:
        _tune(FakeMeasurer(), records=records)
    read = read_records(tmp_path / "records.jsonl")
    other = Task("other", DAG)
    threads = Task(TASK.key, DAG, threads=2)
    for task in (other, threads):
        measurer = FakeMeasurer()
        tune(task, trials=3, rng=np.random.default_rng(0), measurer=measurer, resume=read)
        assert len(measurer.texts) == 3


def test_zero_trials_measure_nothing() -> None:
    measurer = FakeMeasurer()
    result = _tune(measurer, trials=0)
    assert result.best is None and not measurer.texts
    with pytest.raises(ValueError, match="trials"):
        _tune(measurer, trials=-1)


def test_budget_stops_between_rounds() -> None:
    assert _tune(FakeMeasurer(), trials=1000, budget_seconds=0.0).stopped == "budget"


def test_small_space_is_exhausted() -> None:
    dag = WORKLOADS["matmul"].dag(1, 2, 1)
    result = tune(Task("tiny", dag), trials=10_000, rng=np.random.default_rng(0), measurer=FakeMeasurer())
    assert result.stopped == "exhausted" and result.best is not None
    assert result.rejections["same loop nest as before"] > 0


def test_seeds_are_measured_first() -> None:
    seed = Sketch(DAG, ()).program({})
    measurer = FakeMeasurer()
    result = _tune(measurer, trials=5, seeds=[seed])
    assert measurer.texts[0] == str(seed.lower()) and result.trials == 5


BAD_KERNELS = {
    0: "for (volatile long i = 0; ; ++i) {}",
    1: "*(volatile int *)0 = 1;",
    2: "for (int i = 0; i < 256; ++i) c[i] = 7.5f;",
}


@pytest.mark.cc
@pytest.mark.slow
def test_kernels_that_hang_crash_or_lie_are_one_record_each(tmp_path: Path) -> None:
    with LocalMeasurer(DAG, run_timeout=2.0) as real, RecordFile(tmp_path / "records.jsonl") as records:

        def measurer(nests: Sequence[LoopNest], on_result: OnResult) -> None:
            bad = [
                KernelSource(
                    f"void bad{number}(const float *a, const float *b, float *c, void *w) {{ {body} }}",
                    f"bad{number}",
                    3,
                )
                for number, body in BAD_KERNELS.items()
            ]
            measure_sources(bad, real.case, runner=real.runner, run_timeout=2.0, on_result=on_result)
            real(nests[len(bad) :], lambda number, result: on_result(number + len(bad), result))

        result = tune(TASK, trials=8, rng=np.random.default_rng(0), measurer=measurer, records=records)
    kinds = [record.kind for record in read_records(tmp_path / "records.jsonl")]
    assert kinds == ["run_timeout", "crash", "wrong_answer", *["ok"] * 5]
    assert result.best is not None and result.trials == 8
