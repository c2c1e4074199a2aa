"""Random annotations are legal, and prefer register tiles that fit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import ACCUMULATORS, parallel_width, register_tiles, sample, uniform_tiles
from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import LOCATION, PARALLEL, TILE, VECTORIZE
from ansor_mini.population_annotation import sample_population
from ansor_mini.schedule import At, ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.sketch_rules import MULTI_LEVEL_TILING, SKIP_STAGE
from ansor_mini.workloads import WORKLOADS
from runtime.machine import detect
from tests.strategies.programs import SMALL_MACHINE, programs

WIDE = replace(detect(), vector_bytes=64)


@given(programs())
def test_every_value_is_one_of_its_holes(program: Program) -> None:
    for hole in program.sketch.holes:
        assert program.annotation[hole.name] in hole.values


@given(programs(), st.sampled_from([1, 2, 6, 16]), st.integers(0, 2**32 - 1))
def test_no_innermost_length_is_longer_than_its_hole_allows(program: Program, longest: int, seed: int) -> None:
    holes = tuple(
        replace(hole, innermost=longest) if hole.kind == TILE and position % 2 else hole
        for position, hole in enumerate(program.sketch.holes)
    )
    sketch = replace(program.sketch, holes=holes)
    alone = sample(sketch, np.random.default_rng(seed), SMALL_MACHINE)
    for drawn in (alone, *sample_population(sketch, 4, np.random.default_rng(seed), SMALL_MACHINE).programs()):
        assert all(drawn.annotation[hole.name] in hole.values for hole in sketch.holes), str(drawn)


@given(programs())
def test_stages_without_loops_of_their_own_get_no_loop_annotations(program: Program) -> None:
    annotation = program.annotation
    for hole in program.sketch.holes:
        location = annotation.get(f"{hole.node}.{LOCATION}", 1)
        if hole.kind == PARALLEL and location != 1 or hole.kind == VECTORIZE and location == 0:
            assert annotation[hole.name] == 0


def _accumulators(program: Program, lanes: int) -> float:
    ((spatial, _),) = program.sketch.tiled.values()
    lengths = [program.annotation[hole.name] for hole in spatial]
    return math.prod(length[-1] for length in lengths if isinstance(length, tuple)) / lanes


def test_register_tiles_fill_the_registers_of_a_matmul() -> None:
    rng = np.random.default_rng(0)
    sketch = derive(WORKLOADS["matmul"].dag(512, 512, 512))[1]
    fitting = [_accumulators(sample(sketch, rng, WIDE), 16) in ACCUMULATORS for _ in range(200)]
    uniform = [_accumulators(sample(sketch, rng, WIDE, tiles=uniform_tiles), 16) in ACCUMULATORS for _ in range(200)]
    assert sum(fitting) > 150 > sum(uniform)


@given(st.integers(0, 2**32 - 1), st.sampled_from(((7, 7, 512, 512, 3, 1, 1), (55, 55, 3, 7, 1, 1, 0))))
def test_register_tiles_of_awkward_shapes_are_legal(seed: int, shape: tuple[int, ...]) -> None:
    sketch = derive(WORKLOADS["C2D"].dag(*shape))[0]
    for name, value in register_tiles(sketch, np.random.default_rng(seed), WIDE).items():
        assert value in sketch.hole[name].values


@given(st.integers(5, 300), st.integers(16, 300), st.integers(0, 2**32 - 1))
def test_any_extents_have_register_tiles_that_keep_the_units_busy(rows: int, columns: int, seed: int) -> None:
    sketch = derive(WORKLOADS["matmul"].dag(rows, columns, 3), (MULTI_LEVEL_TILING, SKIP_STAGE))[0]
    high, wide = (
        {value[-1] for value in sketch.hole[name].values if isinstance(value, tuple)} for name in ("C.i", "C.j")
    )
    assert high & set(range(5, 15))
    assert any(length % 16 == 0 for length in wide)
    tiles = register_tiles(sketch, np.random.default_rng(seed), WIDE)
    assert all(tiles[hole.name] in hole.values for hole in sketch.holes if hole.kind == TILE)


@pytest.mark.parametrize("shape", [(7, 7, 512), (14, 14, 256), (49, 1, 512), (13, 11, 24), (56, 56, 64), (8, 8, 3)])
def test_most_drawn_tiles_of_a_layer_are_tall_and_fit(shape: tuple[int, int, int]) -> None:
    h, w, co = shape
    sketch = derive(WORKLOADS["C2D"].dag(h, w, 16, co, 1, 1, 0))[0]
    ((spatial, _),) = sketch.tiled.values()
    rng, good = np.random.default_rng(0), 0
    for _ in range(100):
        tiles = register_tiles(sketch, rng, WIDE)
        inner = [value[-1] for hole in spatial if isinstance(value := tiles[hole.name], tuple)]
        vectors = -(-inner[-1] // 16)
        good += math.prod(inner[:-1]) >= 5 and math.prod(inner[:-1]) * vectors <= 28
    assert good > 60


def test_two_readers_share_a_loop_only_where_one_is_computed_inside_the_other() -> None:
    sketch = derive(WORKLOADS["softmax"].dag(8, 64), (SKIP_STAGE,))[0]
    together = {"total.location": 2, "powers.location": 2, "largest.location": 2}
    quiet = {hole.name: 0 for hole in sketch.holes if hole.kind != LOCATION}
    assert set(together.values()) <= set(sketch.hole["powers.location"].choices)
    state = sketch.program({**quiet, **together}).schedule()
    assert {str(state[name].location) for name in ("largest", "powers", "total")} == {str(At("softmax", "i"))}
    with pytest.raises(ScheduleError, match="candidate locations"):
        sketch.program({**quiet, **together, "total.location": 1}).schedule()


def test_most_programs_of_a_softmax_are_feasible_and_many_work_row_by_row() -> None:
    rng, sketch = np.random.default_rng(0), derive(WORKLOADS["softmax"].dag(8, 64), (SKIP_STAGE,))[0]
    programs = [sample(sketch, rng, WIDE) for _ in range(200)]
    assert sum(map(Feasibility(), programs)) > 120
    rows = [all(p.annotation[f"{name}.location"] == 2 for name in ("largest", "powers", "total")) for p in programs]
    assert sum(rows) > 30


def test_loops_that_run_once_are_no_vector() -> None:
    sketch = derive(WORKLOADS["NRM"].dag(16, 16), (SKIP_STAGE,))[0]
    rng = np.random.default_rng(0)
    assert {sample(sketch, rng, WIDE).annotation["norm.vectorize"] for _ in range(20)} == {0}


def test_parallel_loops_are_fused_until_there_is_work_for_all_threads() -> None:
    sketch = derive(WORKLOADS["matmul"].dag(64, 64, 8))[0]
    hole = sketch.hole["C.parallel"]
    annotation = {"C.i": (1, 1, 1), "C.j": (1, 1, 1)}
    assert parallel_width(hole, annotation, threads=4) == 1
    assert parallel_width(hole, annotation, threads=5) == 2
    assert parallel_width(hole, annotation, threads=1) == 0
    assert parallel_width(hole, {"C.i": (64, 1, 1), "C.j": (64, 1, 1)}, threads=2) == 0
