"""The lanes of one vector are joined by a tree of vector operations."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.compile_c import run_nest
from runtime.emit_c import emit_library
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse

TEXT = """
def f(X: {dtype}[40, {lanes}]) -> (Y: {dtype}[40]):
    for i in range(40):
        with local({dtype}[2, {lanes}]) as T:
            for j in vectorize({lanes}):
                T[1, j] = X[i, j] + 1.0
            Y[i] = 0.5
            for j in range({lanes}):
                Y[i] = {update}
"""
UPDATES = ("Y[i] + T[1, j]", "max(Y[i], T[1, j])", "min(Y[i], T[1, j])")


@pytest.mark.cc
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_joined_lanes_are_right_as_compiled_code(update: str, lanes: int) -> None:
    nest = parse(TEXT.format(dtype="float32", lanes=lanes, update=update))
    x = np.random.default_rng(0).integers(-9, 9, (40, lanes)).astype(np.float32)
    assert "lanes_f" in emit_library([nest])
    np.testing.assert_array_equal(run_nest(nest, x)[0], interpret(nest, x)[0])


@pytest.mark.parametrize("update", ["Y[i] + T[1, j] * 2.0", "T[1, j] + Y[i]", "Y[i] + X[i, j]", "Y[i] + T[0, 0]"])
def test_other_loops_stay_loops(update: str) -> None:
    assert "lanes_f" not in emit_library([parse(TEXT.format(dtype="float32", lanes=8, update=update))])


NEIGHBOURS = """
def f(X: float32[5, {rows}, 3, {lanes}]) -> (Y: float32[{size}]):
    for n in range(5):
        with local(float32[{rows}, 3, {lanes}]) as T:
            for i in range({rows}):
                for c in range(3):
                    for j in vectorize({lanes}):
                        T[i, c, j] = X[n, i, c, j] * 2.0
            for i in range({rows}):
                for c in range(3):
                    Y[n * {most} + i * {stride} + c + 1] = {start}
                    for j in range({lanes}):
                        Y[n * {most} + i * {stride} + c + 1] = {update}
"""


def _neighbours(rows: int, lanes: int, update: str, stride: int = 3, start: str = "0.5") -> LoopNest:
    most = rows * stride
    filled = update.replace("Y[i]", f"Y[n * {most} + i * {stride} + c + 1]").replace("T[1, j]", "T[i, c, j]")
    sizes = {"rows": rows, "lanes": lanes, "stride": stride, "most": most, "size": 5 * most + 1}
    return parse(NEIGHBOURS.format(**sizes, start=start, update=filled))


@pytest.mark.cc
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(("rows", "lanes", "stride"), [(4, 16, 3), (3, 8, 3), (5, 4, 3), (4, 16, 5)])
def test_four_vectors_share_a_tree(rows: int, lanes: int, stride: int, update: str) -> None:
    nest = _neighbours(rows, lanes, update, stride)
    x = np.random.default_rng(0).integers(-9, 9, (5, rows, 3, lanes)).astype(np.float32)
    text = emit_library([nest])
    assert text.count(f"four_f32x{lanes}(") == 1 + rows * 3 // 4  # the function and its calls
    assert text.count(f"lanes_f32x{lanes}(") == (1 + rows * 3 % 4 if rows * 3 % 4 else 0)
    assert text.count("*(f32x4u *)&Y") == (0 if stride > 3 else rows * 3 // 4)  # neighbours are stored together
    stored = [n * rows * stride + i * stride + c + 1 for n in range(5) for i in range(rows) for c in range(3)]
    np.testing.assert_array_equal(run_nest(nest, x)[0][stored], interpret(nest, x)[0][stored])


@pytest.mark.parametrize(("rows", "start"), [(1, "0.5"), (40, "0.5"), (4, "X[n, i, c, 0]")])
def test_too_few_or_too_many_are_joined_one_by_one(rows: int, start: str) -> None:
    text = emit_library([_neighbours(rows, 16, UPDATES[0], start=start)])
    assert "four_f" not in text
    assert "lanes_f" in text


@pytest.mark.cc
def test_results_that_the_next_vectors_hold_are_joined_one_by_one() -> None:
    nest = parse("""
def f(X: float32[5, 4]) -> (Y: float32[5, 4]):
    with local(float32[5, 4]) as T:
        for i in range(5):
            for j in vectorize(4):
                T[i, j] = X[i, j]
        for i in range(4):
            with register(float32[1]) as total:
                total[0] = 0.5
                for j in range(4):
                    total[0] = total[0] + T[i, j]
                T[i + 1, 0] = total[0]
        for i in range(5):
            for j in vectorize(4):
                Y[i, j] = T[i, j]
""")
    x = np.random.default_rng(0).integers(-9, 9, (5, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_nest(nest, x)[0], interpret(nest, x)[0])
