"""The parts of the cost model benchmark, on made-up measurements; xgboost, where it is installed, agrees with us."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks import cost_model as benchmark
from tests.benchmarks.cost_model_fits import Way, fit_ours, fit_xgboost


@pytest.fixture(scope="module")
def measured():
    """Two tasks of 200 programs with two statements each; the label depends on three of twelve features."""
    rng = np.random.default_rng(0)
    program = np.repeat(np.arange(400), 2)
    X = rng.integers(0, 10, (800, 12)).astype(np.float32)
    cost = (1 + X[:, 0] * 0.3 + np.abs(X[:, 1] - 4) * (X[:, 2] > 3)).reshape(400, 2).sum(axis=1)
    return benchmark.Measured(X, program, cost, np.repeat([0, 1], 200), ("a", "b"), rng.random(400))


def folds(measured):
    return np.random.default_rng(1).permutation(np.arange(len(measured.seconds)) % benchmark.FOLDS)


def test_a_part_of_the_programs_keeps_its_rows_together(measured):
    chosen = measured.speed > 0.2
    X, labels, program = measured.part(chosen)
    assert np.array_equal(np.bincount(program), np.full(chosen.sum(), 2)) and len(labels) == chosen.sum()
    assert np.array_equal(X, measured.X[np.repeat(chosen, 2)])


def test_labels_of_a_part_do_not_see_the_others(measured):
    chosen = measured.speed < 0.5
    task = measured.task[chosen]
    _, labels, _ = measured.part(chosen, "throughput")
    assert [labels[task == number].max() for number in (0, 1)] == [1.0, 1.0]


def test_every_program_is_scored_by_a_model_that_has_not_seen_it(measured):
    fold, seen = folds(measured), []

    def fit(X, labels, program):
        seen.append({row.tobytes() for row in X})
        return lambda rows: np.array([float(row.tobytes() in seen[-1]) for row in rows])

    assert benchmark.cross_validated(measured, Way(fit), fold).sum() < 0.01 * len(measured.seconds)
    assert len(seen) == benchmark.FOLDS


def test_xgboost_orders_programs_as_well_as_we_do(measured):
    pytest.importorskip("xgboost")
    fold = folds(measured)
    ours, theirs = (
        benchmark.quality(measured, benchmark.cross_validated(measured, Way(fit), fold))
        for fit in (fit_ours, fit_xgboost)
    )
    assert ours["pairwise_accuracy"] > 0.85
    assert ours["pairwise_accuracy"] == pytest.approx(theirs["pairwise_accuracy"], abs=0.02)


def test_the_table_and_the_figures(measured, capsys):
    figures = benchmark.compare(measured, quick=True)
    printed = capsys.readouterr().out
    assert "ours" in printed and "tile sizes" in printed
    assert figures["programs"] == 400 and figures["tasks"] == 2
    assert 0.8 < figures["pairwise_accuracy"] <= figures["clear_pairwise_accuracy"] <= 1


def test_measuring_again_is_the_most_that_a_model_can_do(measured):
    rng = np.random.default_rng(5)
    halves = measured.seconds * np.exp(0.05 * rng.standard_normal((2, len(measured.seconds))))
    figures = benchmark.compare(replace(measured, halves=halves), quick=True)
    assert 0.8 < figures["measured_again_pairwise_accuracy"] < 1


def test_no_records_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="does not exist; python -m tests.benchmarks.tune_operators makes it"):
        benchmark.load(tmp_path / "none.jsonl.gz")
