"""The fast generator finds what Algorithm 1 finds; pruning and verdicts do what they say."""

import numpy as np
import pytest

from taso_mini.algorithm1 import enumerate_graphs, equal_graphs
from taso_mini.conditions import applicable, holds
from taso_mini.generation import generate_rules, judge
from taso_mini.generator import Profile, enumerate_terms, equal_pairs
from taso_mini.profiles import ADD, CONCAT0, CONCAT1, CONV, CONV_RELU, MATMUL, MUL, PROFILES, RELU, SMUL, TRANSPOSE
from taso_mini.pruning import canonical
from taso_mini.rules_text import parse_rules, parse_term, show_rules
from taso_mini.shapes import Shape
from taso_mini.terms import subterms, term, variable
from taso_mini.verifier import Verifier

KINDS = {"x": "tensor", "y": "tensor", "z": "tensor", "i": "image", "w": "kernel", "u": "kernel"}


def inputs(kind, dims, *names):
    return tuple((variable(name, kind), dims) for name in names)


SMALL = [
    Profile("sums", inputs("tensor", (2, 3), "x1", "x2", "x3"), (ADD, MUL, RELU, CONCAT1), 2),
    Profile("matrices", inputs("matrix", (3, 3), "x1", "x2", "x3"), (MATMUL, ADD, CONCAT0, CONCAT1), 2),
    Profile("scalars", inputs("tensor", (2, 3), "x1", "x2") + inputs("scalar", (), "c1"), (ADD, MUL, SMUL, RELU), 2),
    Profile("convolutions", inputs("image", (1, 4, 3, 3), "x1") + inputs("kernel", (4, 4, 3, 3), "w1", "w2"),
            (CONV, CONV_RELU, RELU, ADD, CONCAT0), 2),
]


def leaves(side):
    return {node for node in subterms(*side) if node.args and all(argument.is_variable for argument in node.args)}


@pytest.mark.parametrize("profile", SMALL, ids=lambda profile: profile.name)
def test_values_first_generator_finds_exactly_what_algorithm_1_finds(profile):
    slow = {str(canonical(pair)) for pair in equal_graphs(enumerate_graphs(profile, rng=np.random.default_rng(0)))
            if len(pair[0]) == 1 and not leaves(pair[0]) & leaves(pair[1])}
    fast = {str(canonical(pair)) for pair in equal_pairs(enumerate_terms(profile, rng=np.random.default_rng(1)))
            if not any(output.is_variable for side in pair for output in side)}
    assert fast == slow and (fast or profile.name == "sums")


def test_a_profile_with_transposes_reports_reductions_to_inputs():
    found = enumerate_terms(Profile("t", inputs("matrix", (2, 3), "x1"), (TRANSPOSE,), 2), rng=np.random.default_rng(0))
    assert [(str(a[0]), str(b[0])) for a, b in equal_pairs(found)] == [
        ("transpose(transpose(x1, perm=(1, 0)), perm=(1, 0))", "x1")]


def test_normal_form_ignores_names_operand_order_and_direction():
    texts = [("add(relu(x), y)", "mul(x, z)"), ("mul(y, x)", "add(z, relu(y))")]
    forms = {canonical(tuple((parse_term(text, KINDS),) for text in pair)) for pair in texts}
    assert len(forms) == 1


def test_generation_is_reproducible_and_parses():
    chosen = [SMALL[-1], *(profile for profile in PROFILES if profile.name == "exchange")]
    (first, funnel), (second, _) = (generate_rules(chosen, seed=3) for _ in range(2))
    assert first == second and parse_rules(show_rules(first)) == tuple(first)
    assert "relu-conv-is-conv-relu" in {rule.name for rule in first}
    counts = list(funnel.kept.values())
    assert counts[1] >= counts[2] >= counts[3] >= counts[4] >= counts[5] >= counts[6] >= counts[7]


WINDOW = "dilations=d, padding=p, strides=s"


@pytest.mark.parametrize(("old", "new", "kind"), [
    (f"relu(conv(i, w, activation=none, {WINDOW}))", f"conv(i, w, activation=relu, {WINDOW})", "proved"),
    (f"conv(i, w, activation=none, {WINDOW})", f"conv(i, w, activation=relu, {WINDOW})", "refuted"),
    ("relu(add(x, y))", "add(relu(x), relu(y))", "refuted"),
    (f"conv(i, w, activation=none, {WINDOW})", "conv(i, w, activation=none, dilations=d, padding=p, strides=(1, 1))",
     "unknown"),  # true where both sides have the same shape: only there is it ever asked
    ("mul(concat(x, x, axis=0), concat(y, y, axis=0))", "concat(mul(x, y), mul(y, x), axis=0)", "proved"),
    ("relu(relu(x))", "relu(x)", "refuted"),  # true for relu, but nothing about random functions
])
def test_verdicts(old, new, kind):
    source, target = ([parse_term(text, KINDS)] for text in (old, new))
    assert judge(source, target, Verifier(), rng=np.random.default_rng(0)).kind == kind


def test_a_true_rule_without_axioms_is_unknown():
    source, target = ([parse_term(text, KINDS)] for text in ("add(x, y)", "add(y, x)"))
    assert judge(source, target, Verifier(axioms=()), rng=np.random.default_rng(0)).kind == "unknown"


def test_merging_convolutions_is_proved_only_without_groups():
    joined, merged = (parse_term(text, KINDS) for text in (
        f"concat(conv(i, w, activation=relu, {WINDOW}), conv(i, u, activation=relu, {WINDOW}), axis=1)",
        f"conv(i, concat(w, u, axis=0), activation=relu, {WINDOW})"))
    verdict = judge([joined], [merged], Verifier(), rng=np.random.default_rng(0), draws=24)
    assert verdict.kind == "proved" and "groups(i, w) == 1" in verdict.conditions
    rule = parse_rules(f"rule r\n variables i: image, w: kernel, u: kernel\n source {joined}\n target {merged}\n"
                       + "".join(f" when {condition}\n" for condition in verdict.conditions))[0]
    params = {"s": (1, 1), "p": (1, 1, 1, 1), "d": (1, 1)}
    image, dense, other = Shape((1, 4, 5, 5)), Shape((6, 4, 3, 3)), Shape((6, 4, 1, 1))
    assert applicable(rule, {"i": image, "w": dense, "u": dense}, params)
    assert not applicable(rule, {"i": image, "w": dense, "u": other}, params)
    grouped = Shape((6, 2, 3, 3))
    assert not applicable(rule, {"i": image, "w": grouped, "u": grouped}, params)


@pytest.mark.parametrize("condition", ["x", "x.shape", "x.shape != y.shape", "x.size == 1", "f(x) == 1"])
def test_unreadable_conditions_are_errors(condition):
    with pytest.raises(ValueError, match="condition"):
        holds(condition, {"x": Shape((1,)), "y": Shape((1,))})


def test_two_names_for_one_term():
    assert term("relu", variable("x", "tensor")) is parse_term("relu(x)", {"x": "tensor"})
