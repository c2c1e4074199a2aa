"""Programs of one task are measured with their weights packed, a few at a time where the weights are large."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini import local_measurer
from ansor_mini.annotation import sample
from ansor_mini.local_measurer import LocalMeasurer, case_of
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import derive
from ansor_mini.workloads import parse_workload
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.measure_case import MeasureResult

DAG = parse_workload("matmul:8,32,16")


def nests(count: int) -> list[LoopNest]:
    rng, sketches = np.random.default_rng(0), derive(DAG)
    found: list[LoopNest] = []
    while len(found) < count:
        try:
            found.append(sample(sketches[0], rng, detect()).lower())
        except ScheduleError:
            continue
    return found


def test_inputs_are_small_integers_where_sums_are_exact() -> None:
    case = case_of(DAG, np.random.default_rng(0))
    assert case.exact and all(np.array_equal(array, np.rint(array)) for array in case.inputs)
    assert not case_of(parse_workload("softmax:4,4"), np.random.default_rng(0)).exact


@pytest.mark.cc
@pytest.mark.parametrize("room", [1, 1 << 30])
def test_results_come_in_order_however_many_are_packed_at_once(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_measurer, "PACKED_BYTES", room)
    seen: list[tuple[int, MeasureResult]] = []
    with LocalMeasurer(DAG, constants=("B",), min_repeat_seconds=0.0, repeats=1) as measurer:
        results = measurer(nests(3), lambda number, result: seen.append((number, result)))
    assert [result.kind for result in results] == ["ok"] * 3
    assert seen == list(enumerate(results))
