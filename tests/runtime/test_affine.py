"""Index arithmetic keeps its value, its bounds hold, and what can be decided is decided."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.expr import COMPARISONS, Binary, Buffer, Const, Expr, Select, Var, maximum, minimum, select
from runtime.indices.simplify import Simplifier, bounds, simplify

NAMES = ("a", "b", "c")
OPERATIONS = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "//": np.floor_divide, "%": np.mod,
    "min": np.minimum, "max": np.maximum, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "==": np.equal, "!=": np.not_equal, "and": np.logical_and, "or": np.logical_or,
}  # fmt: skip


def value(expr: Expr, point: dict[str, np.ndarray]):
    if isinstance(expr, Var):
        return point[expr.name]
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Select):
        return np.where(value(expr.condition, point), value(expr.then, point), value(expr.otherwise, point))
    return OPERATIONS[expr.op](value(expr.a, point), value(expr.b, point))


@st.composite
def conditions(draw, parts):
    a, b = (Binary(draw(st.sampled_from(COMPARISONS)), draw(parts), draw(parts)) for _ in range(2))
    return Binary(draw(st.sampled_from(("and", "or"))), a, b)


def grow(parts):
    return st.one_of(
        st.builds(lambda op, x, y: Binary(op, x, y), st.sampled_from(("+", "-", "min", "max")), parts, parts),
        st.builds(lambda x, n: x * n, parts, st.integers(-3, 4)),
        st.builds(lambda x, n: x // n, parts, st.integers(1, 6)),
        st.builds(lambda x, n: x % n, parts, st.integers(1, 6)),
        st.builds(select, conditions(parts), parts, parts),
    )


LEAVES = st.sampled_from([Var(name) for name in NAMES]) | st.builds(Const, st.integers(-5, 5))
INDICES = st.recursive(LEAVES, grow, max_leaves=8)
RANGES = st.fixed_dictionaries(
    {name: st.tuples(st.integers(-2, 2), st.integers(0, 4)).map(lambda r: (r[0], r[0] + r[1])) for name in NAMES}
)


@given(INDICES, RANGES)
def test_simplified_index_has_the_same_value_within_its_bounds(expr, ranges):
    points = np.array(list(itertools.product(*(range(low, high + 1) for low, high in ranges.values())))).T
    point = dict(zip(ranges, points))
    before, after = value(expr, point), value(simplify(expr, ranges), point)
    low, high = bounds(expr, ranges)
    assert np.all(before == after)
    assert np.all(low <= before) and np.all(before <= high)


@given(conditions(INDICES), RANGES)
def test_simplified_condition_has_the_same_truth(expr, ranges):
    points = np.array(list(itertools.product(*(range(low, high + 1) for low, high in ranges.values())))).T
    point = dict(zip(ranges, points))
    assert np.all(value(expr, point) == value(simplify(expr, ranges), point))


def test_tile_offsets_cancel():
    i0, i1, f = Var("i0"), Var("i1"), Var("f")
    assert str(simplify((i0 * 8 + i1) - i0 * 8, {})) == "i1"
    assert str(simplify((f // 4 * 8 + i1) - f // 4 * 8, {})) == "i1"


def test_fused_loop_is_taken_apart():
    i, j = Var("i"), Var("j")
    ranges = {"i": (0, 9), "j": (0, 6)}
    assert str(simplify((i * 7 + j) // 7, ranges)) == "i"
    assert str(simplify((i * 7 + j) % 7, ranges)) == "j"
    assert str(simplify((i * 7 + j) // 14, ranges)) == "i // 2"
    assert str(simplify((i * 7 + j) // 3, ranges)) == "(i * 7 + j) // 3"
    assert str(simplify((i * 4 + j * 2) // 8, ranges)) == "(i * 2 + j) // 4"


def test_quotient_and_remainder_of_one_loop_are_put_together():
    f, g = Var("f"), Var("g")
    simplifier = Simplifier({"f": (0, 11), "g": (0, 3)})
    together = {
        "g * 12 + f": f // 3 * 3 + f % 3 + g * 12,
        "f // 3 + 5": f // 6 * 2 + f // 3 % 2 + 5,
        "f // 3 * 3 + f // 3 % 2": f // 3 * 3 + f // 3 % 2,
    }
    for expected, expr in together.items():
        assert str(simplifier.recombine(simplifier.affine(expr)).to_expr()) == expected


def test_vector_of_a_fused_loop_stays_contiguous():
    f0, f1 = Var("f0"), Var("f1")
    ranges = {"f0": (0, 31), "f1": (0, 15)}
    assert str(simplify((f0 * 16 + f1) // 64, ranges)) == "f0 // 4"
    assert str(simplify((f0 * 16 + f1) % 64, ranges)) == "f0 % 4 * 16 + f1"


def test_provable_guards_vanish_and_others_are_normalised():
    i0, i1 = Var("i0"), Var("i1")
    ranges = {"i0": (0, 7), "i1": (0, 7)}
    assert simplify(i0 * 8 + i1 < 64, ranges) == Const(True, "bool")
    assert str(simplify(i0 * 8 + i1 <= 60, ranges)) == "i0 * 8 + i1 < 61"
    assert str(simplify(Const(1) <= i1, ranges)) == "i1 >= 1"
    assert str(simplify(select((i1 >= 0) & (i0 < 4), i0, i1), ranges)) == "select(i0 < 4, i0, i1)"


def test_float_arithmetic_is_left_alone():
    A = Buffer("A", (8,))
    i = Var("i")
    expr = A[i + 1 - 1] * 1.0 + maximum(A[minimum(i, 7)], 0.0)
    assert str(simplify(expr, {"i": (0, 7)})) == "A[i] * 1.0 + max(A[i], 0.0)"
