"""Unrolling stays where copies share something, and where registers are indexed; elsewhere it is bounded."""

from __future__ import annotations

import pytest

from runtime.loop_nest import For, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.bounded_unrolling import STATEMENT_LIMITS, bound_unrolling


def tile(rows: int, steps: int, value: str, guard: str = "") -> LoopNest:
    """`steps` unrolled steps of a reduction into a register tile of `rows` vectors."""
    inner = " " * 16
    body = f"if {guard}:\n{inner}    T[i] = T[i] + {value}" if guard else f"T[i] = T[i] + {value}"
    return parse(f"""def f(A: float32[64, 64], B: float32[64]) -> (C: float32[1]):
    with register(float32[{rows}]) as T:
        for k in unroll({steps}):
            for i in unroll({rows}):
                {body}
        C[0] = T[0]""")


def kinds(nest: LoopNest) -> dict[str, str]:
    return {stmt.var.name: stmt.kind for stmt in walk_stmts(bound_unrolling(nest).body) if isinstance(stmt, For)}


def test_a_reduction_around_a_full_tile_is_rolled() -> None:
    assert kinds(tile(8, 4, "A[i, k] * B[k]")) == {"k": "serial", "i": "unroll"}


def test_a_reduction_around_a_few_accumulators_stays_unrolled() -> None:
    assert kinds(tile(4, 4, "A[i, k] * B[k]")) == {"k": "unroll", "i": "unroll"}


@pytest.mark.parametrize(("value", "guard"), [("A[0, i + k] * B[k]", ""), ("A[i, k] * B[k]", "i + k < 9")])
def test_taps_that_share_elements_or_decide_conditions_stay_unrolled(value: str, guard: str) -> None:
    assert kinds(tile(8, 3, value, guard)) == {"k": "unroll", "i": "unroll"}


def test_no_loop_but_that_of_a_tile_goes_beyond_the_limit() -> None:
    rows = 32
    steps = STATEMENT_LIMITS[0] // rows + 1
    assert kinds(tile(rows, steps, "A[0, i + k]")) == {"k": "serial", "i": "unroll"}


def test_a_reduction_inside_the_rows_counts_them_too() -> None:
    nest = parse("""def f(A: float32[24, 64], B: float32[64]) -> (C: float32[1]):
    with register(float32[24]) as T:
        for i in unroll(24):
            for k in unroll(64):
                T[i] = T[i] + A[i, k] * B[k]
        C[0] = T[0]""")
    assert kinds(nest) == {"i": "unroll", "k": "serial"}
