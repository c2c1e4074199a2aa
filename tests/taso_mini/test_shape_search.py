"""Searching shapes finds exactly what trying everything finds, in the same order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini import shape_search
from taso_mini.operator_set import infer
from taso_mini.rules_text import parse_term
from taso_mini.shape_index import AGREEING, keys
from taso_mini.shape_search import ShapeSearch, assignments, leaf_name, leaves
from taso_mini.shape_table import ShapeTable
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term

KINDS = {"x": "tensor", "y": "tensor", "z": "tensor", "i": "image", "k": "kernel", "l": "kernel"}
WINDOW = "activation=none, dilations=(1, 1), padding=same, strides=(1, 1)"
TERMS = (
    "add(x, y)",
    "concat(x, add(y, z), axis=0)",
    "split0(concat(x, y, axis=1), axis=1)",
    "matmul(add(x, y), z)",
    "add(concat(x, y, axis=0), z)",
    "mul(x, Iewmul())",
    "matmul(x, Imatmul())",
    "matmul(concat(x, x, axis=1), y)",
    f"conv(i, concat(k, l, axis=0), {WINDOW})",
    f"conv(i, Cpool(kernel=(3, 1)), {WINDOW})",
)
MATRICES = [Shape(dims) for dims in itertools.product((1, 2, 3), repeat=2)]
IMAGES = [Shape((1, c, 3, 3)) for c in (1, 2, 4)]
KERNELS = [Shape((o, i, *window)) for o in (2, 4) for i in (1, 2) for window in ((1, 1), (3, 1))]


def choices_of(root):
    return {
        leaf_name(leaf): {"i": IMAGES, "k": KERNELS, "l": KERNELS, "C": KERNELS}.get(leaf_name(leaf)[0], MATRICES)
        for leaf in leaves(root)
    }


def by_brute_force(root, choices):
    names = [leaf_name(leaf) for leaf in leaves(root)]
    for shapes in itertools.product(*(choices[name] for name in names)):
        assignment = dict(zip(names, shapes, strict=True))
        try:
            infer(root, assignment)
        except ShapeError:
            continue
        yield assignment


@pytest.mark.parametrize("text", TERMS)
def test_search_agrees_with_trying_everything(text):
    root = parse_term(text, KINDS)
    expected = list(by_brute_force(root, choices_of(root)))
    assert expected
    assert list(assignments([root], choices_of(root))) == expected


@given(st.sampled_from(TERMS), st.integers(0, 2**32 - 1))
def test_a_sample_is_one_of_all(text, seed):
    root = parse_term(text, KINDS)
    found = ShapeSearch([root], choices_of(root)).sample(np.random.default_rng(seed))
    assert found in list(by_brute_force(root, choices_of(root)))


@given(st.sampled_from(TERMS), st.integers(0, 2**32 - 1))
def test_an_index_changes_no_sample(text, seed):
    root = parse_term(text, KINDS)
    with pytest.MonkeyPatch.context() as patch:
        found = ShapeSearch([root], choices_of(root)).sample(np.random.default_rng(seed), tries=40)
        patch.setattr(shape_search, "keys", lambda node: (None,) * len(node.args))
        assert ShapeSearch([root], choices_of(root)).sample(np.random.default_rng(seed), tries=40) == found


@pytest.mark.parametrize("operator", [*AGREEING, "concat"])
def test_where_an_operator_is_defined_its_arguments_agree(operator):
    params = {
        "concat": (("axis", 1),),
        "conv_bias": tuple({"activation": "none", "dilations": (1, 1), "padding": "same", "strides": (1, 1)}.items()),
    }.get(operator, ())
    names = "xyz"[: len(AGREEING.get(operator, "xy"))]
    root = Term(operator, params, [parse_term(name, KINDS) for name in names])
    shapes = [Shape(d) for d in ((1, 2, 3, 3), (2, 4, 1, 1), (4, 2, 3, 3), (2, 3), (3, 3), (3, 2), (2,), (4,), (3,))]
    defined = 0
    for arguments in itertools.product(shapes, repeat=len(names)):
        try:
            infer(root, dict(zip(names, arguments, strict=True)))
        except ShapeError:
            continue
        defined += 1
        assert len({key(shape.dims) for key, shape in zip(keys(root), arguments, strict=True) if key is not None}) == 1
    assert 0 < defined < len(shapes) ** len(names)


def test_no_sample_where_nothing_fits():
    root = parse_term("matmul(x, y)", KINDS)
    choices = {"x": [Shape((2, 3))], "y": [Shape((2, 3))]}
    assert ShapeSearch([root], choices).sample(np.random.default_rng(0)) is None


def test_alike_roots_have_equal_dims():
    one, other = (parse_term(text, KINDS) for text in ("matmul(x, y)", "matmul(y, x)"))
    both = ShapeSearch([one, other], {"x": MATRICES, "y": MATRICES}, alike=[(one, other)])
    assert {found["x"].dims for found in both.all()} == {(1, 1), (2, 2), (3, 3)}


def test_restriction_refuses_more_than_the_shape_rule():
    root = parse_term(f"conv(i, k, {WINDOW})", KINDS)
    ungrouped = ShapeTable(lambda node, given: given[0].dims[1] == given[1].dims[1])
    choices = {"i": IMAGES, "k": KERNELS}
    found = list(ShapeSearch([root], choices, table=ungrouped).all())
    assert found and all(f["i"].dims[1] == f["k"].dims[1] for f in found)
    assert len(found) < len(list(ShapeSearch([root], choices).all()))


def test_parameters_are_bound_in_constants_too():
    root = parse_term(f"conv(i, Cpool(kernel=k), {WINDOW})", KINDS)
    found = list(assignments([root], {"i": IMAGES, "Cpool(kernel=(3, 1))": KERNELS}, {"k": (3, 1)}))
    assert {f["Cpool(kernel=(3, 1))"].dims for f in found} == {(2, 1, 3, 1), (4, 1, 3, 1)}
