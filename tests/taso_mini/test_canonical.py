"""The joint normal form of rules."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from taso_mini.canonical import canonical, canonical_key, commutes, pair_of, show_pair
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import load_rules, parse_term
from taso_mini.terms import Term, rewrite, substitute, term, variable, variables
from tests.strategies.terms import elementwise_terms

DATA = Path(__file__).parents[1] / "data"
RULES = [pair_of(rule) for rule in [*load_rules(), *read_protobuf(DATA / "taso_generated_3op_619.pb")]]


def disguised(pair, rng):
    """The same rule with other names, operands, outputs and sides exchanged."""
    names = variables(*pair[0], *pair[1])
    fresh = [f"q{i}" for i in range(len(names))]
    rng.shuffle(fresh)
    naming = {v: variable(name, v.kind) for v, name in zip(names, fresh, strict=True)}

    def change(node):
        swap = commutes(node.operator) and rng.random() < 0.5
        return Term(node.operator, node.params, node.args[::-1]) if swap else None

    order = rng.sample(range(len(pair[0])), len(pair[0]))
    sides = [tuple(rewrite(substitute(side[i], naming), change) for i in order) for side in pair]
    return tuple(sides[::-1] if rng.random() < 0.5 else sides)


@given(st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_names_operands_outputs_and_sides_do_not_matter(pair, rng):
    other = disguised(pair, rng)
    for blind in (False, True):
        assert canonical(other, blind=blind) == canonical(pair, blind=blind)
        assert canonical_key(other, blind=blind) == canonical_key(pair, blind=blind)
    assert canonical(canonical(pair)) == canonical(pair)


@given(elementwise_terms(), elementwise_terms(), elementwise_terms(), elementwise_terms())
def test_equal_keys_are_equal_forms_and_a_form_is_the_rule(a, b, c, d):
    left, right = ((a,), (b,)), ((c,), (d,))
    assert (canonical(left) == canonical(right)) == (canonical_key(left) == canonical_key(right))
    form = canonical(left)
    assert canonical_key(form) == canonical_key(left)
    assert len(variables(*form[0], *form[1])) == len(variables(a, b))


def test_variables_of_each_side_are_not_named_apart():
    kinds = {"a": "tensor", "b": "tensor", "s": "scalar"}
    left, right, other = (
        parse_term(text, kinds) for text in ("mul(smul(a, s), b)", "mul(smul(b, s), a)", "mul(smul(a, s), a)")
    )
    assert canonical_key(((left,), (right,))) != canonical_key(((left,), (left,)))
    assert canonical_key(((left,), (right,))) != canonical_key(((left,), (other,)))
    assert show_pair(canonical(((left,), (right,)))) == "mul(smul(x1, c1), x2) = mul(smul(x2, c1), x1)"


def test_kinds_count_unless_blind():
    x, w, t = variable("x", "image"), variable("w", "kernel"), variable("t", "tensor")
    conv = (term("conv", x, w),), (term("conv", x, term("relu", w)),)
    swapped = (term("conv", t, w),), (term("conv", t, term("relu", w)),)
    assert canonical_key(conv) == canonical_key(swapped)
    form = canonical(conv, blind=True)
    assert {v.kind for v in variables(*form[0])} == {"tensor"}


def test_published_rules_have_fewer_forms_than_the_files_have_rules():
    forms = [
        len({canonical_key(pair_of(rule)) for rule in read_protobuf(DATA / name)})
        for name in ("taso_published_133.pb", "taso_generated_3op_619.pb")
    ]
    # 90 and 468 when ranks, windows and the two ways to store a transposed matrix, which terms do not hold, count
    assert forms == [84, 323]
