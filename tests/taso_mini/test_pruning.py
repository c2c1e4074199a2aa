"""Normal forms, instances and consequences of rules."""

import pytest

from taso_mini.pruning import canonical, drop_consequences, drop_instances, shares_output_operator
from taso_mini.rules_text import parse_term

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
    twice = rule(f"conv(i, add(w, add(u, u)), {window})",
                 f"add(conv(i, w, {window}), add(conv(i, u, {window}), conv(i, u, {window})))")
    assert drop_consequences([split, twice]) == [split, twice]


@pytest.mark.parametrize(("old", "new", "shared"), [
    ("relu(add(x, y))", "relu(add(y, x))", True), ("add(relu(x), y)", "add(y, mul(x, z))", True),
    ("add(relu(x), relu(y))", "add(x, y)", False), ("relu(x)", "add(x, x)", False),
])
def test_common_output_operator(old, new, shared):
    assert shares_output_operator(rule(old, new)) is shared
