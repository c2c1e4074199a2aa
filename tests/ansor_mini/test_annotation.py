"""Random annotations are legal, and prefer register tiles that fit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import ACCUMULATORS, parallel_width, register_tiles, sample, uniform_tiles
from ansor_mini.holes import LOCATION, PARALLEL, VECTORIZE
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS
from runtime.machine import detect
from tests.strategies.programs import programs

WIDE = replace(detect(), vector_bytes=64)


@given(programs())
def test_every_value_is_one_of_its_holes(program: Program) -> None:
    for hole in program.sketch.holes:
        assert program.annotation[hole.name] in hole.values


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


def test_parallel_loops_are_fused_until_there_is_work_for_all_threads() -> None:
    sketch = derive(WORKLOADS["matmul"].dag(64, 64, 8))[0]
    hole = sketch.hole["C.parallel"]
    annotation = {"C.i": (1, 1, 1), "C.j": (1, 1, 1)}
    assert parallel_width(hole, annotation, threads=4) == 1
    assert parallel_width(hole, annotation, threads=5) == 2
    assert parallel_width(hole, annotation, threads=1) == 0
    assert parallel_width(hole, {"C.i": (64, 1, 1), "C.j": (64, 1, 1)}, threads=2) == 0
