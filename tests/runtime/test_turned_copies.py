"""Copies between orders of axes go through registers in square blocks, and move every bit to its place."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.c_text.lane_helpers import lanes_helper
from runtime.compile_c import build_library, load_kernel, run_nest
from runtime.emit_c import emit_kernel, emit_library, prepare
from runtime.interpreter import interpret
from runtime.loop_nest import Allocate, Block, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.turned_copies import turn_copies, turned_block
from runtime.verify_nest import verify

NAMES = "abc"


def transposition(extents: tuple[int, ...], order: tuple[int, ...], dtype: str = "float32", outer: str = "range"):
    """Y[a, b, c] = X[the same in another order], vectorised along c."""
    source = [extents[axis] for axis in order]
    index = ", ".join(NAMES[axis] for axis in order)
    return parse(f"""def f(X: {dtype}{source}) -> (Y: {dtype}{list(extents)}):
    for a in {outer}({extents[0]}):
        for b in range({extents[1]}):
            for c in vectorize({extents[2]}):
                Y[a, b, c] = X[{index}]""")


def numbered(nest: LoopNest) -> np.ndarray:
    """A different number in each place."""
    (source,) = nest.inputs
    return np.arange(source.size).reshape(source.shape).astype(source.dtype)


def blocks(nest: LoopNest) -> int:
    """How many blocks of a nest are turned."""
    return sum(isinstance(s, Allocate) and turned_block(s) is not None for s in walk_stmts(nest.body))


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 37)),
    st.sampled_from(list(itertools.permutations(range(3)))),
    st.sampled_from(["float32", "int32", "float64"]),
    st.sampled_from([16, 32, 64]),
)
def test_whatever_the_extents_the_meaning_stays(extents, order, dtype, vector_bytes) -> None:
    nest = transposition(extents, order, dtype)
    prepared = prepare(nest, vector_bytes=vector_bytes)
    verify(prepared)
    data = numbered(nest)
    np.testing.assert_array_equal(interpret(prepared, data)[0], interpret(nest, data)[0])


@pytest.mark.parametrize(
    "extents, order, vector_bytes, expected",
    [
        ((3, 64, 128), (0, 2, 1), 64, 1),
        ((64, 3, 128), (1, 2, 0), 64, 1),
        ((64, 3, 128), (2, 1, 0), 64, 1),
        ((3, 20, 37), (0, 2, 1), 32, 1),  # fours, and the last element alone
        ((3, 20, 40), (0, 2, 1), 64, 1),
        ((3, 7, 16), (0, 2, 1), 32, 0),
        ((3, 64, 128), (1, 0, 2), 64, 0),
        ((3, 8, 128), (0, 2, 1), 32, 1),
    ],
)
def test_which_copies_are_turned(extents, order, vector_bytes, expected) -> None:
    prepared = prepare(transposition(extents, order), vector_bytes=vector_bytes)
    assert blocks(prepared) == expected


def test_whole_blocks_then_what_is_left_of_the_axis_that_is_cut() -> None:
    turned = turn_copies(transposition((1, 37, 16), (0, 2, 1)))
    text = str(turned)
    assert "for b_block in range(2):" in text and "for b in range(5):" in text
    assert "Y[a, b_block * 16 + b_row, b_column] = X_block[b_column, b_row]" in text
    assert "Y[a, b + 32, c] = X[a, c, b + 32]" in text


def test_one_iteration_that_is_left_needs_no_loop() -> None:
    assert "Y[a, 16, c] = X[a, c, 16]" in str(turn_copies(transposition((1, 17, 16), (0, 2, 1))))


@pytest.mark.parametrize(
    "body",
    [
        "Y[c, 0] = X[c, a]",  # the last a counts
        "Y[a, c] = X[c, a] + 0.0",
        "Y[a, c] = Y[c, a]",
        "Y[a, c] = X[c, a // 2]",
        "Y[c, a] = X[c, a]",
        "Y[a, c] = X[a, c]",
        "Y[a, c] = X[I[c], a]",
        "Y[a, c] = X[c, 15 - a]",
    ],
)
def test_other_statements_are_left_alone(body: str) -> None:
    nest = parse(f"""def f(X: float32[16, 16], I: int32[16]) -> (Y: float32[16, 16]):
    for a in range(16):
        for c in vectorize(16):
            {body}""")
    assert turn_copies(nest) == nest


@pytest.mark.parametrize(
    "loops",
    [
        "for a in parallel(16):\n  for c in vectorize(16):\n   Y[a, c] = X[c, a]",
        "for a in range(16):\n  if a < 16:\n   for c in vectorize(16):\n    Y[a, c] = X[c, a]",
        "for a in range(16):\n  for c in vectorize(16):\n   if c < 16:\n    Y[a, c] = X[c, a]",
        "for a in range(16):\n  for c in range(16):\n   Y[a, c] = X[c, a]",
        "for a in range(16):\n  for c in vectorize(8):\n   Y[a, c] = X[c, a]\n  for d in range(4):\n   Y[d, a] = 1.0",
        "for a in range(16):\n  for c in vectorize(8):\n   Y[a, c] = X[c, a]\n  Y[0, a] = X[0, a]",
        "for a in range(16):\n  Y[a, 0] = 1.0\n  for c in vectorize(16):\n   Y[a, c] = X[c, a]",
    ],
)
def test_other_loops_are_left_alone(loops: str) -> None:
    nest = parse(f"def f(X: float32[16, 16]) -> (Y: float32[16, 16]):\n {loops}")
    assert turn_copies(nest) == nest


def test_copies_side_by_side_get_a_loop_each() -> None:
    nest = parse("""def f(X: float32[13, 9]) -> (Y: float32[9, 13]):
    for a in range(9):
        for c in vectorize(8):
            Y[a, c] = X[c, a]
        for d in vectorize(4):
            Y[a, d + 8] = X[d + 8, a]
        Y[a, 12] = X[12, a]""")
    turned = turn_copies(nest)
    verify(turned)
    assert blocks(turned) == 2
    np.testing.assert_array_equal(interpret(turned, numbered(nest))[0], numbered(nest).T)


def test_copies_into_each_others_place_keep_their_order() -> None:
    # a = 3 writes Y[3] last, although the second copy of a = 2 has written it before
    nest = parse("""def f(X: float32[4, 16]) -> (Y: float32[17, 4]):
    for a in range(16):
        for c in vectorize(4):
            Y[a, c] = X[c, a]
        for d in vectorize(4):
            Y[a + 1, d] = X[d, a]""")
    assert turn_copies(nest) == nest


def test_the_order_of_loops_inside_stays_where_they_write_the_same() -> None:
    nest = parse("""def f(X: float32[3, 16, 32]) -> (Y: float32[32, 16]):
    for d in range(32):
        for last in range(3):
            for c in vectorize(16):
                Y[d, c] = X[last, c, d]""")
    turned = turn_copies(nest)
    assert blocks(turned) == 1
    np.testing.assert_array_equal(interpret(turned, numbered(nest))[0], numbered(nest)[2].T)


def test_a_block_that_is_stored_as_it_was_filled_or_read_again_is_not_turned() -> None:
    (allocation,) = (s for s in walk_stmts(turn_copies(transposition((1, 16, 16), (0, 2, 1))).body)
                     if isinstance(s, Allocate))  # fmt: skip
    assert turned_block(allocation) is not None
    filled, stored = allocation.body.stmts
    straight = turned_block(allocation)[1]
    for body in (Block((filled, straight)), Block((filled, stored, stored)), Block((stored,))):
        assert turned_block(Allocate(allocation.buffer, body)) is None


@pytest.mark.parametrize("count", [4, 8, 16])
def test_the_shuffles_turn_a_block(count: int) -> None:
    text = lanes_helper("turn", "f32", count, "float")
    values = {f"v[{row}]": [(row, column) for column in range(count)] for row in range(count)}
    for name, a, b, picked in re.findall(r"(\w+) = __builtin_shufflevector\(([^,]+), ([^,]+), ([\d, ]+)\)", text):
        both = values[a] + values[b]
        values[name] = [both[int(lane)] for lane in picked.split(", ")]
    result = [values[name] for name in re.findall(r"v\[\d+\] = (\w+);", text)]
    assert result == [[(row, column) for row in range(count)] for column in range(count)]


def test_the_text_has_no_gathered_loads() -> None:
    text = emit_kernel(transposition((3, 64, 128), (0, 2, 1)), vector_bytes=64)
    assert "turn_f32x16(X_block);" in text and "EACH_LANE" not in text


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_compiled_copies_move_every_bit(dtype: str, vector_bytes: int) -> None:
    shapes = [((3, 20, 37), (0, 2, 1)), ((33, 2, 64), (1, 2, 0)), ((16, 5, 48), (2, 1, 0))]
    nests = [
        LoopNest(f"kernel{n}", nest.inputs, nest.outputs, nest.body)
        for n, nest in enumerate(transposition(extents, order, dtype) for extents, order in shapes)
    ]
    library = build_library(emit_library(nests, vector_bytes=vector_bytes))
    rng = np.random.default_rng(0)
    for nest in nests:
        (source,), (target,) = nest.inputs, nest.outputs
        # any bits: signalling NaNs and negative zeros among them
        data = rng.integers(-(2**31), 2**31, source.shape).astype(np.int32).view(dtype)
        result = np.zeros(target.shape, dtype)
        load_kernel(library, nest)(data, result)
        np.testing.assert_array_equal(result.view(np.int32), interpret(nest, data)[0].view(np.int32))


@pytest.mark.cc
def test_each_thread_turns_blocks_of_its_own() -> None:
    nest = transposition((6, 32, 48), (0, 2, 1), outer="parallel")
    data = numbered(nest)
    for threads in (1, 2):
        np.testing.assert_array_equal(run_nest(nest, data, threads=threads)[0], data.transpose(0, 2, 1))
