"""The operators' values against the graph's NumPy reference, and laws of the arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini.arithmetic import FiniteField, Floats
from taso_mini.operator_set import OPERATORS, evaluate, infer
from taso_mini.rules_text import parse_term
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import term, variable

KINDS = {"x": "image", "y": "image", "w": "kernel", "v": "vector", "m": "matrix", "n": "matrix", "c": "scalar"}


CONV = "conv(x, w, activation=none, dilations=(1, 1), padding=same, strides=(1, 1))"


def slow_conv(x, w, strides, padding, dilations):
    n, c, height, width = x.shape
    o, ci, kh, kw = w.shape
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows = (height + top + bottom - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    columns = (width + left + right - dilations[1] * (kw - 1) - 1) // strides[1] + 1
    out = np.zeros((n, o, rows, columns))
    per_group = o // (c // ci)
    for b, f, i, j, k, p, q in np.ndindex(n, o, rows, columns, ci, kh, kw):
        row, column = i * strides[0] + p * dilations[0], j * strides[1] + q * dilations[1]
        out[b, f, i, j] += padded[b, f // per_group * ci + k, row, column] * w[f, k, p, q]
    return out


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("window", [((1, 1), (0, 0, 0, 0), (1, 1)), ((2, 1), (1, 0, 2, 1), (1, 2))])
def test_grouped_convolution_equals_seven_loops(groups, window):
    strides, padding, dilations = window
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (2, 4, 5, 6)).astype(float)
    w = rng.integers(-3, 4, (4, 4 // groups, 3, 2)).astype(float)
    root = term("conv", variable("x", "image"), variable("w", "kernel"), activation="none", strides=strides,
                padding=padding, dilations=dilations)
    value, = evaluate([root], {"x": x, "w": w}, arithmetic=Floats())
    assert (value == slow_conv(x, w, *window)).all()
    assert infer(root, {"x": Shape(x.shape), "w": Shape(w.shape)}).dims == value.shape


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 40), st.integers(1, 5))
def test_finite_field_matmul_is_exact(seed, rows, inner, columns):
    field = FiniteField()
    rng = np.random.default_rng(seed)
    a, b = field.draw(rng, (rows, inner)), field.draw(rng, (inner, columns))
    assert (field.matmul(a, b) == (a.astype(object) @ b.astype(object) % field.modulus).astype(np.int64)).all()


def test_field_relu_keeps_zero_and_window_max_is_a_function_of_the_set():
    field = FiniteField()
    assert field.relu(np.array([0])) == 0
    windows = np.array([[1, 2, 2, 7], [7, 1, 1, 2], [7, 1, 3, 2]])
    inside = np.ones(windows.shape, dtype=bool)
    first, second, third = field.window_max(windows, inside)
    assert first == second != third
    assert field.window_max(np.array([[0, 5]]), np.array([[False, True]])) == 5


@pytest.mark.parametrize(("text", "dims"), [
    ("matmul(m, n)", {"m": (2, 3), "n": (4, 2)}),
    (CONV, {"x": (1, 3, 4, 4), "w": (2, 2, 3, 3)}),
    (CONV, {"x": (1, 2, 4, 4), "w": (2, 2, 2, 2)}),
    ("split0(x, axis=1)", {"x": (1, 2, 4, 4)}),
    ("scale(x, v)", {"x": (1, 2, 4, 4), "v": (3,)}),
    ("add(x, y)", {"x": (1, 2, 4, 4), "y": (1, 1, 4, 4)}),
    ("smul(x, v)", {"x": (1, 2, 4, 4), "v": (2,)}),
])
def test_undefined_applications_are_shape_errors(text, dims):
    with pytest.raises(ShapeError):
        infer(parse_term(text, KINDS), {name: Shape(d) for name, d in dims.items()})


def test_every_operator_is_defined_somewhere():
    assert set(OPERATORS) >= {"matmul", "conv", "add", "mul", "relu", "concat", "split0", "split1", "transpose",
                              "avg_pool", "max_pool", "enlarge", "scale", "bias", "conv_bias", "scale_kernel"}
