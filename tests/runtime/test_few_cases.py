"""Short loops around register tiles that decide borders are written out."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.interpreter import interpret
from runtime.loop_nest_text import parse
from runtime.passes.few_cases import COPIES_LIMIT, decides_borders, write_out_cases
from runtime.verify_nest import verify

TEXT = """
def f(X: int32[{size}]) -> (Y: int32[{classes}, 4]):
    for q in range({classes}):
        with register(int32[4]) as T:
            for w in unroll(4):
                T[w] = 0
            for k in range(2):
                for w in unroll(4):
                    if {guard}:
                        T[w] = T[w] + X[w + q + k]
            for w in unroll(4):
                Y[q, w] = T[w]
"""


@pytest.mark.parametrize("guard", ["w + q + k >= 1", "w + q + k >= 1 and w + q + k < 4", "q + k >= 1", "w + q != 2"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_written_out_nests_mean_the_same(guard: str, classes: int) -> None:
    nest = parse(TEXT.format(size=classes + 5, classes=classes, guard=guard))
    written = write_out_cases(nest)
    verify(written)
    x = np.arange(1, classes + 6, dtype=np.int32)
    np.testing.assert_array_equal(interpret(written, x)[0], interpret(nest, x)[0])


def test_no_tile_is_written_too_often() -> None:
    nest = parse(TEXT.format(size=12, classes=COPIES_LIMIT + 1, guard="w + q + k >= 1"))
    assert "for q in range(5)" in str(write_out_cases(nest))
    assert "for k in range(2)" in str(write_out_cases(nest))


def test_a_guard_that_no_tile_decides_stays() -> None:
    nest = parse(TEXT.format(size=8, classes=2, guard="q + k >= 1"))
    assert not decides_borders(nest.body)  # type: ignore[arg-type]
    assert str(write_out_cases(nest)).count("for q") == 1


def test_guards_of_a_written_out_tile_become_its_extent() -> None:
    written = str(write_out_cases(parse(TEXT.format(size=8, classes=2, guard="w + q + k >= 1 and w + q + k < 5"))))
    assert "if" not in written
    assert "for w in unroll(3)" in written
