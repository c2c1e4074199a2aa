"""Text of loop nests: printing, reading back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse
from tests.strategies.loop_nests import nests

EVERYTHING = """def everything(A: float32[4, 4], b: float32[()]) -> (C: float32[4], D: int64[1]):
    with workspace(float32[4]) as W:
        for i in parallel(4):
            with local(float32[2, 2]) as T:
                for j in vectorize(2):
                    T[0, j] = max(A[i, j] * (-2.0), -inf) - b[()]
                for k in unroll(2):
                    if i < 3 and k >= 1 or i == 2:
                        C[i] = T[0, k] + select(not_used[i] < 1.0, exp(A[i, i]), cast(float32, i // 2 % 3))
        D[0] = int64(-7)""".replace("not_used[i]", "A[0, i]")


def test_every_construct_reads_back() -> None:
    nest = parse(EVERYTHING)
    assert str(nest) == EVERYTHING
    assert parse(str(nest)) == nest


@given(nests())
def test_print_then_parse_is_identity(nest: LoopNest) -> None:
    assert parse(str(nest)) == nest


def test_no_inputs_and_rank_zero() -> None:
    text = "def f() -> (C: float32[()]):\n    C[()] = 1.0"
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    B[0] = A[0] and", "not a loop nest"),
        ("    B[0] = X[0]", "expected a buffer among A, B"),
        ("    B[0] = A[i]", "expected a loop variable"),
        ("    for i in loop(4):\n        B[i] = A[i]", "expected one of range, parallel, vectorize, unroll"),
        ("    for i in range(n):\n        B[i] = A[i]", "expected an integer extent"),
        ("    B[0] = -A[0]", "only constants may carry a sign"),
        ("    B[0] = A[0] ** 2.0", "expected one of"),
        ("    B[0] = sin(A[0])", "expected min, max, select, cast"),
        ("    print(A)", "expected a store, for, if, with, prefetch or pass"),
        ("    prefetch1(4)", "expected an element, as in `prefetch1"),
        ("    with local(float8[2]) as T:\n        pass", "expected a type"),
    ],
)
def test_bad_text_is_one_clear_error(body: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(f"def f(A: float32[4]) -> (B: float32[4]):\n{body}")


@pytest.mark.parametrize(
    "text", ["", "x = 1", "def f(A: float32[4]):\n    pass", "def f(A) -> (B: float32[1]):\n    pass"]
)
def test_bad_header(text: str) -> None:
    with pytest.raises(ValueError, match="starts with|needs a type"):
        parse(text)
