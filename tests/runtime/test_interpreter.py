"""The interpreter computes what NumPy does, and shows what a program may not do."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.interpreter import POISON, interpret
from runtime.loop_nest_text import parse

HEADER = "def f(A: float32[4]) -> (B: float32[4]):\n"
INPUT = np.array([3, -1, 0.5, 7], np.float32)


def test_matmul() -> None:
    nest = parse("""def mm(A: float32[3, 5], B: float32[5, 4]) -> (C: float32[3, 4]):
    for i in parallel(3):
        for j in vectorize(4):
            C[i, j] = 0.0
            for k in unroll(5):
                C[i, j] = C[i, j] + A[i, k] * B[k, j]""")
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (3, 5)).astype(np.float32), rng.integers(-4, 5, (5, 4)).astype(np.float32)
    np.testing.assert_array_equal(interpret(nest, a, b)[0], a @ b)


def test_arithmetic_is_single_precision() -> None:
    nest = parse("def f(A: float32[1]) -> (B: float32[1]):\n    B[0] = A[0] + 1.0 - A[0]")
    assert interpret(nest, np.array([2**24], np.float32))[0][0] == 0.0


def test_division_rounds_down() -> None:
    nest = parse("def f(A: int32[1]) -> (B: int32[2]):\n    B[0] = A[0] // 2\n    B[1] = A[0] % 3")
    np.testing.assert_array_equal(interpret(nest, np.array([-5], np.int32))[0], [-3, 1])


def test_select_evaluates_one_branch() -> None:
    nest = parse(HEADER + "    for i in range(4):\n        B[i] = select(i > 0, A[i - 1], 0.0)")
    np.testing.assert_array_equal(interpret(nest, INPUT)[0], [0, 3, -1, 0.5])


def test_unwritten_memory_shows() -> None:
    nest = parse("def f() -> (B: float32[2], C: int32[1]):\n    with local(float32[1]) as T:\n        B[0] = T[0]")
    b, c = interpret(nest)
    assert np.isnan(b).all() and c[0] == POISON


def test_outside_a_buffer() -> None:
    with pytest.raises(IndexError, match=r"A\[i \+ 1\] is A\[4\], outside A\[4\] at {'i': 3}"):
        interpret(parse(HEADER + "    for i in range(4):\n        B[i] = A[i + 1]"), INPUT)
    with pytest.raises(IndexError, match="outside"):
        interpret(parse(HEADER + "    B[0 - 1] = 0.0"), INPUT)


def test_integer_overflow_and_division_by_zero() -> None:
    with pytest.raises(OverflowError, match="does not fit int32"):
        interpret(parse("def f(A: int32[1]) -> (B: int32[1]):\n    B[0] = A[0] * A[0]"), np.array([2**20], np.int32))
    with pytest.raises(ZeroDivisionError):
        interpret(parse("def f(A: int32[1]) -> (B: int32[1]):\n    B[0] = 1 // A[0]"), np.array([0], np.int32))


def test_arguments_are_checked() -> None:
    nest = parse(HEADER + "    B[0] = A[0]")
    with pytest.raises(TypeError, match="takes 1 inputs, got 0"):
        interpret(nest)
    with pytest.raises(TypeError, match="must be float32, got float64"):
        interpret(nest, INPUT.astype(np.float64))
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(3,\)"):
        interpret(nest, INPUT[:3])
