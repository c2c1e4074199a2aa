"""A population's features are those of its programs, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansor_mini.annotation import register_tiles, sample, uniform_tiles
from ansor_mini.feature_arrays import population_features, raw_population_features
from ansor_mini.feature_names import ALL_NAMES
from ansor_mini.features import features, raw_features
from ansor_mini.population import Population
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES, CPU_RULES_WITH_RFACTOR
from tests.strategies.dags import dags
from tests.strategies.programs import SMALL_MACHINE, SMALL_WORKLOADS


@st.composite
def populations(draw: st.DrawFn) -> Population:
    """Random programs of a sketch of a small workload or a random DAG, feasible or not."""
    if draw(st.booleans()):
        dag = SMALL_WORKLOADS[draw(st.sampled_from(sorted(SMALL_WORKLOADS)))]()
    else:
        dag = draw(dags())
    rules = draw(st.sampled_from((CPU_RULES, CPU_RULES_WITH_RFACTOR)))
    structure = draw(st.sampled_from(("SSRSRS", "SRS", "SSRS")))
    sketch = draw(st.sampled_from(derive(dag, rules, SMALL_MACHINE, structure=structure)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Population.of(sketch, [_program(sketch, rng, draw) for _ in range(draw(st.integers(1, 6)))])


def _program(sketch: Sketch, rng: np.random.Generator, draw: st.DrawFn):
    if draw(st.booleans()):
        return sketch.program({hole.name: hole.values[rng.integers(len(hole.values))] for hole in sketch.holes})
    tiles = draw(st.sampled_from((uniform_tiles, register_tiles)))
    return sample(sketch, rng, SMALL_MACHINE, threads=draw(st.sampled_from((1, 2))), tiles=tiles)


@settings(max_examples=30, deadline=None)
@given(populations())
def test_batched_features_equal_those_of_each_program(population: Population):
    check_equal(population)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(populations())
def test_batched_features_equal_those_of_each_of_many_programs(population: Population):
    check_equal(population)


def check_equal(population: Population) -> None:
    batch = raw_population_features(population, fewest=1, columns=np.arange(len(ALL_NAMES)))
    for row, program in enumerate(population.programs()):
        try:
            expected = raw_features(program, registers=True)
        except ScheduleError:
            continue
        got = batch.values[batch.present[:, row], :, row]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=0)


def test_scaled_features_have_the_shape_that_the_model_wants():
    sketch = derive(SMALL_WORKLOADS["convolution"](), CPU_RULES, SMALL_MACHINE)[0]
    rng = np.random.default_rng(0)
    programs = [sample(sketch, rng, SMALL_MACHINE) for _ in range(20)]
    batch = population_features(Population.of(sketch, programs), fewest=1)
    assert batch.values.dtype == np.float32 and batch.values.shape == (len(batch.stages), 164, 20)
    for row, program in enumerate(programs):
        got = batch.values[batch.present[:, row], :, row]
        np.testing.assert_allclose(got, features(program), rtol=1e-6)


def test_programs_of_rare_structures_are_treated_one_by_one():
    sketch = derive(SMALL_WORKLOADS["convolution"](), CPU_RULES, SMALL_MACHINE)[0]
    rng = np.random.default_rng(1)
    population = Population.of(sketch, [sample(sketch, rng, SMALL_MACHINE) for _ in range(12)])
    alone, together = (raw_population_features(population, fewest=fewest) for fewest in (10**9, 1))
    feasible = alone.present.any(axis=0)
    assert feasible.any() and np.array_equal(alone.present[:, feasible], together.present[:, feasible])
    np.testing.assert_allclose(alone.values[..., feasible], together.values[..., feasible], rtol=1e-9, atol=0)


@pytest.mark.parametrize("columns", [[], [0], [150], [163, 5, 147, 60], list(range(1, 164, 2)), [173, 2, 164]])
def test_some_columns_are_those_of_all(columns):
    sketch = derive(SMALL_WORKLOADS["convolution"](), CPU_RULES, SMALL_MACHINE)[0]
    rng = np.random.default_rng(2)
    population = Population.of(sketch, [sample(sketch, rng, SMALL_MACHINE) for _ in range(30)])
    whole = population_features(population, fewest=3, columns=np.arange(len(ALL_NAMES)))
    some = population_features(population, fewest=3, columns=np.array(columns, int))
    assert some.values.shape == (len(whole.stages), len(columns), 30)
    assert np.array_equal(some.present, whole.present) and np.array_equal(some.values, whole.values[:, columns])
