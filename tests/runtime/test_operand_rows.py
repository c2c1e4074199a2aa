"""Shared operands of short register tiles are loaded once, however many loops make up the rows."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.interpreter import interpret
from runtime.loop_nest import Allocate, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.operand_rows import MAX_VECTORS, share_rows
from runtime.verify_nest import verify


def tile(h: int, w: int) -> LoopNest:
    """A register tile of h x w rows that all read the same vector of B."""
    return parse(f"""def f(A: float32[{h}, {w}, 3], B: float32[3, 16]) -> (C: float32[{h}, {w}, 16]):
    with register(float32[{h}, {w}, 16]) as T:
        for i in unroll({h}):
            for j in unroll({w}):
                for c in vectorize(16):
                    T[i, j, c] = 0.0
        for k in range(3):
            for i in unroll({h}):
                for j in unroll({w}):
                    for c in vectorize(16):
                        T[i, j, c] = T[i, j, c] + A[i, j, k] * B[k, c]
        for i in unroll({h}):
            for j in unroll({w}):
                for c in vectorize(16):
                    C[i, j, c] = T[i, j, c]""")


@pytest.mark.parametrize(("h", "w", "staged"), [(2, 2, 1), (1, 4, 1), (4, 1, 1), (7, 4, 0), (4, 7, 0), (5, 1, 0)])
def test_only_tiles_of_few_rows_stage_the_shared_vector(h: int, w: int, staged: int) -> None:
    nest = tile(h, w)
    shared = share_rows(nest)
    verify(shared)
    rows = [s for s in walk_stmts(shared.body) if isinstance(s, Allocate) and s.buffer.name.startswith("B_row")]
    assert len(rows) == staged
    inputs = [np.arange(buffer.size, dtype=np.float32).reshape(buffer.shape) for buffer in nest.inputs]
    np.testing.assert_array_equal(interpret(shared, *inputs)[0], interpret(nest, *inputs)[0])


def test_the_vector_is_loaded_before_all_rows() -> None:
    lines = str(share_rows(tile(2, 2))).split("\n")
    load = next(number for number, line in enumerate(lines) if "B_row[" in line and "B[k" in line)
    assert "for k" in lines[load - 2 - 1] and "for i" in lines[load + 1]


@pytest.mark.parametrize(("vectors", "staged"), [(MAX_VECTORS, 1), (2 * MAX_VECTORS, 0)])
def test_a_row_that_would_not_stay_in_registers_is_not_staged(vectors: int, staged: int) -> None:
    nest = parse(f"""def f(A: float32[2], B: float32[{vectors}, 16]) -> (C: float32[1]):
    with register(float32[2, 16]) as T:
        for i in unroll(2):
            for k in unroll({vectors}):
                for c in vectorize(16):
                    T[i, c] = T[i, c] + A[i] * B[k, c]
        C[0] = T[0, 0]""")
    assert sum(isinstance(stmt, Allocate) for stmt in walk_stmts(share_rows(nest).body)) == 1 + staged


def test_rows_under_a_guard_share_what_is_inside_its_buffer_anyway() -> None:
    guarded = parse("""def f(A: float32[4, 3], B: float32[3, 16]) -> (C: float32[4, 16]):
    with register(float32[4, 16]) as T:
        for i in unroll(4):
            for c in vectorize(16):
                T[i, c] = 0.0
        for k in range(3):
            for i in unroll(4):
                if i + k >= 1:
                    for c in vectorize(16):
                        T[i, c] = T[i, c] + A[i, k] * B[k, c]
        for i in unroll(4):
            for c in vectorize(16):
                C[i, c] = T[i, c]""")
    shared = share_rows(guarded)
    verify(shared)
    assert "B_row[c]" in str(shared)
    outside = parse(str(guarded).replace("float32[3, 16]", "float32[2, 16]").replace("i + k >= 1", "k < 2"))
    assert share_rows(outside) == outside
    inputs = [np.arange(buffer.size, dtype=np.float32).reshape(buffer.shape) for buffer in guarded.inputs]
    np.testing.assert_array_equal(interpret(shared, *inputs)[0], interpret(guarded, *inputs)[0])
