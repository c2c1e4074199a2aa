"""The model that starts from an estimate: equal to it without data, better than it with some."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ansor_mini.cost_model import TrivialModel
from ansor_mini.guided_model import GuidedModel
from ansor_mini.holes import TILE
from ansor_mini.learned_model import LearnedModel
from ansor_mini.population_annotation import sample_population
from ansor_mini.sketch import derive
from ansor_mini.workloads import parse_workload
from runtime.machine import detect

MACHINE = detect(vector_bytes=64, l1_bytes=32 << 10, l2_bytes=1 << 20)
DAG = parse_workload("matmul:96,96,64")


def population(count=300, seed=0):
    return sample_population(derive(DAG, machine=MACHINE)[1], count, np.random.default_rng(seed), MACHINE)


def model(**options):
    return GuidedModel(np.random.default_rng(0), TrivialModel(MACHINE), machine=MACHINE, **options)


def invented_seconds(programs):
    """The estimate, but slow for a reason that the estimate does not know: deep inner sums."""
    estimate = 1.0 / TrivialModel(MACHINE).predict(programs)
    reduce = [next(h.name for h in p.sketch.holes if h.kind == TILE and h.reduce) for p in programs]
    depth = np.array([p.annotation[name][-1] for p, name in zip(programs, reduce)])
    return estimate * (1.0 + np.log2(depth))


def pairs_in_order(scores, seconds):
    first, second = np.triu_indices(len(scores), 1)
    return np.mean((scores[first] > scores[second]) == (seconds[first] < seconds[second]))


def test_without_data_it_is_the_estimate():
    rows = population(50)
    assert np.array_equal(model().predict_population(rows), TrivialModel(MACHINE).predict_population(rows))


def test_a_population_and_its_programs_score_alike():
    rows = population(120)
    programs = rows.programs()
    learned = model()
    learned.update(programs, invented_seconds(programs).tolist())
    assert np.allclose(learned.predict_population(rows), learned.predict(programs), rtol=1e-6)


@pytest.mark.parametrize("count", [24, 100])
def test_measurements_make_it_better_than_the_estimate(count):
    train, test = population(count, seed=1).programs(), population(200, seed=2)
    learned = model()
    learned.update(train, invented_seconds(train).tolist())
    seconds = invented_seconds(test.programs())
    alone = pairs_in_order(TrivialModel(MACHINE).predict_population(test), seconds)
    assert pairs_in_order(learned.predict_population(test), seconds) > alone


def test_failures_are_learned_as_the_slowest():
    rows = population(100)
    programs = rows.programs()
    seconds = invented_seconds(programs)
    failed = np.array([p.annotation["C.local.unroll"] == 16 for p in programs])
    learned = model()
    learned.update(programs, np.where(failed, math.inf, seconds).tolist())
    scores = learned.predict_population(rows)
    assert scores[~failed].mean() > 2 * scores[failed].mean()


def test_as_many_times_as_programs():
    with pytest.raises(ValueError, match="got 1 for 2"):
        model().update(population(2).programs(), [1.0])


def test_a_saved_model_scores_as_before(tmp_path):
    rows = population(60)
    programs = rows.programs()
    learned = model()
    learned.update(programs, invented_seconds(programs).tolist())
    learned.save(tmp_path / "model.npz")
    restored = model().restore(tmp_path / "model.npz")
    assert np.array_equal(restored.predict_population(rows), learned.predict_population(rows))
    restored.update(programs[:4], invented_seconds(programs[:4]).tolist())


def test_a_model_of_another_kind_is_refused(tmp_path):
    LearnedModel(np.random.default_rng(0), machine=MACHINE).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="not a saved GuidedModel: it holds no estimates"):
        model().restore(tmp_path / "model.npz")
