"""Places in memory around register tiles: what is printed, and that gcc sees neither more nor less than it should."""

from __future__ import annotations

import pytest

from runtime.emit_c import emit_kernel
from runtime.loop_nest_text import parse
from tests.runtime.test_emit_c import assert_same

TILED = parse("""def f(A: float32[4, 4, 8], B: float32[8, 32]) -> (C: float32[4, 4, 32]):
    for at in range(4):
        for j in range(2):
            with local(float32[2, 32]) as T:
                for i in range(2):
                    for c in vectorize(32):
                        T[i, c] = 0.0
                for k in range(8):
                    for i in range(2):
                        for c in vectorize(32):
                            T[i, c] = T[i, c] + A[at, j * 2 + i, k] * B[k, c]
                for i in range(2):
                    for c in vectorize(32):
                        C[at, j * 2 + i, c] = T[i, c]""")


def test_what_outer_loops_fix_is_computed_before_the_tile() -> None:
    text = emit_kernel(TILED, vector_bytes=64)
    assert "int32_t at3 = opaque_i32(at * 32 + j * 16);" in text
    assert "A[at3 + (i * 8 + k)]" in text
    assert "int32_t at2 = opaque_i32(0);" in text
    assert "B[at2 + (k * 32" in text


def test_a_loop_of_two_around_others_has_an_end_that_gcc_does_not_know() -> None:
    assert "for (int32_t j = 0, j_i2 = opaque_i32(2); j < j_i2; j++) {" in emit_kernel(TILED, vector_bytes=64)


def test_what_a_tile_leaves_in_a_thread_s_own_buffer_has_a_constant_place() -> None:
    left = parse("""def f(A: float32[4, 8], B: float32[8, 32]) -> (C: float32[4, 2]):
    for i in range(4):
        with local(float32[2, 16]) as T:
            for j in range(2):
                for c in vectorize(16):
                    T[j, c] = 0.0
            for k in range(8):
                for j in range(2):
                    for c in vectorize(16):
                        T[j, c] = T[j, c] + A[i, k] * B[k, j * 16 + c]
            for j in range(2):
                C[i, j] = 0.0
                for c in range(16):
                    C[i, j] = C[i, j] + T[j, c]""")
    text = emit_kernel(left, vector_bytes=64)
    assert "&T[j_copy * 16]" in text
    assert "B[at" in text
    assert_same([left])


def test_copies_without_a_reduction_are_left_alone() -> None:
    copy = parse("def f(A: float32[8, 16]) -> (B: float32[8, 16]):\n  for i in range(8):\n    for j in vectorize(16):\n"
                 "      B[i, j] = A[i, j]")  # fmt: skip
    assert "opaque" not in emit_kernel(copy, vector_bytes=64)


@pytest.mark.cc
@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_the_same(threads: int) -> None:
    parallel = parse(str(TILED).replace("at in range(4)", "at in parallel(4)"))
    assert_same([TILED, parallel], threads=threads)
