"""Pruning: what each step drops, and that a generalised rule is looked at before it replaces another."""

from pathlib import Path

import pytest

from taso_mini.canonical import canonical_key, pair_of, show_pair
from taso_mini.common_subgraphs import input_generalisations, is_union, output_generalisations
from taso_mini.coverage import cover
from taso_mini.derivation import Identity
from taso_mini.instances import is_instance
from taso_mini.pruning import (
    STEPS,
    among,
    canonical,
    drop_common_inputs,
    drop_common_outputs,
    drop_consequences,
    drop_instances,
    drop_renamings,
    holds_numerically,
    prune,
    shares_output_operator,
)
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import parse_term

PUBLISHED = [pair_of(rule) for rule in read_protobuf(Path(__file__).parents[1] / "data" / "taso_generated_3op_619.pb")]

KINDS = {"x": "tensor", "y": "tensor", "z": "tensor", "i": "image", "w": "kernel", "u": "kernel"}


def rule(old, new):
    return (parse_term(old, KINDS),), (parse_term(new, KINDS),)


def test_normal_form_ignores_names_operand_order_and_direction():
    texts = [("add(relu(x), y)", "mul(x, z)"), ("mul(y, x)", "add(z, relu(y))")]
    forms = {canonical(tuple((parse_term(text, KINDS),) for text in pair)) for pair in texts}
    assert len(forms) == 1


def test_a_rule_with_terms_for_variables_is_an_instance_also_with_a_concrete_axis():
    general = rule("relu(concat(x, y, axis=a))", "concat(relu(x), relu(y), axis=a)")
    concrete = rule("relu(concat(x, y, axis=1))", "concat(relu(x), relu(y), axis=1)")
    nested = rule("relu(concat(add(x, z), y, axis=1))", "concat(relu(add(x, z)), relu(y), axis=1)")
    other = rule("relu(concat(x, y, axis=1))", "concat(relu(y), relu(x), axis=1)")
    assert set(drop_instances([nested, concrete, other, general])) == {general, other}


def test_a_rule_that_two_smaller_ones_give_is_dropped_unless_it_saves_an_expensive_operator():
    associates = rule("mul(mul(x, y), z)", "mul(x, mul(y, z))")
    regrouped = rule("mul(mul(x, y), mul(z, z))", "mul(x, mul(y, mul(z, z)))")
    assert drop_consequences([associates, regrouped]) == [associates]
    window = "activation=none, dilations=d, padding=p, strides=s"
    split = rule(f"conv(i, add(w, u), {window})", f"add(conv(i, w, {window}), conv(i, u, {window}))")
    twice = rule(
        f"conv(i, add(w, add(u, u)), {window})",
        f"add(conv(i, w, {window}), add(conv(i, u, {window}), conv(i, u, {window})))",
    )
    assert drop_consequences([split, twice]) == [split, twice]


@pytest.mark.parametrize(
    ("old", "new", "shared"),
    [
        ("relu(add(x, y))", "relu(add(y, x))", True),
        ("add(relu(x), y)", "add(y, mul(x, z))", True),
        ("add(relu(x), relu(y))", "add(x, y)", False),
        ("relu(x)", "add(x, x)", False),
    ],
)
def test_common_output_operator(old, new, shared):
    assert shares_output_operator(rule(old, new)) is shared


SHARED = rule("mul(add(relu(x), y), z)", "add(mul(relu(x), z), mul(z, y))")
GENERAL = rule("mul(add(x, y), z)", "add(mul(x, z), mul(y, z))")
CONSTANT = (
    (parse_term("matmul(matmul(x, Imatmul()), y)", {"x": "matrix", "y": "matrix"}),),
    (parse_term("matmul(x, matmul(Imatmul(), y))", {"x": "matrix", "y": "matrix"}),),
)


def test_a_shared_operator_becomes_a_variable():
    (general,) = input_generalisations(SHARED)
    assert canonical(general) == canonical(GENERAL)
    (constant,) = input_generalisations(CONSTANT)
    assert show_pair(constant) == "matmul(matmul(x, shared1), y) = matmul(x, matmul(shared1, y))"
    halves = rule("add(split0(x, axis=0), split1(x, axis=0))", "add(split1(x, axis=0), split0(x, axis=0))")
    assert [show_pair(g) for g in input_generalisations(halves)] == ["add(shared1, shared2) = add(shared2, shared1)"]


def test_a_rule_goes_when_its_generalisation_is_a_rule_and_stays_when_it_is_not():
    assert drop_common_inputs([SHARED, GENERAL]) == [GENERAL]
    idempotent = rule("relu(relu(x))", "relu(x)")
    assert drop_common_inputs([idempotent, GENERAL]) == [idempotent, GENERAL]  # relu(y) = y holds for y = relu(x) only
    assert drop_common_inputs([SHARED, idempotent], among([GENERAL])) == [idempotent]


@pytest.mark.parametrize(
    ("old", "new", "dropped"),
    [
        ("relu(add(x, y))", "relu(add(y, x))", True),  # one operand, the same on both sides
        ("mul(add(x, y), relu(z))", "mul(relu(z), add(y, x))", True),  # exchanged operands
        ("add(x, relu(y))", "add(relu(x), y)", False),  # equal sums do not make equal summands
    ],
)
def test_common_outputs_look_at_the_operands(old, new, dropped):
    pair = rule(old, new)
    assert len(list(output_generalisations(pair))) >= 1
    assert (drop_common_outputs([pair]) == []) is dropped


def test_validity_can_be_computed():
    valid = holds_numerically()
    assert valid(GENERAL) and valid(rule("add(x, y)", "add(y, x)"))
    assert not valid(rule("relu(x)", "x")) and not valid(rule("relu(add(x, y))", "add(relu(x), relu(y))"))
    assert drop_common_inputs([SHARED], valid) == [] and drop_common_inputs([rule("relu(relu(x))", "relu(x)")], valid)


def test_two_rules_side_by_side_are_a_union():
    one = parse_term("relu(x)", KINDS), parse_term("add(x, x)", KINDS)
    two = parse_term("relu(y)", KINDS), parse_term("add(y, y)", KINDS)
    assert is_union(((one[0], two[0]), (one[1], two[1])))
    assert not is_union(((one[0], two[0]), (two[1], one[1])))


def test_renaming_makes_variables_equal_but_puts_no_terms():
    associates = rule("mul(mul(x, y), z)", "mul(x, mul(y, z))")
    narrower = rule("mul(mul(x, x), z)", "mul(x, mul(x, z))")
    deeper = rule("mul(mul(relu(x), y), z)", "mul(relu(x), mul(y, z))")
    assert len(drop_renamings([narrower, associates, deeper])) == 2
    assert is_instance(deeper, associates) and not is_instance(deeper, associates, renaming=True)


def test_the_funnel_of_the_published_rules_loses_none_of_them():
    kept, counts = prune(PUBLISHED)
    assert list(counts) == ["initial", *STEPS] and list(counts.values()) == sorted(counts.values(), reverse=True)
    assert counts["initial"] == 619 and counts["renaming"] <= 323 and len(kept) == counts["consequences"] < 200
    laws = [Identity(str(i), *pair) for i, pair in enumerate(kept)]
    every = {canonical_key(pair): Identity("published", *pair) for pair in PUBLISHED}
    lost = [found for found in cover(list(every.values())[::40], laws, applications=4) if found.how == "missing"]
    assert not lost


def test_an_unknown_step_is_refused():
    with pytest.raises(ValueError, match="steps: expected some of renaming, .*got luck"):
        prune([], steps=["luck"])
