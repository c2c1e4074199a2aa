"""Where guards go: out of loops they do not depend on, and away from tiles that lie wholly inside."""

from __future__ import annotations

import numpy as np

from runtime.emit_c import prepare
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse
from runtime.passes.guard_loops import clear_guards, hoist_guards, whole_vectors


def lines(nest: LoopNest) -> list[str]:
    """The lines of a nest without their indentation."""
    return [line.strip() for line in str(nest).split("\n")]


def row(width: int, tile: int) -> LoopNest:
    """A padded 3-tap filter along one row, several positions at a time."""
    return parse(f"""def filter(X: float32[{width}], K: float32[3, 16]) -> (Y: float32[{width}, 16]):
    for w0 in range({width // tile}):
        with local(float32[{tile}, 16]) as T:
            for w in range({tile}):
                for c in vectorize(16):
                    T[w, c] = 0.0
            for k in range(3):
                for w in range({tile}):
                    for c in vectorize(16):
                        T[w, c] = T[w, c] + select(w0 * {tile} + w + k >= 1 and w0 * {tile} + w + k < {width + 1},\
 X[w0 * {tile} + w + k - 1], 0.0) * K[k, c]
            for w in range({tile}):
                for c in vectorize(16):
                    Y[w0 * {tile} + w, c] = T[w, c]""")


def test_condition_of_an_outer_loop_is_asked_there() -> None:
    nest = parse("""def f(A: float32[4]) -> (B: float32[4]):
    for i in range(4):
        for j in range(3):
            if i < 2 and j < i:
                B[i] = A[j]""")
    hoisted = LoopNest(nest.name, nest.inputs, nest.outputs, hoist_guards(nest.body))
    assert lines(hoisted)[1:] == [
        "for i in range(4):",
        "if i < 2:",
        "for j in range(3):",
        "if j < i:",
        "B[i] = A[j]",
    ]


def test_short_window_over_a_whole_row_is_unrolled() -> None:
    text = lines(prepare(row(7, 7), vector_bytes=64))
    assert "for k in unroll(3):" in text and "if w + k >= 1 and w + k < 8:" in text
    assert not any("select" in line for line in text)


def test_whole_tiles_run_without_guards() -> None:
    text = lines(prepare(row(28, 7), vector_bytes=64))
    assert "if w0 * 7 + k >= 1 and w0 * 7 + k < 23:" in text  # positions 0 and 6 are inside, hence all
    assert "if w0 * 7 + k < 1 or w0 * 7 + k >= 23:" in text


def test_padding_is_skipped_not_added() -> None:
    for nest in (row(7, 7), row(28, 7), row(6, 2)):
        rng = np.random.default_rng(0)
        inputs = [rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs]
        got = interpret(prepare(nest, vector_bytes=64), *inputs)[0]
        np.testing.assert_array_equal(got, interpret(nest, *inputs)[0])


def test_select_is_asked_for_the_whole_vector_first() -> None:
    nest = parse("""def pad(X: float32[14]) -> (Y: float32[16]):
    for i in vectorize(16):
        Y[i] = select(i >= 1 and i < 15, X[i - 1], 0.0)""")
    assert whole_vectors(nest.body) == nest.body  # the only vector is never whole
    longer = parse("""def pad(X: float32[62]) -> (Y: float32[64]):
    for v in range(4):
        for i in vectorize(16):
            Y[v * 16 + i] = select(v * 16 + i >= 1 and v * 16 + i < 63, X[v * 16 + i - 1], 0.0)""")
    assert "select(v * 16 >= 1 and v * 16 + 15 < 63, X[v * 16 + i - 1], select(" in str(whole_vectors(longer.body))


def test_guards_that_always_hold_are_dropped() -> None:
    nest = parse("""def f() -> (C: float32[8]):
    for i in range(4):
        if i + 8 < 14 and i < 3:
            C[i] = 1.0""")
    text = str(clear_guards(nest))
    assert "if i < 3:" in text and "14" not in text
