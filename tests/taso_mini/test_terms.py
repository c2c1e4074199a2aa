"""Terms: interning, text, and refusal of ill-formed rules."""

import pickle

import pytest
from hypothesis import given

from taso_mini.rules_text import parse_rules, parse_term, show_rules
from taso_mini.terms import Substitution, rewrite, substitute, term, variable, variables
from tests.strategies.terms import any_terms, substitutions


@given(any_terms())
def test_printed_terms_parse_to_the_same_object(root):
    kinds = {v.name: v.kind for v in variables(root)}
    assert parse_term(str(root), kinds) is root


@given(any_terms())
def test_pickled_terms_stay_interned_and_identity_rewrite_changes_nothing(root):
    assert pickle.loads(pickle.dumps(root)) is root
    assert rewrite(root, lambda node: None) is root
    assert substitute(root, {}) is root


@given(substitutions())
def test_rules_survive_print_and_parse(rule):
    assert parse_rules(show_rules([rule], header="a\nheader")) == (rule,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what", "line 1: expected 'rule NAME'"),
        ("rule a\n  variables x: tensor\n  source relu(x)\n  target relu(y)", "'y'"),
        ("rule a\n  variables x: shoe\n  source relu(x)\n  target x", "kind"),
        ("rule a\n  variables x: tensor\n  source relu(x\n  target x", "expected a term"),
        ("rule a\n  variables x: tensor, y: tensor\n  source relu(x)\n  target relu(y)", "bind every variable"),
        ("rule a\n  variables x: tensor\n  source x\n  target x\n" * 2, "twice"),
    ],
)
def test_bad_rule_text_is_one_clear_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rules(text)


def test_terms_are_immutable_and_only_variables_have_names():
    x = variable("x", "tensor")
    with pytest.raises(AttributeError):
        x.operator = "relu"
    with pytest.raises(ValueError, match="only a variable"):
        _ = term("relu", x).name
    with pytest.raises(ValueError, match="outputs"):
        Substitution("empty", (), ())
