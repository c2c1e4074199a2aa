"""The prover: the published rules with their exact conditions, certificates, and what must stay unproved."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from taso_mini.arithmetic import FiniteField
from taso_mini.axioms import AXIOMS, LEMMAS, WRONG
from taso_mini.conditions import holds
from taso_mini.identity_testing import check_identity
from taso_mini.operator_set import evaluate, infer
from taso_mini.proving import Certifier, Prover, prove
from taso_mini.proving.certificate import is_instance
from taso_mini.proving.egraph import Instance
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import load_rules, parse_rules
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Substitution, term, variable
from tests.source import ROOT

DATA = ROOT / "tests" / "data"
PUBLISHED = read_protobuf(DATA / "taso_published_133.pb")
WINDOW = "dilations=(1, 1), padding=same, strides=(1, 1)"
NAMED = {axiom.name: axiom for axiom in AXIOMS + LEMMAS}


def rule_of(text):
    return parse_rules(text)[0]


@pytest.fixture(scope="module")
def verdicts():
    return [prove(rule) for rule in PUBLISHED]


def test_every_published_rule_is_proved_under_its_exact_conditions(verdicts):
    shapes = {70, 81, 84, 95, 103, 104, *range(110, 119), 120, 132}  # of the target
    groups = {98, 105, 125, 126, 127, 128, 129}
    outputs_per_group = {99, 100, 130, 131}  # which the published verifier cannot prove, nor anybody without conditions
    assert {i for i, v in enumerate(verdicts) if not v.proved} == set()
    assert {i for i, v in enumerate(verdicts) if v.kind == "proved under conditions"} == (
        shapes | groups | outputs_per_group
    )
    assert {i for i, v in enumerate(verdicts) if any("groups" in c for c in v.conditions)} == groups
    assert {i for i, v in enumerate(verdicts) if any("*" in c for c in v.conditions)} == outputs_per_group
    assert verdicts[125].conditions == ("groups(x1, w1) == 1", "w1.shape[1:] == w2.shape[1:]")


def test_z3_confirms_certificates_and_notices_a_missing_instance(verdicts):
    certifier, missed = Certifier(), 0
    for rule, verdict in zip(PUBLISHED, verdicts, strict=True):
        for proof, old, new in zip(verdict.proofs, rule.source, rule.target, strict=True):
            assert proof.steps[0].before is old and proof.steps[-1].after is new
            assert all(a.after is b.before for a, b in itertools.pairwise(proof.steps))
            assert all(is_instance(instance, NAMED[instance.axiom]) for instance in proof.instances)
            assert certifier.certifies(proof.instances, old, new)
            missed += certifier.certifies(proof.instances[1:], old, new)
    assert missed == 0


def test_an_instance_of_another_axiom_is_no_instance():
    x, y = variable("x", "tensor"), variable("y", "tensor")
    added = Instance("add-commutes", term("add", x, y), term("add", y, x))
    assert is_instance(added, NAMED["add-commutes"])
    assert not is_instance(added, NAMED["mul-commutes"])
    assert not is_instance(replace(added, right=term("add", y, y)), NAMED["add-commutes"])


@pytest.mark.slow
def test_the_generated_rules_are_all_decided():
    rules = read_protobuf(DATA / "taso_generated_3op_619.pb")
    unknown = [i for i, rule in enumerate(rules) if not prove(rule).proved]
    assert unknown == [150, 386, 387]
    assert all(check_identity(rules[i].source, rules[i].target, draws=20).kind == "refuted" for i in unknown)


@pytest.mark.parametrize("rule", [*PUBLISHED[::9], *load_rules()[::9]], ids=lambda rule: rule.name)
def test_conditions_are_enough_for_a_defined_target_of_equal_values(rule):
    verdict = prove(rule)
    assert verdict.proved
    tested = check_identity(rule.source, rule.target, verdict.conditions, draws=4)
    assert tested.kind in ("equal", "degenerate") and tested.total and not tested.undefined


@pytest.mark.parametrize("axiom", WRONG, ids=lambda axiom: axiom.name)
def test_a_wrong_equation_is_not_proved_without_conditions(axiom):
    left, right = axiom.left, axiom.right
    for source, target in ((left, right), (right, left)):
        try:
            rule = Substitution("wrong", (source,), (target,))
        except ValueError:  # the other direction binds more variables
            continue
        verdict = prove(rule)
        assert (
            verdict.kind == "unknown"
            or check_identity([source], [target], verdict.conditions, draws=5).kind != "refuted"
        )
        assert verdict.kind == "unknown" or verdict.conditions


def test_the_condition_for_merging_both_channels_is_exact():
    axiom = NAMED["conv-concat-both-channels"]
    params = {"s": (1, 1), "p": (0, 0, 0, 0), "d": (1, 1), "f": "none"}
    field, rng, seen = FiniteField(), np.random.default_rng(0), {True: 0, False: 0}
    channels = (1, 2, 3, 4, 6)
    for ci, cj, ck, cl, ok, ol in itertools.product(channels, channels, (1, 2), (1, 2), channels, channels):
        shapes = {
            "i": Shape((1, ci, 1, 2)),
            "j": Shape((1, cj, 1, 2)),
            "k": Shape((ok, ck, 1, 1)),
            "l": Shape((ol, cl, 1, 1)),
        }
        try:
            same = infer(axiom.left, shapes, params).dims == infer(axiom.right, shapes, params).dims
        except ShapeError:
            continue
        inputs = {name: field.draw(rng, shape.dims) for name, shape in shapes.items()}
        left, right = evaluate([axiom.left, axiom.right], inputs, params, arithmetic=field)
        condition = all(holds(c, shapes) for c in axiom.conditions)
        assert (same and field.equal(left, right)) is condition
        seen[condition] += 1
    assert min(seen.values()) > 30


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        (
            "variables x1: tensor, x2: tensor, x3: tensor, x4: tensor\n"
            "source add(concat(x1, x2, axis=a), concat(x3, x4, axis=a))\n"
            "target concat(add(x1, x3), add(x2, x4), axis=a)",
            ("x1.shape[a] == x3.shape[a]",),
        ),
        (
            "variables x: image, w: kernel\n"
            f"source conv(x, enlarge(w, kernel=(3, 3)), activation=none, {WINDOW})\n"
            f"target conv(x, w, activation=none, {WINDOW})",
            ("w.shape[2] % 2 == 1", "w.shape[3] % 2 == 1"),
        ),
        (
            "variables x: image\nsource avg_pool(x, kernel=(3, 3), padding=same, strides=(2, 2))\n"
            "target conv(x, Cpool(kernel=(3, 3)), activation=none, dilations=(1, 1), padding=same, strides=(2, 2))",
            (),
        ),
        (
            "variables x: image, w: kernel\n"
            f"source add(x, conv(x, w, activation=none, {WINDOW}))\n"
            f"target conv(x, add(w, Iconv(kernel=(3, 3))), activation=none, {WINDOW})",
            ("(w.shape[1] - 1) * (w.shape[1] - w.shape[0]) == 0", "w.shape[2] == 3", "w.shape[3] == 3"),
        ),
        ("variables m: matrix, n: matrix\nsource matmul(m, matmul(Imatmul(), n))\ntarget matmul(m, n)", ()),
    ],
)
def test_conditions_say_what_the_source_does_not(text, conditions):
    verdict = prove(rule_of(f"rule r\n{text}"))
    assert verdict.proved and verdict.conditions == conditions


@pytest.mark.parametrize(
    "text",
    [
        "variables x: tensor\nsource add(x, concat(x, x, axis=0))\ntarget x",  # no sizes fit: anything would follow
        "variables x: tensor, y: tensor\nsource concat(x, y, axis=0)\ntarget concat(y, x, axis=0)",
        "variables x: tensor, y: tensor\nsource split0(concat(x, y, axis=0), axis=1)\ntarget x",
    ],
)
def test_what_stays_unknown_says_why(text):
    verdict = prove(rule_of(f"rule r\n{text}"))
    assert verdict.kind == "unknown" and verdict.reason and not verdict.proved


def test_an_unknown_operator_is_one_clear_error():
    with pytest.raises(ValueError, match="rule r: expected operators of the set, got sqrt"):
        prove(rule_of("rule r\nvariables x: tensor\nsource sqrt(x)\ntarget x"))


def test_an_axis_that_matrices_do_not_have_says_nothing():
    text = "variables m: matrix, n: matrix, o: matrix\nsource relu(concat(matmul(m, n), o, axis=a))\n"
    assert prove(rule_of(f"rule r\n{text}target concat(relu(matmul(m, n)), relu(o), axis=a)")).kind == "proved"


def test_fewer_axioms_prove_less():
    rule = rule_of("rule r\nvariables x: tensor, y: tensor\nsource add(x, y)\ntarget add(y, x)")
    assert prove(rule).proved
    assert Prover([axiom for axiom in AXIOMS if axiom.name != "add-commutes"]).prove(rule).kind == "unknown"


def test_the_same_proof_every_time(verdicts):
    again = Prover()
    for i in (2, 79, 92, 125):
        assert again.prove(PUBLISHED[i]) == verdicts[i]


def test_a_side_that_fits_no_window_is_unknown():
    """Equal sizes ask for a window of two, which "same" padding does not allow."""
    (rule,) = parse_rules("""
rule merged-with-another-padding
  variables x1: image, w1: kernel
  source    relu(conv(x1, w1, activation=none, dilations=(1, 1), padding=same, strides=(1, 1)))
  target    conv(x1, w1, activation=relu, dilations=(1, 1), padding=(1, 1, 0, 0), strides=(1, 1))
""")
    verdict = prove(rule)
    assert verdict.kind == "unknown" and "2 is even" in verdict.reason
