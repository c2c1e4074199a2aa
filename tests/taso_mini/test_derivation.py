"""Chains of applications: found, checked, and refused when they do not hold."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini.derivation import Chain, Deriver, Identity, check, normal
from taso_mini.rules_text import parse_rules, parse_term
from taso_mini.terms import substitute, variables
from tests.strategies.terms import VARIABLES, elementwise_terms

RULES = parse_rules("""
rule mul-associates
  variables x: tensor, y: tensor, z: tensor
  source    mul(mul(x, y), z)
  target    mul(x, mul(y, z))

rule mul-distributes
  variables x: tensor, y: tensor, z: tensor
  source    mul(add(x, y), z)
  target    add(mul(x, z), mul(y, z))

rule halves
  variables x: tensor, y: tensor
  source    relu(x)
  source    relu(y)
  target    split0(relu(concat(x, y, axis=1)), axis=1)
  target    split1(relu(concat(x, y, axis=1)), axis=1)

rule half
  variables x: tensor, y: tensor
  source    split0(concat(x, y, axis=a), axis=a)
  target    x

rule conv-adds
  variables i: image, w: kernel, u: kernel
  source    conv(i, concat(w, u, axis=0))
  target    concat(conv(i, w), conv(i, u), axis=1)
  when      groups(i, w) == 1
""")
KINDS = {"x": "tensor", "y": "tensor", "z": "tensor", "i": "image", "w": "kernel", "u": "kernel"}
DERIVER = Deriver(RULES)


def terms(*texts):
    return tuple(parse_term(text, KINDS) for text in texts)


@pytest.mark.parametrize(
    ("source", "target", "steps"),
    [
        (["mul(x, y)"], ["mul(y, x)"], 0),
        (["mul(mul(x, y), z)"], ["mul(x, mul(z, y))"], 1),
        (["mul(mul(x, y), mul(z, w))"], ["mul(mul(mul(x, z), y), w)"], 2),
        (["mul(add(x, y), mul(z, z))"], ["add(mul(mul(x, z), z), mul(y, mul(z, z)))"], 2),
        (
            ["relu(x)", "relu(mul(x, y))"],
            [
                "split0(relu(concat(x, mul(x, y), axis=1)), axis=1)",
                "split1(relu(concat(x, mul(x, y), axis=1)), axis=1)",
            ],
            1,
        ),
        (["x"], ["split0(concat(x, y, axis=0), axis=0)"], 1),
        (["relu(x)"], ["relu(y)"], None),
        (["mul(add(x, y), mul(z, mul(x, y)))"], ["add(mul(x, mul(mul(z, y), x)), mul(y, mul(mul(z, x), y)))"], None),
    ],
)
def test_shortest_chain(source, target, steps):
    chain = DERIVER.derive((terms(*source), terms(*target)))
    assert (None if chain is None else len(chain.steps)) == steps
    back = DERIVER.derive((terms(*target), terms(*source)))
    assert (back is None) == (chain is None) and (back is None or check(back))


def test_more_applications_reach_further():
    pair = (
        terms("mul(add(x, y), mul(z, mul(x, y)))"),
        terms("add(mul(x, mul(mul(z, y), x)), mul(y, mul(mul(z, x), y)))"),
    )
    chain = DERIVER.derive(pair, applications=4)
    assert chain is not None and 2 < len(chain.steps) <= 4 and check(chain)


def test_conditions_speak_of_the_terms_of_the_chain():
    chain = DERIVER.derive(
        (
            terms("conv(relu(i), concat(mul(w, w), u, axis=0))"),
            terms("concat(conv(relu(i), mul(w, w)), conv(relu(i), u), axis=1)"),
        )
    )
    assert chain is not None and chain.conditions == ("groups(relu(i), mul(w, w)) == 1",)


def test_a_state_that_is_not_legal_is_not_used():
    pair = terms("mul(mul(x, y), mul(z, w))"), terms("mul(mul(mul(x, z), y), w)")
    assert DERIVER.derive(pair) is not None
    assert DERIVER.derive(pair, legal=lambda state: False) is None


def test_a_tampered_chain_does_not_check():
    chain = DERIVER.derive((terms("mul(mul(x, y), mul(z, w))"), terms("mul(mul(mul(x, z), y), w)")))
    first, second = chain.steps
    other = normal(terms("mul(x, y)"))
    assert check(chain)
    assert not check(Chain(chain.source, other, chain.steps))
    assert not check(Chain(chain.source, chain.target, (first,)))
    assert not check(Chain(chain.source, chain.target, (second, first)))
    wrong = Identity("wrong", terms("mul(mul(x, y), z)"), terms("mul(x, mul(y, y))"))
    forged = dataclasses.replace(first, equation=dataclasses.replace(first.equation, rule=wrong))
    assert not check(Chain(chain.source, chain.target, (forged, second)))


PARTS = st.lists(elementwise_terms(max_leaves=2), min_size=3, max_size=3)


@given(elementwise_terms(max_leaves=4), PARTS, st.integers(0, 9))
def test_what_applications_reach_is_derived_and_has_the_same_variables(root, parts, pick):
    state = normal((substitute(root, dict(zip(VARIABLES["tensor"], parts, strict=True))),))
    reached = list(DERIVER.applications(state, (), largest=9))
    for step in reached[pick::5][:3]:
        assert step.holds and step.reversed().holds
        assert set(variables(*step.after)) <= set(variables(*step.before))
        assert len(DERIVER.derive((state, step.after)).steps) == 1
