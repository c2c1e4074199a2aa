"""Packed weights: whatever the schedule, a kernel reading a packed weight computes what it did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from ansor_mini.default_schedule import Tile, default_steps
from ansor_mini.layout_rewrite import Packing, rewrite_layout
from ansor_mini.lowering import lower
from ansor_mini.operators import declare
from ansor_mini.schedule import replay
from runtime.graph import GraphBuilder
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse
from runtime.machine import detect
from runtime.verify_nest import verify

small = st.integers(1, 5)


@given(small, st.integers(1, 7), st.integers(1, 9), small, small, st.sampled_from([1, 3]))
def test_a_packed_convolution_gives_the_same_bits(
    channels: int, columns: int, filters: int, rows: int, width: int, kernel: int
) -> None:
    build = GraphBuilder("g")
    x = build.input("x", (1, 4, columns, channels))
    w = build.input("w", (kernel, kernel, channels, filters))
    graph = build.finish(build.add("conv", x, w, layout="NHWC", padding=(kernel // 2,) * 4))
    dag = declare(graph)
    tile = Tile("w" if columns > 1 else None, min(rows, columns) if columns > 1 else 1, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ansor_mini.default_schedule.choose_tile", lambda *_: tile)
        nest = lower(replay(dag, default_steps(dag, detect(), 2)))
    rewritten = rewrite_layout(nest, "w")
    if rewritten is None:
        return
    packed, packing = rewritten
    note(str(packed))
    verify(packed)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs)
    np.testing.assert_array_equal(interpret(packed, a, packing.pack(b))[0], interpret(nest, a, b)[0])


def test_a_weight_read_in_two_ways_stays_as_it_is() -> None:
    nest = parse("""
def f(W: float32[4, 4]) -> (C: float32[4]):
    for i in range(4):
        for k in range(4):
            C[i] = W[i, k] + W[k, i]
""")
    assert rewrite_layout(nest, "W") is None


def test_a_weight_already_in_order_stays_as_it_is() -> None:
    nest = parse("""
def f(W: float32[4, 6]) -> (C: float32[4]):
    for i in range(4):
        for k in range(6):
            C[i] = W[i, k]
""")
    assert rewrite_layout(nest, "W") is None


def test_what_sticks_out_is_zero() -> None:
    packing = Packing("W", (2, 3, 4), ((0, ((1, 1),)), (0, ((0, 4), (2, 1)))))
    packed = packing.pack(np.arange(1, 16, dtype=np.float32).reshape(3, 5))
    assert packed[0, 1].tolist() == [6, 7, 8, 9] and packed[1, 1].tolist() == [10, 0, 0, 0]
