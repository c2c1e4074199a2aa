"""Each operator's NumPy reference against plain Python loops or NumPy's own words, and each of its refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from runtime.node import Params, TensorType
from runtime.operators import OPERATORS, evaluate, infer
from tests.strategies.graphs import small_integers

RNG = np.random.default_rng(0)


def run(operator, *arrays, **params):
    """Evaluate with complete parameters and check that the inferred types are those of the results."""
    types = tuple(TensorType(array.shape, array.dtype.name) for array in arrays)
    full, outputs = infer(operator, types, Params(**params))
    results = evaluate(operator, arrays, full)
    assert [TensorType(r.shape, r.dtype.name) for r in results] == list(outputs)
    return results[0] if len(results) == 1 else results


def windows(x, kernel, params):
    """Every output position and the input positions its window covers, None where that is padding."""
    rank = len(kernel)
    strides, padding = params["strides"], params["padding"]
    dilations = params.get("dilations", (1,) * rank)
    spans = [x.shape[2 + d] + padding[d] + padding[rank + d] - dilations[d] * (kernel[d] - 1) for d in range(rank)]
    for out in itertools.product(*(range(-(-span // stride)) for span, stride in zip(spans, strides, strict=True))):
        seen = {}
        for tap in itertools.product(*map(range, kernel)):
            at = tuple(out[d] * strides[d] + tap[d] * dilations[d] - padding[d] for d in range(rank))
            seen[tap] = at if all(0 <= at[d] < x.shape[2 + d] for d in range(rank)) else None
        yield out, seen


def conv_by_loops(x, w, bias, params):
    per_group = w.shape[0] // params["groups"]
    result = {}
    for n, o in itertools.product(range(x.shape[0]), range(w.shape[0])):
        first = o // per_group * w.shape[1]
        for out, seen in windows(x, w.shape[2:], params):
            total = bias[o]
            for (tap, at), c in itertools.product(seen.items(), range(w.shape[1])):
                if at is not None:
                    total += x[(n, first + c, *at)] * w[(o, c, *tap)]
            result[(n, o, *out)] = total
    y = np.zeros([1 + max(index[d] for index in result) for d in range(x.ndim)], np.float32)
    for index, value in result.items():
        y[index] = value
    return y


CONVS = [
    ((1, 2, 5, 4), (3, 2, 3, 2), {}),
    ((2, 4, 5, 6), (6, 2, 2, 3), {"strides": (2, 1), "padding": (0, 1, 2, 1), "groups": 2}),
    ((1, 3, 7, 6), (3, 1, 3, 2), {"dilations": (2, 3), "padding": (1, 2, 1, 0), "groups": 3, "strides": (1, 2)}),
    ((2, 2, 9), (2, 2, 3), {"strides": (2,), "padding": (1, 0), "dilations": (2,)}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 1, 3), {"strides": (1, 2, 1), "padding": (1, 0, 0, 0, 0, 1), "dilations": (1, 1, 1)}),
]


@pytest.mark.parametrize("x_shape, w_shape, params", CONVS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv_is_seven_loops(x_shape, w_shape, params, layout):
    x, w, bias = (small_integers(RNG, shape) for shape in (x_shape, w_shape, w_shape[:1]))
    full = {"strides": (1, 1), "padding": (0,) * 4, "dilations": (1, 1), "groups": 1, **params}
    expected = conv_by_loops(x, w, bias, full)
    if layout == "NHWC":
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    y = run("conv", x, w, bias, **full, layout=layout)
    y = np.moveaxis(y, -1, 1) if layout == "NHWC" else y
    assert np.array_equal(y, expected)


TRANSPOSED = [
    ((1, 2, 3, 4), (2, 3, 3, 2), {}),
    ((2, 3, 4, 3), (3, 2, 4, 4), {"strides": (2, 2), "padding": (1, 1, 1, 1)}),
    ((1, 2, 3, 2), (2, 3, 2, 3), {"strides": (3, 2), "padding": (1, 0, 0, 2), "output_padding": (2, 1)}),
    ((1, 2, 2, 3, 2), (2, 2, 2, 1, 3), {"strides": (2, 1, 3), "padding": (0,) * 6, "output_padding": (1, 0, 2)}),
]


@pytest.mark.parametrize("x_shape, w_shape, params", TRANSPOSED)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_transposed_conv_adds_the_window_of_every_input(x_shape, w_shape, params, layout):
    x, w, bias = (small_integers(RNG, shape) for shape in (x_shape, w_shape, w_shape[1:2]))
    rank = len(x_shape) - 2
    full = {"strides": (1,) * rank, "padding": (0,) * 2 * rank, "output_padding": (0,) * rank, **params}
    strides, padding, more = full["strides"], full["padding"], full["output_padding"]
    image, kernel = x_shape[2:], w_shape[2:]
    out = [
        (n - 1) * s + k + m - padding[d] - padding[rank + d]
        for d, (n, s, k, m) in enumerate(zip(image, strides, kernel, more, strict=True))
    ]
    expected = np.zeros((x_shape[0], w_shape[1], *out), np.float32) + bias.reshape(-1, *(1,) * rank)
    for at, tap in itertools.product(itertools.product(*map(range, image)), itertools.product(*map(range, kernel))):
        place = tuple(i * s + t - p for i, s, t, p in zip(at, strides, tap, padding, strict=False))
        if all(0 <= p < n for p, n in zip(place, out, strict=True)):
            for o, c in itertools.product(range(w_shape[1]), range(w_shape[0])):
                expected[(slice(None), o, *place)] += x[(slice(None), c, *at)] * w[(c, o, *tap)]
    if layout == "NHWC":
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-2, -1))
    y = run("conv_transpose", x, w, bias, **full, layout=layout)
    y = np.moveaxis(y, -1, 1) if layout == "NHWC" else y
    assert np.array_equal(y, expected)


def test_conv_with_relu_is_conv_then_relu():
    x, w = small_integers(RNG, (1, 2, 4, 4)), small_integers(RNG, (3, 2, 2, 2))
    assert np.array_equal(run("conv", x, w, activation="relu"), run("relu", run("conv", x, w)))


POOLS = [
    ({"kernel": (2, 3), "strides": (2, 1)}, False),
    ({"kernel": (3, 3), "padding": (1, 2, 2, 0)}, False),
    ({"kernel": (3, 2), "padding": (1, 1, 1, 1), "strides": (1, 2)}, True),
]


@pytest.mark.parametrize("params, include", POOLS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pools_are_loops(params, include, layout):
    full = {"strides": (1, 1), "padding": (0,) * 4, **params}
    x = small_integers(RNG, (2, 3, 5, 6))
    given = np.moveaxis(x, 1, -1) if layout == "NHWC" else x
    most = run("max_pool", given, **full, layout=layout)
    mean = run("avg_pool", given, **full, layout=layout, count_include_pad=include)
    if layout == "NHWC":
        most, mean = np.moveaxis(most, -1, 1), np.moveaxis(mean, -1, 1)
    for n, c in itertools.product(range(2), range(3)):
        for out, seen in windows(x, full["kernel"], full):
            values = [x[(n, c, *at)] for at in seen.values() if at is not None]
            assert most[(n, c, *out)] == max(values)
            count = len(seen) if include else len(values)
            assert mean[(n, c, *out)] == pytest.approx(sum(values) / count)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_lrn_is_its_formula(size):
    x = RNG.normal(size=(1, 6, 2, 2)).astype(np.float32)
    y = run("lrn", x, size=size, alpha=0.5, beta=0.6, bias=2.0)
    for c in range(6):
        near = range(max(0, c - (size - 1) // 2), min(5, c + size // 2) + 1)
        scale = (2.0 + 0.5 / size * sum(x[:, i] ** 2 for i in near)) ** 0.6
        np.testing.assert_allclose(y[:, c], x[:, c] / scale, rtol=1e-5)
    last = run("lrn", np.moveaxis(x, 1, -1), size=size, alpha=0.5, beta=0.6, bias=2.0, layout="NHWC")
    assert np.array_equal(np.moveaxis(last, -1, 1), y)


UNARY = {
    "relu": lambda v: max(v, 0.0),
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "exp": math.exp,
    "erf": math.erf,
    "sqrt": lambda v: math.sqrt(v) if v >= 0 else math.nan,
}


@pytest.mark.parametrize("name", UNARY)
def test_scalar_functions_are_those_of_math(name):
    x = np.linspace(-6, 6, 25, dtype=np.float32).reshape(5, 5)
    expected = np.vectorize(UNARY[name])(x.astype(np.float64))
    np.testing.assert_allclose(run(name, x), expected, rtol=1e-6, atol=1e-7)


def test_sigmoid_and_softmax_do_not_overflow():
    x = np.asarray([[-1000.0, 0.0, 1000.0]], np.float32)
    assert run("sigmoid", x).tolist() == [[0.0, 0.5, 1.0]]
    assert run("softmax", x).tolist() == [[0.0, 0.0, 1.0]]


def test_arithmetic_broadcasts():
    x, y = small_integers(RNG, (2, 1, 3)), small_integers(RNG, (4, 1)) + 5
    for name, expected in (("add", x + y), ("sub", x - y), ("mul", x * y), ("div", x / y)):
        assert np.array_equal(run(name, x, y), expected)


def test_clip_has_open_sides():
    x = np.asarray([-3.0, 0.5, 3.0], np.float32)
    assert run("clip", x, max=1).tolist() == [-3.0, 0.5, 1.0]
    assert run("clip", x, min=-1, max=2).tolist() == [-1.0, 0.5, 2.0]


def test_operators_that_move_elements():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    first, second = run("split", x, axis=-1, sizes=(1, 3))
    assert np.array_equal(run("concat", first, second, axis=2), x)
    assert np.array_equal(run("transpose", x, perm=(2, 0, 1)), x.transpose(2, 0, 1))
    assert np.array_equal(run("reshape", x, shape=(4, 6)), x.reshape(4, 6))
    assert np.array_equal(run("slice", x, starts=(0, 1, 0), stops=(2, 3, 4), steps=(1, 1, 3)), x[:, 1:3, ::3])
    padded = run("pad", x, pads=(1, 0, 0, 0, 0, 2), value=7)
    assert padded.shape == (3, 3, 6) and padded[0].min() == 7 and np.array_equal(padded[1:, :, :4], x)


def test_reductions_and_matmul():
    x = small_integers(RNG, (2, 3, 4))
    assert np.array_equal(run("reduce_sum", x, axes=(0, -1)), x.sum((0, 2), keepdims=True))
    assert np.array_equal(run("reduce_max", x, axes=(1,), keepdims=False), x.max(1))
    assert np.array_equal(run("reduce_mean", x, axes=(2,)), x.mean(2, keepdims=True))
    assert np.array_equal(run("matmul", x, x.transpose(0, 2, 1)[:1]), x @ x.transpose(0, 2, 1)[:1])


def test_flops_count_multiply_add_as_two():
    def flops(name, *shapes, **params):
        types = tuple(map(TensorType, shapes))
        full, outputs = infer(name, types, Params(**params))
        return OPERATORS[name].flops(types, outputs, full)

    assert flops("matmul", (512, 512), (512, 512)) == 2 * 512**3
    assert flops("conv", (1, 8, 5, 5), (4, 2, 3, 3), groups=4) == 2 * 4 * 9 * 2 * 9
    assert flops("conv", (1, 8, 5, 5), (4, 8, 1, 1), (4,), activation="relu") == 100 * (2 * 8 + 2)
    assert flops("max_pool", (1, 2, 4, 4)) == 18 * 4
    assert flops("reshape", (2, 3), shape=(6,)) == 0


BAD = [
    ("conv", [(1, 3, 4, 4), (2, 4, 1, 1)], {}, "x has 3 channels"),
    ("conv", [(1, 3, 4, 4), (2, 3, 5, 5)], {}, "does not fit"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1)], {}, "rank 4"),
    ("conv", [(1, 4, 4, 4), (3, 2, 1, 1)], {"groups": 2}, "do not divide"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1), (3,)], {}, "bias"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1)], {"strides": (0, 1)}, "strides"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1)], {"padding": (1, 1)}, "padding"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1)], {"activation": "gelu"}, "activation"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1)], {"layout": "CHWN"}, "layout"),
    ("conv", [(1, 3, 4, 4), (2, 3, 1, 1)], {"stride": 2}, "unknown parameter 'stride'"),
    ("conv", [(1, 3, 4, 4)], {}, "takes 2 or 3 inputs, got 1"),
    ("max_pool", [(1, 3, 4, 4)], {"padding": (2, 0, 0, 0)}, "nothing but padding"),
    ("max_pool", [(3, 4)], {}, "spatial dimensions"),
    ("matmul", [(2, 3), (4, 5)], {}, "do not multiply"),
    ("matmul", [(3,), (3, 5)], {}, "matrices"),
    ("matmul", [(2, 2, 3), (3, 3, 5)], {}, "broadcast"),
    ("add", [(2, 3), (4,)], {}, "do not broadcast"),
    ("clip", [(2,)], {"min": 2, "max": 1}, "above"),
    ("softmax", [(2, 3)], {"axis": 2}, "axis"),
    ("concat", [(2, 3), (3, 3)], {"axis": 1}, "axis 1 only"),
    ("concat", [(2, 3)], {}, "'axis' is required"),
    ("split", [(2, 3)], {"axis": 1, "sizes": (1, 1)}, "sum to 3"),
    ("transpose", [(2, 3)], {"perm": (0, 0)}, "permutation"),
    ("reshape", [(2, 3)], {"shape": (4,)}, "6 elements"),
    ("pad", [(2,)], {"pads": (-1, 0)}, "pads"),
    ("slice", [(2,)], {"starts": (1,), "stops": (1,), "steps": (1,)}, "empty"),
    ("reduce_sum", [(2, 3)], {"axes": (0, -2)}, "twice"),
    ("reduce_sum", [(2, 3)], {"axes": ()}, "axes"),
    ("lrn", [(1, 2, 3, 3)], {"size": 0}, "size"),
    ("frobnicate", [(2,)], {}, "unknown operator"),
]


@pytest.mark.parametrize("name, shapes, params, message", BAD)
def test_what_does_not_fit_is_refused_in_words(name, shapes, params, message):
    with pytest.raises(ValueError, match=message):
        infer(name, tuple(map(TensorType, shapes)), Params(**params))


def test_mixed_dtypes_are_refused():
    with pytest.raises(ValueError, match="one dtype, got float32 and int64"):
        infer("add", (TensorType((2,)), TensorType((2,), "int64")), Params())


def test_every_operator_documents_itself():
    assert all(entry.name == name and entry.doc.endswith(".") for name, entry in OPERATORS.items())
