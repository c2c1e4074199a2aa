"""The features of one program: the reference's numbers, and regions against addresses that really are touched."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ansor_mini.feature_names import FEATURE_NAMES, NUMERIC, REGISTERS
from ansor_mini.features import features, raw_features
from ansor_mini.schedule import State
from ansor_mini.schedule_examples import matmul, replay
from ansor_mini.steps import ComputeAt, Parallel, Reorder, Split, Unroll, Vectorize


def blocked_matmul() -> State:
    """The paper's code's own test: 512³, parallel i0 and j0, unrolled k, 16 rows, 8 columns as a vector."""
    steps = [
        Split("C", "i", (16,)), Split("C", "j", (8,)), Reorder("C", ("i.0", "j.0", "k", "i.1", "j.1")),
        Parallel("C", "i.0"), Unroll("C", "k"), Vectorize("C", "j.1"),
    ]  # fmt: skip
    return replay(matmul(512, 512, 512), steps)


def named(row: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, row.tolist()))


def slot(row: dict[str, float], number: int) -> dict[str, float]:
    prefix = f"B{number}."
    return {name[len(prefix) :]: value for name, value in row.items() if name.startswith(prefix)}


def log(number: float) -> float:
    return pytest.approx(math.log2(number + 1), rel=1e-6)


def test_names_are_164_and_differ():
    assert len(FEATURE_NAMES) == 164 == len(set(FEATURE_NAMES))
    assert NUMERIC.count(False) == 24 + 1 + 5 * 6


def test_blocked_matmul_has_the_reference_numbers():
    row = named(features(blocked_matmul())[0])
    a, c, b = (slot(row, number) for number in range(3))
    assert c["is_read_write"] == a["is_read"] == b["is_read"] == 1
    assert c["bytes"] == log(512**3 * 4)
    assert b["unique_bytes"] == log(512**2 * 4)
    assert c["reuse_distance_iterations"] == log(8 * 16)
    assert c["reuse_distance_bytes"] == log((8 * 16 + 8 + 16) * 4)
    assert c["reuse_count"] == log(512)
    assert row["unroll_num"] == row["vec_num"] == row["parallel_num"] == log(1)
    assert row["parallel_prod"] == log(32) and row["vec_len"] == log(8) and row["unroll_len"] == log(512)
    assert row["vec_type.inner_spatial"] == row["unroll_type.middle_reduce"] == row["parallel_type.outer_spatial"] == 1
    assert row["alloc_size"] == log(2**20) and row["alloc_outer_prod"] == log(1)
    assert row["outer_prod"] == log(512**3) and row["num_loops"] == log(5)


def test_multiply_adds_are_counted_for_every_iteration():
    row = named(raw_features(blocked_matmul())[0])
    assert row["float_mad"] == 512**3 and row["float_addsub"] == row["float_mul"] == 0
    # i and j are two loops each and k one; each is named twice
    assert row["int_addsub"] == row["int_mul"] == 4 * 512**3


def test_lines_count_only_the_loops_that_move_an_access():
    row = named(raw_features(blocked_matmul())[0])
    a, c, b = (slot(row, number) for number in range(3))
    assert a["lines"] == 512**3 / 8 and a["stride"] == 0  # one row of A for each vector of columns
    assert b["lines"] == c["lines"] == 512**3 * 4 / 64 and b["stride"] == 1


def test_intensity_rises_from_one_iteration_to_the_whole():
    row = named(raw_features(blocked_matmul())[0])
    curve = [row[f"arith_intensity_curve_{k}"] for k in range(10)]
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(2 * 512**3 / (3 * 512**2 * 4))


def test_a_fused_producer_is_reused_by_its_reader():
    state = replay(matmul(8, 8, 16, relu=True), [ComputeAt("C", "D", "i")])
    producer, reader = (named(row) for row in raw_features(state))
    d = next(slot(reader, n) for n in range(5) if slot(reader, n)["is_read"])
    assert producer["alloc_size"] == 8 * 4 and producer["alloc_outer_prod"] == 8
    assert d["unique_bytes"] == 8 * 4
    # i does not move the tile, but the tile is touched before: initialised and updated in C, read in D
    assert d["loop_reuse"] == 1 and d["reuse_count"] == 8


def test_a_loop_that_runs_once_is_no_loop():
    split = [Split("C", "i", (1,)), Split("C", "j", (8,))]
    plain, once = raw_features(replay(matmul(8, 8, 8), [])), raw_features(replay(matmul(8, 8, 8), split))
    assert np.array_equal(plain, once)


def test_registers_hold_the_tile_that_a_reduction_leaves_in_place():
    row = raw_features(blocked_matmul(), registers=True)[0, len(FEATURE_NAMES) :]
    named_row = dict(zip(REGISTERS, row.tolist()))
    # 16 rows of one vector, for 512 steps of k; each step reads that vector of B and 16 elements of A
    assert named_row["tile_vectors"] == named_row["inner_vectors"] == 16
    assert named_row["tile_depth"] == named_row["inner_depth"] == 512
    assert named_row["tile_loads"] == 17 and named_row["tile_reuse"] == pytest.approx(16 / 17)
    assert named_row["innermost_length"] == 16
    assert (named_row["unrolled_spatial"], named_row["unrolled_reduce"]) == (1, 512)


def test_the_innermost_loop_that_stays_one_is_what_a_compiler_may_vectorise():
    def rolled(*steps) -> list[float]:
        row = raw_features(replay(matmul(8, 64, 32), list(steps)), registers=True)[0]
        return row[[-6, -5, -4, -3, -2, -1]].tolist()

    # along k A moves to its neighbour and B to its next row; along j C and B move to their neighbours and A stays
    assert rolled() == [32, 0, 1, 1, 0, 1]
    assert rolled(Reorder("C", ("i", "k", "j"))) == [64, 1, 1, 0, 1, 1]
    # four columns are a tile around k
    tiled = Split("C", "j", (4,)), Reorder("C", ("i", "j.0", "k", "j.1"))
    assert rolled(*tiled) == [32, 0, 1, 1, 0, 4]
    # with k unrolled the loop over tiles is the innermost; two elements are no vector
    assert rolled(*tiled, Unroll("C", "k")) == [16, 4, 0, 1, 1, 128]
    assert rolled(Split("C", "j", (2,)), Reorder("C", ("i", "j.0", "k", "j.1")), Vectorize("C", "j.1"))[-1] == 2
