"""Exact numbers agree with floats, and refuse rather than round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini.arithmetic import Floats
from taso_mini.exact_arithmetic import ExactNumbers, exact_for
from taso_mini.operator_set import evaluate
from taso_mini.rules_text import parse_term
from taso_mini.shapes import Shape
from taso_mini.terms import variables
from taso_mini.testing import draw_inputs

KINDS = {"i": "image", "j": "image", "k": "kernel"}
POOL = "kernel=(3, 2), padding=(1, 0, 1, 1), strides=(2, 1)"
WINDOW = "dilations=(1, 1), padding=(1, 0, 1, 1), strides=(2, 1)"
TERMS = (
    f"relu(avg_pool(i, {POOL}))",
    f"max_pool(add(i, j), {POOL})",
    f"conv(mul(i, j), k, activation=relu, {WINDOW})",
    f"avg_pool(avg_pool(i, {POOL}), kernel=(2, 2), padding=(0, 0, 0, 0), strides=(1, 1))",
    f"conv(i, Cpool(kernel=(3, 2)), activation=none, {WINDOW})",
)
SHAPES = {
    "i": Shape((2, 2, 5, 5)),
    "j": Shape((2, 2, 5, 5)),
    "k": Shape((4, 1, 3, 2)),
    "Cpool(kernel=(3, 2))": Shape((2, 1, 3, 2)),
}


@given(st.sampled_from(TERMS), st.integers(0, 2**32 - 1))
def test_exact_numbers_agree_with_floats(text, seed):
    root = parse_term(text, KINDS)
    exact = exact_for([root])
    inputs = draw_inputs([root], SHAPES, rng=np.random.default_rng(seed), arithmetic=exact)
    names = {v.name for v in variables(root)}
    floats = {name: x / exact.unit if name in names else x for name, x in inputs.items()}
    (value,) = evaluate([root], inputs, arithmetic=exact)
    (wanted,) = evaluate([root], floats, arithmetic=Floats())
    assert value.dtype == np.int64
    np.testing.assert_allclose(value / exact.unit, wanted, rtol=1e-12, atol=1e-12)


def test_a_division_that_does_not_come_out_even_is_refused():
    with pytest.raises(ArithmeticError, match="take a larger unit"):
        ExactNumbers(1).window_mean(np.array([[1, 1, 2]]))


def test_numbers_that_do_not_fit_are_refused():
    large = np.full((2, 2), 2**31)
    with pytest.raises(ArithmeticError, match="64 bits"):
        ExactNumbers().matmul(large, large)


def test_one_unit_apart_is_different():
    exact = ExactNumbers(9)
    a = exact.draw(np.random.default_rng(0), (3, 3))
    assert exact.equal(a, a.copy()) and not exact.equal(a, a + 1)
