"""What counts as the right answer."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.measure_case import KINDS, MeasureCase, MeasureResult

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("expected", "actual", "exact", "right"),
    [
        ([1.0, 2.0], [1.0, 2.0], True, True),
        ([1.0, 2.0], [1.0, 2.0000002], True, False),
        ([1.0, 2.0], [1.0, 2.0000002], False, True),
        ([1.0, 2.0], [1.0, 2.1], False, False),
        ([0.0, 1000.0], [0.01, 1000.0], False, True),
        ([0.0, 1.0], [0.01, 1.0], False, False),
        ([NAN, 1.0], [NAN, 1.0], True, True),
        ([0.0, 1.0], [NAN, 1.0], False, False),
        ([INF, 1.0], [INF, 1.0], False, True),
        ([INF, 1.0], [1.0, 1.0], False, False),
        ([1.0, 1.0], [INF, 1.0], False, False),
    ],
)
def test_agreement(expected: list[float], actual: list[float], exact: bool, right: bool) -> None:
    case = MeasureCase([], [np.array(expected, np.float32)], exact=exact)
    assert (case.mistake([np.array(actual, np.float32)]) == "") == right


def test_integers_and_booleans_are_compared_exactly() -> None:
    case = MeasureCase([], [np.array([1, 2]), np.array([True, False])], exact=False)
    assert case.mistake([np.array([1, 2]), np.array([True, False])]) == ""
    assert "output 0" in case.mistake([np.array([1, 3]), np.array([True, False])])
    assert "output 1" in case.mistake([np.array([1, 2]), np.array([True, True])])


def test_a_case_survives_its_files(tmp_path) -> None:
    arrays = [np.array(3, np.float32), np.arange(6, dtype=np.int64).reshape(2, 3).T, np.array([True])]
    MeasureCase(arrays, arrays[:2], exact=False, rtol=0.5).save(tmp_path)
    loaded = MeasureCase.load(tmp_path)
    assert (loaded.exact, loaded.rtol, len(loaded.expected)) == (False, 0.5, 2)
    for array, again in zip(arrays, loaded.inputs, strict=True):
        assert again.dtype == array.dtype and again.shape == array.shape and (again == array).all()
        assert again.flags.c_contiguous and not again.flags.writeable


def test_callers_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="inputs.*list"):
        MeasureCase([[1.0]], [np.zeros(1)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="expected"):
        MeasureCase([], [])
    with pytest.raises(ValueError, match="rtol"):
        MeasureCase([], [np.zeros(1)], rtol=-1)
    with pytest.raises(ValueError, match="kind"):
        MeasureResult("fine")


def test_a_failure_costs_more_than_any_time() -> None:
    assert all(MeasureResult(kind).cost == INF for kind in KINDS if kind != "ok")
    assert MeasureResult("ok", (1e9,)).cost < INF
