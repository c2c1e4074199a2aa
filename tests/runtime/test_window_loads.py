"""Windows are written out vector by vector: every vector is loaded once, and results keep their bits."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.emit_c import prepare
from runtime.expr_tree import loads
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest, stores
from runtime.loop_nest_text import parse
from runtime.passes.window_loads import SIZE_LIMIT, share_windows
from runtime.verify_nest import verify


def window(
    w: int, taps: int, stride: int = 1, *, h: int = 1, vectors: int = 1, value: str = "T[i, j, v, c] + {x} * W[k, v, c]"
) -> LoopNest:
    """A tile of h x w x vectors accumulators and a row of taps; {x} is what a tap reads."""
    width = (w - 1) * stride + taps
    x = f"X[i, j * {stride} + k, v, c]"
    return parse(
        f"""def f(X: float32[{h}, {width}, {vectors}, 4], W: float32[{taps}, {vectors}, 4]) -> (
C: float32[{h}, {w}, {vectors}, 4]):
    with register(float32[{h}, {w}, {vectors}, 4]) as T:
        for i in unroll({h}):
            for j in unroll({w}):
                for v in unroll({vectors}):
                    for c in vectorize(4):
                        T[i, j, v, c] = 0.0
        for k in unroll({taps}):
            for i in unroll({h}):
                for j in unroll({w}):
                    for v in unroll({vectors}):
                        for c in vectorize(4):
                            T[i, j, v, c] = {value.format(x=x)}
        for i in unroll({h}):
            for j in unroll({w}):
                for v in unroll({vectors}):
                    for c in vectorize(4):
                        C[i, j, v, c] = T[i, j, v, c]""".replace("(\nC:", "(C:")
    )


def loads_of_image(nest: LoopNest) -> int:
    """How many statements read X once."""
    return sum(load.buffer.name == "X" for store in stores(nest.body) for load in loads(store.value))


def check_equal(nest: LoopNest, changed: LoopNest) -> None:
    """Both are legal and give the same bits."""
    verify(changed)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(buffer.shape).astype(buffer.dtype) for buffer in nest.inputs]
    np.testing.assert_array_equal(interpret(changed, *inputs)[0], interpret(nest, *inputs)[0])


@pytest.mark.parametrize("value", ["T[i, j, v, c] + {x} * W[k, v, c]", "max(T[i, j, v, c], {x})"])
@pytest.mark.parametrize(("w", "taps", "stride", "h", "vectors"), [(7, 3, 1, 1, 2), (4, 3, 1, 2, 1), (7, 3, 2, 1, 1)])
def test_every_vector_is_loaded_once(w: int, taps: int, stride: int, h: int, vectors: int, value: str) -> None:
    nest = window(w, taps, stride, h=h, vectors=vectors, value=value)
    shared = share_windows(nest)
    check_equal(nest, shared)
    assert loads_of_image(shared) == h * vectors * ((w - 1) * stride + taps)
    check_equal(nest, prepare(nest, vector_bytes=16))


@pytest.mark.parametrize(
    ("nest", "why"),
    [
        (window(4, 3, 3), "no two taps meet"),
        (window(2, 3, 2), "one load of six is saved"),
        (window(SIZE_LIMIT // 3 + 1, 3), "too long"),
        (window(7, 3, value="T[i, j, v, c] + X[i, j + 2 - k, v, c] * W[k, v, c]"), "sums in another order"),
        (window(7, 3, value="T[i, j, v, c] + X[i, k, v, c] * W[k, v, c]"), "shared within a tap, not between taps"),
        (window(7, 3, value="T[i, j, v, c] + X[i, j + k, v, 0] * W[k, v, c]"), "one element for all lanes"),
        (window(7, 3, value="T[i, j, v, c] + X[i, (j + k) // 2, v, c] * W[k, v, c]"), "unknown places"),
    ],
    ids=lambda part: part.replace(" ", "-") if isinstance(part, str) else "",
)
def test_what_gains_nothing_or_is_not_understood_stays(nest: LoopNest, why: str) -> None:
    assert str(share_windows(nest)) == str(nest), why


GUARDED = """def f(X: float32[{rows}, 4], W: float32[3, 4]) -> (C: float32[2, 4]):
    for o in range(2):
        with register(float32[4, 4]) as T:
            for j in unroll(4):
                for c in vectorize(4):
                    T[j, c] = 0.0
            for k in unroll(3):
                for j in unroll(4):
                    if {guard}:
                        for c in vectorize(4):
                            T[j, c] = T[j, c] + X[{row}, c] * W[k, c]
            for c in vectorize(4):
                C[o, c] = T[0, c] + T[3, c]"""


def test_padding_at_a_fixed_place_is_left_out() -> None:
    nest = parse(GUARDED.format(rows=5, guard="j + k >= 1", row="j + k - 1"))
    shared = share_windows(nest)
    check_equal(nest, shared)
    assert loads_of_image(shared) == 5


def test_padding_that_an_outer_loop_moves_stays_guarded() -> None:
    nest = parse(GUARDED.format(rows=9, guard="o * 4 + j + k >= 1", row="o * 4 + j + k - 1"))
    assert str(share_windows(nest)) == str(nest)


def test_a_load_that_only_its_guard_keeps_inside_is_not_made_before_it() -> None:
    text = GUARDED.replace("X[{row}, c]", "select({guard}, X[{row}, c], 0.0)").replace("if {guard}", "if j + k >= 0")
    nest = parse(text.format(rows=9, guard="o * 4 + j + k >= 1", row="o * 4 + j + k - 1"))
    verify(nest)
    assert str(share_windows(nest)) == str(nest)


@pytest.mark.parametrize(("w", "stride"), [(4, 1), (7, 2), (3, 2)])
def test_of_a_window_each_row_is_written_out_or_none(w: int, stride: int) -> None:
    nest = parse(f"""def f(X: float32[4, {(w - 1) * stride + 3}, 4], W: float32[3, 3, 4]) -> (C: float32[4]):
    with register(float32[2, {w}, 4]) as T:
        for kh in unroll(3):
            for kw in unroll(3):
                for i in unroll(2):
                    for j in unroll({w}):
                        for c in vectorize(4):
                            T[i, j, c] = T[i, j, c] + X[i + kh, j * {stride} + kw, c] * W[kh, kw, c]
        for c in vectorize(4):
            C[c] = T[1, 2, c]""")
    shared = share_windows(nest)
    if (w, stride) == (3, 2):  # of a row's nine loads seven are left; of the window's 54 it would be 35
        assert str(shared) == str(nest)
        return
    verify(shared)
    assert "for kh in unroll(3)" in str(shared) and "for kw" not in str(shared)
    assert loads_of_image(shared) == 2 * ((w - 1) * stride + 3)
