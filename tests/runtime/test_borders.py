"""Borders: whole tiles without guards, the last one short, and the same result."""

from __future__ import annotations

import numpy as np
from hypothesis import given, note
from hypothesis import strategies as st

from runtime.interpreter import interpret
from runtime.loop_nest import If, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.borders import split_borders
from runtime.verify_nest import verify


def conditions(nest: LoopNest) -> list[str]:
    return [str(stmt.condition) for stmt in walk_stmts(nest.body) if isinstance(stmt, If)]


def tiled_sum(n: int, m: int, k: int, ti: int, tj: int, beyond: int = 0) -> LoopNest:
    """C = A @ B in tiles of ti x tj, guarded where they do not divide; `beyond` more tiles than each axis holds."""
    guard_i = f"if i0 * {ti} + i1 < {n}:" if n % ti or beyond else "if 0 <= i1:"
    guard_j = f"if j0 * {tj} + j1 < {m}:" if m % tj or beyond else "if 0 <= j1:"
    store = f"C[i0 * {ti} + i1, j0 * {tj} + j1]"
    return parse(f"""
def f(A: float32[{n}, {k}], B: float32[{k}, {m}]) -> (C: float32[{n}, {m}]):
    for i0 in range({-(-n // ti) + beyond}):
        for j0 in range({-(-m // tj) + beyond}):
            for i1 in range({ti}):
                {guard_i}
                    for j1 in vectorize({tj}):
                        {guard_j}
                            {store} = 0.0
            for r in range({k}):
                for i1 in range({ti}):
                    {guard_i}
                        for j1 in vectorize({tj}):
                            {guard_j}
                                {store} = {store} + A[i0 * {ti} + i1, r] * B[r, j0 * {tj} + j1]
""")


sizes = st.integers(1, 9)


@given(sizes, sizes, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_split_nests_compute_the_same(n: int, m: int, k: int, ti: int, tj: int, beyond: int) -> None:
    nest = tiled_sum(n, m, k, ti, tj, beyond)
    split = split_borders(nest)
    note(str(split))
    verify(split)
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (n, k)).astype(np.float32), rng.integers(-3, 4, (k, m)).astype(np.float32)
    (found,) = interpret(split, a, b)
    np.testing.assert_array_equal(found, a @ b)


def test_inner_loops_lose_their_guards() -> None:
    split = split_borders(tiled_sum(13, 10, 2, 4, 8))
    assert all("i1" not in condition and "j1" not in condition for condition in conditions(split))


def test_tiles_that_divide_the_axis_are_whole_or_beyond_it() -> None:
    split = split_borders(tiled_sum(8, 16, 2, 4, 8, beyond=1))
    assert set(conditions(split)) == {"i0 * 4 < 8", "j0 * 8 < 16"}


def test_a_fused_outer_loop_is_seen_through() -> None:
    nest = parse("""
def f() -> (C: float32[40, 2]):
    for f0 in range(6):
        for c in vectorize(16):
            if f0 // 2 * 16 + c < 40:
                C[f0 // 2 * 16 + c, f0 % 2] = 1.0
""")
    split = split_borders(nest)
    assert conditions(split) == ["f0 // 2 * 16 <= 16", "f0 // 2 * 16 > 16"]
    assert (interpret(split)[0] == 1).all()


def test_other_guards_stay() -> None:
    nest = parse("""
def f(A: float32[3]) -> (C: float32[3, 3]):
    for i in range(3):
        for j in range(3):
            if i + j < 3:
                C[i, j] = A[j]
""")
    assert split_borders(nest) == nest


def test_a_parallel_loop_keeps_both_forms_under_conditions() -> None:
    nest = parse("""
def f() -> (C: float32[13]):
    for i0 in parallel(4):
        for i1 in range(4):
            if i0 * 4 + i1 < 13:
                C[i0 * 4 + i1] = 1.0
""")
    assert conditions(split_borders(nest)) == ["i0 * 4 <= 8", "i0 * 4 > 8"]
