"""The errors that runtime/c_text/polynomials.py states, and what happens at infinity, NaN and zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from runtime.compile_c import run_nest
from runtime.loop_nest_text import parse

COUNT = 1 << 16
REFERENCES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    "exp": (np.exp, -87.3, 88.7),
    "tanh": (np.tanh, -10, 10),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -80, 80),
    "erf": (np.vectorize(math.erf), -6, 6),
}
RELATIVE = {"exp": 1e-7, "tanh": 3e-7, "sigmoid": 3e-7, "erf": 6e-7}
AT_LIMITS = {"exp": [np.inf, 0, 1], "tanh": [1, -1, 0], "sigmoid": [1, 0, 0.5], "erf": [1, -1, 0]}


def evaluate(name: str, values: np.ndarray) -> np.ndarray:
    """The vector form of an intrinsic on float32 values."""
    nest = parse(f"""def f(A: float32[{values.size}]) -> (B: float32[{values.size}]):
    for i in vectorize({values.size}):
        B[i] = {name}(A[i])""")
    return run_nest(nest, values)[0]


@pytest.mark.cc
@pytest.mark.parametrize("name", REFERENCES)
def test_error_over_the_range(name: str) -> None:
    reference, low, high = REFERENCES[name]
    values = np.concatenate([np.linspace(low, high, COUNT), np.geomspace(1e-6, 1, 1024)]).astype(np.float32)
    expected = reference(values.astype(np.float64))
    relative = np.abs(evaluate(name, values) - expected) / np.maximum(np.abs(expected), 1e-38)
    assert relative.max() <= RELATIVE[name]


@pytest.mark.cc
@pytest.mark.parametrize("name", REFERENCES)
def test_limits(name: str) -> None:
    got = evaluate(name, np.array([np.inf, -np.inf, 0, np.nan], np.float32))
    np.testing.assert_allclose(got[:3], AT_LIMITS[name], rtol=3e-7)
    assert np.isnan(got[3])


@pytest.mark.cc
@pytest.mark.parametrize("name", ["log", "sqrt", "abs", "floor", "ceil"])
def test_lane_by_lane_intrinsics(name: str) -> None:
    values = np.linspace(0.1, 20, 48).astype(np.float32)
    np.testing.assert_allclose(evaluate(name, values), getattr(np, name)(values), rtol=3e-7)
