"""What the passes before emission make of nests whose best form is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.emit_c import emit_kernel, prepare
from runtime.interpreter import interpret
from runtime.loop_nest import UNROLL, VECTORIZE, Allocate, For, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.register_tiles import drop_unit_loops, promote_accumulators
from runtime.passes.vector_loops import vectorize_loops
from runtime.verify_nest import verify
from tests.runtime.test_emit_c import assert_same


def matmul(size: int, rows: int, columns: int) -> LoopNest:
    """A square matmul with one local tile."""
    return parse(f"""def mm(A: float32[{size}, {size}], B: float32[{size}, {size}]) -> (C: float32[{size}, {size}]):
    for i0 in parallel({size // rows}):
        for j0 in range({size // columns}):
            with local(float32[{rows}, {columns}]) as T:
                for i in range({rows}):
                    for j in vectorize({columns}):
                        T[i, j] = 0.0
                for k in range({size}):
                    for i in range({rows}):
                        for j in vectorize({columns}):
                            T[i, j] = T[i, j] + A[i0 * {rows} + i, k] * B[k, j0 * {columns} + j]
                for i in range({rows}):
                    for j in vectorize({columns}):
                        C[i0 * {rows} + i, j0 * {columns} + j] = T[i, j]""")


def scopes(nest: LoopNest) -> dict[str, str]:
    """The scope of each allocated buffer."""
    return {stmt.buffer.name: stmt.buffer.scope for stmt in walk_stmts(nest.body) if isinstance(stmt, Allocate)}


def kinds(nest: LoopNest) -> dict[str, str]:
    """The kind of each loop."""
    return {stmt.var.name: stmt.kind for stmt in walk_stmts(nest.body) if isinstance(stmt, For)}


def test_small_local_tile_moves_to_registers() -> None:
    nest = prepare(matmul(32, 8, 32), vector_bytes=64)
    assert scopes(nest) == {"T": "register"}
    assert kinds(nest)["i"] == UNROLL and kinds(nest)["k"] == "serial"


def test_big_local_tile_stays_in_memory_with_a_register_tile_inside() -> None:
    text = """def mm(A: float32[64, 8], B: float32[8, 64]) -> (C: float32[64, 64]):
    with local(float32[64, 64]) as T:
        for i in range(64):
            for j in vectorize(64):
                T[i, j] = 0.0
        for i0 in range(16):
            for j0 in range(2):
                for k in range(8):
                    for i in range(4):
                        for j in vectorize(32):
                            T[PLACE] = T[PLACE] + A[i0 * 4 + i, k] * B[k, j0 * 32 + j]
        for i in range(64):
            for j in vectorize(64):
                C[i, j] = T[i, j]"""
    nest = parse(text.replace("PLACE", "i0 * 4 + i, j0 * 32 + j"))
    assert scopes(prepare(nest, vector_bytes=64)) == {"T": "local", "T_tile": "register", "B_row": "register"}


def test_accumulator_in_the_output_leaves_the_reduction_loops() -> None:
    text = """def dot(A: float32[4, 8], B: float32[8]) -> (C: float32[4]):
    for i in range(4):
        C[i] = 0.0
        for k0 in range(2):
            for k1 in range(4):
                C[i] = C[i] + A[i, k0 * 4 + k1] * B[k0 * 4 + k1]"""
    assert str(promote_accumulators(parse(text))).split("\n")[1:] == [
        "    for i in range(4):",
        "        with register(float32[()]) as C_tile:",
        "            C_tile[()] = 0.0",
        "            for k0 in range(2):",
        "                for k1 in range(4):",
        "                    C_tile[()] = C_tile[()] + A[i, k0 * 4 + k1] * B[k0 * 4 + k1]",
        "            C[i] = C_tile[()]",
    ]


def test_place_that_moves_is_not_promoted() -> None:
    text = """def f(A: float32[8]) -> (C: float32[8]):
    for k in range(8):
        C[k] = C[7 - k] + A[k]"""
    assert str(promote_accumulators(parse(text))) == text


def test_loops_of_one_iteration_go() -> None:
    nest = parse(
        "def f() -> (C: float32[4]):\n    for i in parallel(1):\n        for j in range(4):\n            C[i + j] = 0.0"
    )
    assert str(drop_unit_loops(nest)).split("\n")[1:] == ["    for j in range(4):", "        C[j] = 0.0"]


@pytest.mark.parametrize(("extent", "widths"), [(64, [16]), (40, [16, 8]), (28, [16, 8, 4]), (7, [4]), (3, [])])
def test_vectors_as_wide_as_fit(extent: int, widths: list[int]) -> None:
    nest = parse(f"""def f(A: float32[{extent}]) -> (B: float32[{extent}]):
    for i in vectorize({extent}):
        B[i] = A[i]""")
    lanes = [s.extent for s in walk_stmts(vectorize_loops(nest).body) if isinstance(s, For) and s.kind == VECTORIZE]
    assert lanes == widths


def test_dependent_iterations_are_not_vectorised() -> None:
    nest = parse(
        "def f() -> (B: float32[17]):\n    B[0] = 1.0\n    for i in vectorize(16):\n        B[i + 1] = B[i] + 1.0"
    )
    assert kinds(vectorize_loops(nest)) == {"i": "serial"}
    np.testing.assert_array_equal(interpret(prepare(nest))[0], np.arange(1, 18))


def test_emitted_text_has_vectors_and_no_openmp_for_one_thread() -> None:
    text = emit_kernel(matmul(32, 8, 32), vector_bytes=64)
    assert "f32x16 T[16];" in text and "#pragma omp" not in text
    assert "#pragma omp parallel for num_threads(2)" in emit_kernel(matmul(32, 8, 32), threads=2, vector_bytes=64)


@st.composite
def convolutions(draw: st.DrawFn) -> LoopNest:
    """A padded convolution with a register tile of a row's positions times channels, and the padding as selects."""
    size, window = draw(st.integers(3, 7)), draw(st.sampled_from([1, 2, 3]))
    stride, pad = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    out = (size + 2 * pad - window) // stride + 1
    if out < 1:
        size, out = window, (window + 2 * pad - window) // stride + 1
    rows = draw(st.sampled_from([r for r in range(1, out + 1) if out % r == 0]))
    channels, inputs = draw(st.sampled_from([1, 5, 8, 24])), draw(st.integers(1, 2))
    y, x = f"i * {stride} + kh - {pad}", f"(w0 * {rows} + w) * {stride} + kw - {pad}"
    inside = f"{y} >= 0 and {y} < {size} and {x} >= 0 and {x} < {size}"
    load = f"select({inside}, X[{y}, {x}, ci], 0.0)"
    image, kernel = f"float32[{size}, {size}, {inputs}]", f"float32[{window}, {window}, {inputs}, {channels}]"
    return parse(f"""def conv(X: {image}, K: {kernel}) -> (Y: float32[{out}, {out}, {channels}]):
    for i in parallel({out}):
        for w0 in range({out // rows}):
            with local(float32[{rows}, {channels}]) as T:
                for w in range({rows}):
                    for c in vectorize({channels}):
                        T[w, c] = 0.0
                for kh in range({window}):
                    for kw in range({window}):
                        for ci in range({inputs}):
                            for w in range({rows}):
                                for c in vectorize({channels}):
                                    T[w, c] = T[w, c] + {load} * K[kh, kw, ci, c]
                for w in range({rows}):
                    for c in vectorize({channels}):
                        Y[i, w0 * {rows} + w, c] = T[w, c]""")


@given(convolutions(), st.integers(0, 2**32 - 1))
def test_padded_convolutions_keep_their_meaning(nest: LoopNest, seed: int) -> None:
    verify(nest)
    prepared = prepare(nest, vector_bytes=64)
    verify(prepared)
    rng = np.random.default_rng(seed)
    inputs = [rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs]
    np.testing.assert_array_equal(interpret(prepared, *inputs)[0], interpret(nest, *inputs)[0])


@pytest.mark.cc
@pytest.mark.slow
@given(st.lists(convolutions(), min_size=1, max_size=3), st.integers(1, 2))
def test_padded_convolutions_in_c(batch: list[LoopNest], threads: int) -> None:
    assert_same(batch, threads=threads)
