"""The learned cost model: what it learns, what it keeps, and that arrays and single programs get the same score."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ansor_mini import learned_model
from ansor_mini.annotation import sample
from ansor_mini.cost_model import RandomModel, TrivialModel
from ansor_mini.feature_arrays import population_features
from ansor_mini.learned_model import LearnedModel, TrainingData, rank_labels, throughput_labels
from ansor_mini.measured_programs import measured_programs
from ansor_mini.population import Population
from ansor_mini.program_features import featurise
from ansor_mini.ranking import pairwise_accuracy, recall_at
from ansor_mini.record import Record
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import derive
from ansor_mini.workloads import WORKLOADS
from runtime.machine import detect

MACHINE = detect()
DAG = WORKLOADS["matmul"].dag(64, 64, 64)
SKETCHES = derive(DAG, machine=MACHINE)


def feasible(program):
    try:
        program.schedule()
    except ScheduleError:
        return False
    return True


def programs(count, seed=0, sketches=SKETCHES):
    rng = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        program = sample(sketches[int(rng.integers(len(sketches)))], rng, MACHINE)
        if feasible(program):
            found[program] = None
    return list(found)


def seconds(program):
    """A cost that the features can express: the tiles of one axis and the unroll limit."""
    values = program.annotation
    rows = math.prod(next(v for k, v in sorted(values.items()) if isinstance(v, tuple))[-1:])
    return 1e-3 * (1 + abs(math.log2(rows) - 3))


def learned(count=200, **options):
    model = LearnedModel(np.random.default_rng(1), machine=MACHINE, warmup=64, **{"trees": 30, **options})
    known = programs(count)
    model.update(known, [seconds(program) for program in known])
    return model


def test_scores_order_programs_that_it_has_not_seen():
    model, fresh = learned(), programs(100, seed=5)
    costs = np.array([seconds(program) for program in fresh])
    assert pairwise_accuracy(model.predict(fresh), -costs) > 0.7


def test_a_population_scores_as_its_programs_do():
    model = learned()
    for sketch in SKETCHES:
        some = programs(20, seed=7, sketches=(sketch,))
        np.testing.assert_allclose(
            model.predict_population(Population.of(sketch, some)), model.predict(some), rtol=1e-9, atol=1e-12
        )


def test_a_program_scores_the_same_in_any_company():
    model, mixed = learned(), programs(12, seed=3)
    alone = [model.predict([program])[0] for program in mixed]
    np.testing.assert_allclose(model.predict(mixed), alone, rtol=1e-5, atol=1e-7)


def test_the_score_is_the_sum_of_the_statements():
    model, program = learned(), programs(1, seed=9)[0]
    assert model.statement_scores(program).sum() == pytest.approx(model.predict([program])[0])


def test_scores_are_random_during_the_warm_up():
    model = LearnedModel(np.random.default_rng(1), machine=MACHINE, warmup=30)
    some = programs(20)
    model.update(some, [1.0] * 20)
    assert model.trees is None
    first, second = model.predict(some), model.predict(some)
    assert ((first >= 0) & (first < 1)).all() and not np.array_equal(first, second)
    assert not model.statement_scores(some[0]).any()
    model.update(programs(10, seed=2), [1.0] * 10)
    assert model.trees is not None


def test_another_model_may_score_during_the_warm_up():
    trivial, some = TrivialModel(MACHINE), programs(5, sketches=SKETCHES[:1])
    model = LearnedModel(np.random.default_rng(1), machine=MACHINE, warmup=6, before=trivial)
    model.update(some, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert np.array_equal(model.predict(some), trivial.predict(some))
    population = Population.of(SKETCHES[0], some)
    assert np.array_equal(model.predict_population(population), trivial.predict(some))


def test_updates_add_up():
    whole, parts, known = learned(), LearnedModel(np.random.default_rng(1), machine=MACHINE, trees=30), programs(200)
    for first in range(0, 200, 50):
        batch = known[first : first + 50]
        parts.update(batch, [seconds(program) for program in batch])
    fresh = programs(10, seed=8)
    np.testing.assert_allclose(parts.predict(fresh), whole.predict(fresh), rtol=1e-5, atol=1e-7)


def test_retraining_can_wait_for_more_data():
    model = learned(100, retrain=0.2)
    first = model.trees
    model.update(programs(10, seed=11), [1e-3] * 10)
    assert model.trees is first
    model.update(programs(20, seed=12), [1e-3] * 20)
    assert model.trees is not first


def test_what_cannot_be_lowered_scores_minus_infinity(monkeypatch):
    model, some = learned(), programs(3, seed=4)
    expected = model.predict(some)
    rows = featurise(some, MACHINE)
    monkeypatch.setattr(learned_model, "featurise", lambda programs, machine, kind: [rows[0], None, rows[2]])
    np.testing.assert_allclose(model.predict(some), [expected[0], -np.inf, expected[2]])
    before = len(model.data)
    model.update(some, [1.0, math.inf, 1.0])
    assert len(model.data) == before + 2
    monkeypatch.setattr(learned_model, "featurise", lambda programs, machine, kind: [None])
    assert model.predict(some[:1]).tolist() == [-np.inf]


def test_a_population_with_a_program_that_cannot_be_lowered(monkeypatch):
    model, population = learned(), Population.of(SKETCHES[0], programs(3, sketches=SKETCHES[:1]))
    batch = population_features(population, MACHINE, columns=model.trees.tested)
    present = batch.present & [True, False, True]
    monkeypatch.setattr(learned_model, "population_features", lambda *_, columns: replace(batch, present=present))
    assert np.isfinite(model.predict_population(population)).tolist() == [True, False, True]


def test_labels_are_relative_to_the_best_of_each_task():
    data = TrainingData([], ["a", "b", "a", "b", "c"], [2.0, 3.0, 8.0, 6.0, math.inf])
    assert data.labels(throughput_labels).tolist() == [1.0, 1.0, 0.25, 0.5, 0.0]
    assert data.labels(rank_labels).tolist() == [0.75, 0.75, 0.25, 0.25, 0.0]


def test_the_papers_labels_are_relative_throughput():
    model = learned(100, labels="throughput", gamma=0.0, l2=0.01, trees=100)
    known = programs(100)
    labels = min(map(seconds, known)) / np.array([seconds(program) for program in known])
    np.testing.assert_allclose(model.predict(known), labels, atol=0.05)
    with pytest.raises(ValueError, match="one of \\['blended', 'rank', 'throughput'\\], got 'speed'"):
        learned(labels="speed")


def test_tasks_are_told_apart():
    model = LearnedModel(np.random.default_rng(0), machine=MACHINE, warmup=4)
    small = derive(WORKLOADS["matmul"].dag(16, 16, 16), machine=MACHINE)
    model.update(programs(4) + programs(4, sketches=small), [4.0] * 4 + [1.0] * 4)
    assert model.data.labels(throughput_labels).tolist() == [1.0] * 8


def test_save_and_restore(tmp_path):
    model, fresh = learned(), programs(10, seed=6)
    model.save(tmp_path / "model.npz")
    restored = LearnedModel(np.random.default_rng(2), machine=MACHINE).restore(tmp_path / "model.npz")
    assert np.array_equal(restored.predict(fresh), model.predict(fresh))
    assert restored.data.tasks == model.data.tasks and restored.data.seconds == model.data.seconds
    assert all(np.array_equal(a, b) for a, b in zip(restored.data.rows, model.data.rows))
    LearnedModel(np.random.default_rng(2)).save(tmp_path / "empty.npz")
    assert not len(LearnedModel(np.random.default_rng(2)).restore(tmp_path / "empty.npz").data)


def test_bad_input_is_one_clear_error(tmp_path):
    model = LearnedModel(np.random.default_rng(0))
    with pytest.raises(ValueError, match="one entry per program, got 1 for 2"):
        model.update(programs(2), [1.0])
    (tmp_path / "text").write_text("no")
    with pytest.raises(ValueError, match="not a saved LearnedModel"):
        model.restore(tmp_path / "text")


def test_other_models_score_populations_too():
    population = Population.of(SKETCHES[0], programs(5, sketches=SKETCHES[:1]))
    trivial = TrivialModel(MACHINE)
    assert np.array_equal(trivial.predict_population(population), trivial.predict(population.programs()))
    assert RandomModel(np.random.default_rng(0)).predict_population(population).shape == (5,)


def test_programs_rebuilt_from_records_have_the_same_features():
    some = programs(6, seed=2)
    records = [Record("t", p.sketch.key, p.annotation, "ok", (1.0 + i,)) for i, p in enumerate(some)]
    rebuilt = measured_programs([*records, records[0]], DAG)
    assert list(rebuilt.values()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    for old, new in zip(featurise(some, MACHINE), featurise(list(rebuilt), MACHINE)):
        np.testing.assert_allclose(old, new, rtol=1e-5)


def test_a_program_that_ever_failed_is_a_failure():
    program = programs(1)[0]
    good = Record("t", program.sketch.key, program.annotation, "ok", (1.0,))
    bad = Record("t", program.sketch.key, program.annotation, "wrong_answer")
    for records in ([good, bad], [bad, good], [good, bad, good]):
        assert list(measured_programs(records, DAG, SKETCHES).values()) == [math.inf]


def test_ranking_by_hand():
    labels = np.array([1.0, 0.5, 0.5, 0.1])
    assert pairwise_accuracy(labels, labels) == 1.0
    assert pairwise_accuracy(-labels, labels) == 0.0
    assert pairwise_accuracy(np.zeros(4), labels) == 0.5
    assert math.isnan(pairwise_accuracy(labels, np.ones(4)))
    assert pairwise_accuracy(np.array([4, 1, 2, 3]), labels) == 3 / 5
    assert pairwise_accuracy(np.array([4, 1, 2, 3]), labels, apart=0.85) == 1.0
    assert recall_at(1, labels, labels) == 1.0 and recall_at(1, -labels, labels) == 0.0
    with pytest.raises(ValueError, match="between 1 and the 4 programs, got 5"):
        recall_at(5, labels, labels)


def test_features_of_registers_are_an_alternative(tmp_path):
    known = programs(40)
    model = LearnedModel(np.random.default_rng(0), machine=MACHINE, warmup=1, features="registers")
    model.update(known, [seconds(program) for program in known])
    assert model.trees is not None and model.trees.width == 180
    population = Population.of(SKETCHES[0], [program for program in known if program.sketch is SKETCHES[0]])
    np.testing.assert_allclose(model.predict_population(population), model.predict(population.programs()), rtol=1e-9)
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="expected 164 features, 'paper', got 180"):
        LearnedModel(np.random.default_rng(0), machine=MACHINE).restore(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="one of \\['paper', 'registers'\\], got 'all'"):
        LearnedModel(np.random.default_rng(0), features="all")
