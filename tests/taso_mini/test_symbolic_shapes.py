"""Symbolic shapes say for all sizes what the shape rules say for one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini.conditions import holds
from taso_mini.operator_set import OPERATORS, infer
from taso_mini.proving.lengths import Equations, Length, equation
from taso_mini.proving.obligations import Shapes, leaf_ranks
from taso_mini.proving.shape_rules import RULES
from taso_mini.proving.symbolic_shapes import Typing, Unknown, leaf_shape
from taso_mini.rules_text import parse_term
from taso_mini.shapes import ShapeError
from taso_mini.terms import subterms, term
from tests.strategies.typed_terms import draw_shapes, typed_terms

DRAWS = 60


def assumed(roots):
    """The shapes of terms that are assumed to be defined, and whether any sizes allow it."""
    typing = Typing()
    shapes = Shapes(typing, {leaf: leaf_shape(leaf, rank) for leaf, rank in leaf_ranks(roots).items()})
    try:
        for root in roots:
            shapes.of(root)
    except Unknown:
        return shapes, False
    return shapes, not typing.equations.contradictory


def defined_at(roots, rng):
    """Yield drawn shapes at which all terms are defined, with the terms' shapes."""
    for _ in range(DRAWS):
        shapes = draw_shapes(roots, rng)
        try:
            yield shapes, [infer(root, shapes) for root in roots]
        except ShapeError:
            continue


@given(typed_terms(), st.integers(0, 2**16))
def test_where_a_term_is_defined_its_symbolic_lengths_are_its_lengths(root, seed):
    shapes, possible = assumed([root])
    for sizes, (shape,) in defined_at([root], np.random.default_rng(seed)):
        assert possible
        symbolic = shapes.of(root)
        assert len(symbolic.dims) == len(shape.dims)
        assert all(holds(f"{length} == {size}", sizes) for length, size in zip(symbolic.dims, shape.dims, strict=True))


def asked_of(parts):
    """Yield operators on all pairs of some terms."""
    window = {"padding": "same", "strides": (1, 1), "dilations": (1, 1), "activation": "none"}
    for x in parts:
        yield term("split0", x, axis=1)
        yield term("enlarge", x, kernel=(3, 3))
        yield term("avg_pool", x, kernel=(3, 3), padding=(0, 0, 0, 0), strides=(1, 1))
        for y in parts:
            yield from (term("add", x, y), term("concat", x, y, axis=0), term("concat", x, y, axis=1))
            yield from (term("matmul", x, y), term("enlarge_like", x, y), term("conv", x, y, **window))
            yield term("conv", x, y, **(window | {"padding": (0, 0, 0, 0)}))


@given(typed_terms(), typed_terms(), st.integers(0, 2**16))
def test_what_follows_from_defined_terms_is_defined(one, other, seed):
    shapes, possible = assumed([one, other])
    shapes.typing.assuming = False
    following = []
    for asked in asked_of([*subterms(one, other)][:6]) if possible else ():
        try:
            following.append((asked, shapes.of(asked)))
        except Unknown:
            continue
    for sizes, _ in defined_at([one, other], np.random.default_rng(seed)):
        for asked, symbolic in following:
            dims = infer(asked, sizes).dims  # a ShapeError here is the bug this test is for
            assert all(holds(f"{length} == {size}", sizes) for length, size in zip(symbolic.dims, dims, strict=True))


def test_every_operator_has_a_symbolic_rule():
    assert set(OPERATORS) | {"input"} == set(RULES)


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (
            "conv(x, enlarge(w, kernel=(3, 3)), WINDOW)",
            "conv(x, w, WINDOW)",
        ),  # an even window could be enlarged to an odd
        ("concat(x, y, axis=1)", "add(x, y)"),
        ("add(conv(x, w, WINDOW), conv(y, w, WINDOW))", "conv(add(x, y), w, WINDOW)"),  # the groups may differ
        (
            "conv(x, concat(w, u, axis=0), WINDOW)",
            "conv(x, w, WINDOW)",
        ),  # the outputs of w may not divide into the groups
    ],
)
def test_what_does_not_follow_is_unknown(known, asked):
    kinds = {"x": "image", "y": "image", "w": "kernel", "u": "kernel"}
    window = "activation=none, dilations=(1, 1), padding=same, strides=(1, 1)"
    terms = [parse_term(text.replace("WINDOW", window), kinds) for text in (known, asked)]
    shapes, possible = assumed(terms[:1])
    assert possible
    shapes.typing.assuming = False
    with pytest.raises(Unknown):
        shapes.of(terms[1])


@pytest.mark.parametrize(
    "text",
    [
        "add(x, conv(x, add(w, enlarge(w, kernel=(3, 3))), activation=none, dilations=(1, 1), padding=(0, 0, 0, 0), "
        "strides=(1, 1)))",  # the window is 3 at least, and must be 1
        "add(x, concat(x, x, axis=1))",
    ],
)
def test_what_no_sizes_can_do_is_found_out(text):
    _, possible = assumed([parse_term(text, {"x": "image", "w": "kernel"})])
    assert not possible


def test_equations_find_what_cannot_be():
    a, b, c = (Length.atom(name) for name in "abc")
    known = Equations()
    known.assume(a * b, c * c)
    known.assume(b, c)
    assert known.equal(a * c, c * c) and not known.contradictory
    known.assume(a, b + c)
    assert known.equal(b + c, c + c)
    known.assume(c + c, a + a)  # so c = a = 2 c
    assert known.contradictory
    assert equation(Length.number(2) * a - Length.number(4) * b) == "2 * b == a"
