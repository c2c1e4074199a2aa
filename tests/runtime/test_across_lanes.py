"""The lanes of one vector are joined by a tree of vector operations."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.compile_c import run_nest
from runtime.emit_c import emit_library
from runtime.interpreter import interpret
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
