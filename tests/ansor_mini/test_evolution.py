"""Mutations and crossover stay in the space, fall back with a counted reason, and find what the model likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import sample, uniform_tiles
from ansor_mini.cost_model import RandomModel, TrivialModel
from ansor_mini.evolution import MUTATIONS, EvolutionOptions, Feasibility, crossover, evolve, mutate
from ansor_mini.holes import LOCATION
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.workloads import WORKLOADS
from tests.strategies.programs import SMALL_MACHINE, programs

MATMUL = derive(WORKLOADS["matmul"].dag(16, 16, 16))
CONV = derive(WORKLOADS["ConvLayer"].dag(8, 8, 4, 8, 3, 1, 1))
SEEDS = st.integers(0, 2**32 - 1)


def _samples(sketches: Sequence[Sketch], count: int, seed: int = 0) -> list[Program]:
    rng = np.random.default_rng(seed)
    return [
        sample(sketches[int(rng.integers(len(sketches)))], rng, SMALL_MACHINE, tiles=uniform_tiles)
        for _ in range(count)
    ]


@given(programs(), SEEDS, st.sampled_from(MUTATIONS))
def test_mutations_stay_legal_and_change_something(program: Program, seed: int, mutation: tuple) -> None:
    child = mutation[2](program, np.random.default_rng(seed), 2)
    if child is not None:
        assert child != program and child.identity == program.identity
        assert all(child.annotation[hole.name] in hole.values for hole in child.sketch.holes)


@given(SEEDS)
def test_crossover_takes_each_node_from_one_parent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (sample(CONV[0], rng, SMALL_MACHINE) for _ in range(2))
    feasible = Feasibility()
    child = crossover(first, second, rng, feasible)
    for node in {hole.node for hole in CONV[0].holes}:
        names = [hole.name for hole in CONV[0].holes if hole.node == node]
        mixed = [tuple(parent.annotation[name] for name in names) for parent in (first, second)]
        assert tuple(child.annotation[name] for name in names) in mixed


def test_crossover_of_different_sketches_falls_back_to_the_first() -> None:
    rng = np.random.default_rng(0)
    first, second = sample(MATMUL[0], rng, SMALL_MACHINE), sample(MATMUL[1], rng, SMALL_MACHINE)
    feasible = Feasibility()
    assert crossover(first, second, rng, feasible) is first
    assert feasible.rejections == Counter({"crossover: parents of different sketches": 1})


def test_infeasible_programs_are_counted_by_reason() -> None:
    broken = next(hole for hole in CONV[0].holes if hole.kind == LOCATION)
    program = _samples(CONV[:1], 1)[0]
    bad = CONV[0].program({**program.annotation, broken.name: 999})
    feasible = Feasibility()
    assert not feasible(bad) and not feasible(bad)
    assert [(count, "candidate locations" in reason) for reason, count in feasible.rejections.items()] == [(2, True)]


@given(programs())
def test_feasibility_agrees_with_replay(program: Program) -> None:
    try:
        program.schedule()
        replays = True
    except ScheduleError:
        replays = False
    assert Feasibility()(program) == replays


def test_mutations_without_a_choice_are_counted() -> None:
    fixed = Sketch(MATMUL[0].dag, ()).program({})
    rejections: Counter[str] = Counter()
    assert mutate(fixed, np.random.default_rng(0), rejections=rejections) is None
    assert sum(rejections.values()) == 1


class CountOnes:
    """Likes programs with many tiles of length 1."""

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """3 to the number of ones."""
        return np.array([3.0 ** sum(v.count(1) for _, v in p.frozen if isinstance(v, tuple)) for p in programs])

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Nothing to learn."""


def test_evolution_finds_the_optimum_of_a_toy_model_more_often_than_sampling() -> None:
    found = {"evolved": 0, "sampled": 0}
    ones = sum(hole.parts - 1 for hole in MATMUL[0].holes if hole.kind == "tile")
    for seed in range(8):
        start = _samples(MATMUL[:1], 64, seed)
        options = EvolutionOptions(population=64, generations=12)
        rng = np.random.default_rng(seed)
        best = evolve(start, model=CountOnes(), rng=rng, keep=1, options=options)[0]
        found["evolved"] += CountOnes().predict([best])[0] == 3.0**ones
        found["sampled"] += max(CountOnes().predict(_samples(MATMUL[:1], 64 * 13, seed))) == 3.0**ones
    assert found["evolved"] >= 6 and found["evolved"] > 2 * found["sampled"], found


def test_seen_programs_do_not_come_out_again_and_the_best_come_first() -> None:
    start = _samples(MATMUL, 32)
    model = TrivialModel(SMALL_MACHINE)
    options = EvolutionOptions(population=128)
    first = evolve(start, model=model, rng=np.random.default_rng(0), keep=10, options=options)
    again = evolve(start, model=model, rng=np.random.default_rng(0), keep=10, options=options, seen=set(first))
    assert len(first) == len(again) == 10 and not set(first) & set(again)
    scores = list(model.predict(first))
    assert scores == sorted(scores, reverse=True)


def test_random_model_gives_a_score_each() -> None:
    scores = RandomModel(np.random.default_rng(0)).predict(_samples(MATMUL, 5))
    assert scores.shape == (5,) and (scores > 0).all()


def test_trivial_model_prefers_register_tiles_that_fit() -> None:
    model = TrivialModel(SMALL_MACHINE)
    sketch = next(sketch for sketch in MATMUL if "tile-and-fuse-2" in sketch.rules)
    base = sample(sketch, np.random.default_rng(0), SMALL_MACHINE).annotation | {"C.local.vectorize": 1}
    scores = {}
    for rows, columns in ((1, 1), (4, 4), (8, 8), (16, 16)):
        tiles = {"C.local.i": (1, 1, rows), "C.local.j": (1, 1, columns)}
        scores[rows, columns] = model.predict([sketch.program(base | tiles)])[0]
    assert max(scores, key=scores.__getitem__) == (8, 8)
    assert min(scores, key=scores.__getitem__) == (1, 1)
    base |= {"C.local.i": (1, 1, 4), "C.local.j": (1, 1, 16)}
    plain, vector = (sketch.program(base | {"C.local.vectorize": width}) for width in (0, 1))
    assert model.predict([vector])[0] > model.predict([plain])[0]


def test_tile_mutation_draws_from_the_enumeration() -> None:
    program = _samples(MATMUL[:1], 1)[0]
    rng = np.random.default_rng(0)
    for _ in range(200):
        program = mutate(program, rng) or program
        assert program.annotation["C.i"] in program.sketch.hole["C.i"].values
