"""The paper's verifier: what Z3 proves from quantified axioms, under which conditions, and what stays unknown."""

import pytest

from taso_mini.conditions import applicable, holds
from taso_mini.rules_text import parse_rules, parse_term
from taso_mini.shapes import Shape
from taso_mini.verifier import Verifier

KINDS = {"x": "tensor", "y": "tensor", "z": "tensor", "i": "image", "w": "kernel", "u": "kernel"}
WINDOW = "dilations=d, padding=p, strides=s"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (f"relu(conv(i, w, activation=none, {WINDOW}))", f"conv(i, w, activation=relu, {WINDOW})", "proved"),
        (f"conv(i, w, activation=none, {WINDOW})", f"conv(i, w, activation=relu, {WINDOW})", "unknown"),
        ("relu(add(x, y))", "add(relu(x), relu(y))", "unknown"),
        (
            f"conv(i, w, activation=none, {WINDOW})",
            "conv(i, w, activation=none, dilations=d, padding=p, strides=(1, 1))",
            "unknown",
        ),  # true where both sides have the same shape: only there is it ever asked
        ("mul(concat(x, x, axis=0), concat(y, y, axis=0))", "concat(mul(x, y), mul(y, x), axis=0)", "proved"),
        ("relu(relu(x))", "relu(x)", "unknown"),  # true for relu, but no axiom
    ],
)
def test_verdicts(old, new, kind):
    source, target = ([parse_term(text, KINDS)] for text in (old, new))
    assert Verifier().prove(source, target).verdict == kind


def test_a_true_rule_without_axioms_is_unknown():
    source, target = ([parse_term(text, KINDS)] for text in ("add(x, y)", "add(y, x)"))
    assert Verifier(axioms=()).prove(source, target).verdict == "unknown"


def test_merging_convolutions_is_proved_only_without_groups():
    joined, merged = (
        parse_term(text, KINDS)
        for text in (
            f"concat(conv(i, w, activation=relu, {WINDOW}), conv(i, u, activation=relu, {WINDOW}), axis=1)",
            f"conv(i, concat(w, u, axis=0), activation=relu, {WINDOW})",
        )
    )
    verdict = Verifier().prove([joined], [merged])
    assert verdict.verdict == "proved" and "groups(i, w) == 1" in verdict.conditions
    rule = parse_rules(
        f"rule r\n variables i: image, w: kernel, u: kernel\n source {joined}\n target {merged}\n"
        + "".join(f" when {condition}\n" for condition in verdict.conditions)
    )[0]
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
