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
    root = term(
        "conv",
        variable("x", "image"),
        variable("w", "kernel"),
        activation="none",
        strides=strides,
        padding=padding,
        dilations=dilations,
    )
    (value,) = evaluate([root], {"x": x, "w": w}, arithmetic=Floats())
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


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("matmul(m, n)", {"m": (2, 3), "n": (4, 2)}),
        (CONV, {"x": (1, 3, 4, 4), "w": (2, 2, 3, 3)}),
        (CONV, {"x": (1, 2, 4, 4), "w": (2, 2, 2, 2)}),
        ("split0(x, axis=1)", {"x": (1, 2, 4, 4)}),
        ("scale(x, v)", {"x": (1, 2, 4, 4), "v": (3,)}),
        ("add(x, y)", {"x": (1, 2, 4, 4), "y": (1, 1, 4, 4)}),
        ("smul(x, v)", {"x": (1, 2, 4, 4), "v": (2,)}),
    ],
)
def test_undefined_applications_are_shape_errors(text, dims):
    with pytest.raises(ShapeError):
        infer(parse_term(text, KINDS), {name: Shape(d) for name, d in dims.items()})


def test_every_operator_is_defined_somewhere():
    assert set(OPERATORS) >= {
        "matmul",
        "conv",
        "add",
        "mul",
        "relu",
        "concat",
        "split0",
        "split1",
        "transpose",
        "avg_pool",
        "max_pool",
        "enlarge",
        "enlarge_like",
        "scale",
        "bias",
        "conv_bias",
        "scale_kernel",
        "Cpool",
        "Iconv",
        "Imatmul",
        "Iewmul",
    }


ONES = [
    ("Cpool(kernel=(3, 3))", (4, 1, 3, 3)),
    ("Iconv(kernel=(3, 1))", (4, 1, 3, 1)),
    ("Iconv(kernel=(1, 3))", (4, 4, 1, 3)),
    ("Imatmul()", (3, 3)),
    ("Iewmul()", (2, 3)),
]


@pytest.mark.parametrize(("constant", "dims"), ONES)
@pytest.mark.parametrize("arithmetic", [FiniteField(), Floats()], ids=["field", "floats"])
def test_a_constant_does_what_it_is_for(constant, dims, arithmetic):
    uses = {
        "Cpool": (
            f"conv(x, {constant}, activation=none, dilations=(1, 1), padding=same, strides=(2, 1))",
            "avg_pool(x, kernel=(3, 3), padding=same, strides=(2, 1))",
        ),
        "Iconv": (f"conv(x, {constant}, activation=none, dilations=(1, 1), padding=same, strides=(1, 1))", "x"),
        "Imatmul": ("matmul(m, Imatmul())", "m"),
        "Iewmul": ("mul(m, Iewmul())", "m"),
    }
    rng = np.random.default_rng(0)
    inputs = {"x": arithmetic.draw(rng, (2, 4, 5, 6)), "m": arithmetic.draw(rng, (2, 3)), constant: Shape(dims)}
    used, plain = evaluate(
        [parse_term(text, KINDS) for text in uses[constant.split("(")[0]]], inputs, arithmetic=arithmetic
    )
    assert arithmetic.equal(used, plain)


@pytest.mark.parametrize(
    ("text", "constant", "dims"),
    [
        ("matmul(m, Imatmul())", "Imatmul()", (3, 2)),
        ("relu(Cpool(kernel=(3, 3)))", "Cpool(kernel=(3, 3))", (4, 2, 3, 3)),
        ("relu(Cpool(kernel=(3, 3)))", "Cpool(kernel=(3, 3))", (4, 1, 3, 1)),
        ("relu(Iconv(kernel=(3, 3)))", "Iconv(kernel=(3, 3))", (4, 2, 3, 3)),
        ("relu(Iconv(kernel=(2, 2)))", "Iconv(kernel=(2, 2))", (4, 1, 2, 2)),
    ],
)
def test_constants_refuse_other_shapes(text, constant, dims):
    with pytest.raises(ShapeError, match=constant.split("(")[0]):
        infer(parse_term(text, KINDS), {"m": Shape((2, 3)), constant: Shape(dims)})
    with pytest.raises(ValueError, match="shape of the constant"):
        infer(parse_term(text, KINDS), {"m": Shape((2, 3))})


@pytest.mark.parametrize(("kernel", "window"), [((3, 3), (3, 3)), ((1, 3), (1, 3)), ((1, 1), (1, 1)), ((5, 1), (5, 1))])
def test_enlarge_puts_the_kernel_in_the_middle_and_never_cuts(kernel, window):
    w = np.arange(1, 7).reshape(2, 3, 1, 1).astype(float)
    root = term("enlarge", variable("w", "kernel"), kernel=kernel)
    (value,) = evaluate([root], {"w": w}, arithmetic=Floats())
    assert value.shape == (2, 3, *window) and value.sum() == w.sum()
    assert (value[:, :, window[0] // 2, window[1] // 2] == w[:, :, 0, 0]).all()
    assert infer(term("enlarge", variable("w", "kernel"), kernel=(1, 1)), {"w": Shape(value.shape)}).dims == value.shape
