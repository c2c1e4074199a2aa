"""From candidates to rules: judged by both verifiers, widened, directed, ranked and named."""

from pathlib import Path

import pytest

from taso_mini.candidates import published_candidates
from taso_mini.canonical import canonical, canonical_key, pair_of, show_pair
from taso_mini.coverage import cover, missing, wrong
from taso_mini.derivation import Identity
from taso_mini.proving import Verdict
from taso_mini.published_rules import read_protobuf
from taso_mini.ranking import gain, is_free, price, ranked
from taso_mini.rule_set import directions, make_rules, widen
from taso_mini.rules_text import parse_rules, parse_term
from taso_mini.terms import Substitution, parameter_variables
from taso_mini.verdicts import Disagreement, judge

DATA = Path(__file__).parents[1] / "data"
KINDS = {"x": "image", "y": "image", "w": "kernel", "u": "kernel", "t": "tensor", "r": "tensor", "c": "scalar"}
WINDOW = "dilations=(1, 1), padding=same, strides=(1, 1)"


def pair(old, new):
    return (parse_term(old, KINDS),), (parse_term(new, KINDS),)


FUSION = pair(f"relu(conv(x, w, activation=none, {WINDOW}))", f"conv(x, w, activation=relu, {WINDOW})")
SUM = pair(
    f"add(conv(x, w, activation=none, {WINDOW}), conv(x, u, activation=none, {WINDOW}))",
    f"conv(x, add(w, u), activation=none, {WINDOW})",
)
FALSE = pair("relu(add(t, r))", "add(relu(t), relu(r))")
UNBOUND = pair("split0(concat(t, r, axis=0), axis=0)", "t")


def test_candidates_of_two_operators_hold_the_reductions():
    forms = {show_pair(canonical(found)) for found in published_candidates(2, seed=0)}
    assert "split1(concat(x1, x2, axis=0), axis=0) = x2" in forms
    assert {"matmul(x1, Imatmul()) = x1", "matmul(Imatmul(), x1) = x1"} <= forms
    assert len(forms) > 29


def test_a_source_binds_what_the_target_uses():
    assert list(directions(FUSION)) == [FUSION, FUSION[::-1]]
    assert list(directions(UNBOUND)) == [UNBOUND]
    assert not list(directions(pair("t", "t")))


def test_parameters_are_widened_as_far_as_the_proof_goes():
    wide = widen(FUSION)
    assert parameter_variables(*wide[0]) == ("d", "p", "s") == parameter_variables(*wide[1])
    identity = pair(f"conv(x, Iconv(kernel=(3, 3)), activation=none, {WINDOW})", "x")
    assert "strides=(1, 1)" in show_pair(widen(identity))


def test_a_window_stays_where_a_shape_would_have_to_agree_with_it():
    like = "activation=none, dilations=(1, 1), padding=p, strides=s"
    pool = f"add(avg_pool(x, kernel=(3, 3), padding=p, strides=s), conv(x, w, {like}))"
    conv = f"conv(x, add(Cpool(kernel=(3, 3)), w), {like})"
    assert "kernel=(3, 3)" in show_pair(widen(pair(pool, conv))), "no instances could be drawn of w.shape[2] == k[0]"


def test_rules_of_some_candidates():
    rules, counts = make_rules([FUSION, SUM, FALSE, UNBOUND, FUSION[::-1]], seed=0, draws=4)
    assert counts["candidates"] == 5 and counts["different and directed"] == 4 and counts["refused: refuted"] == 1
    assert [gain(rule) for rule in rules] == sorted((gain(rule) for rule in rules), reverse=True)
    assert rules[0].name == "add-conv-conv-is-conv-add" and len({rule.name for rule in rules}) == len(rules)
    backwards = next(rule for rule in rules if rule.name == "conv-add-is-add-conv-conv")
    assert all("tests" in rule.proof and rule.proof.startswith("by ") for rule in rules)
    assert any("shape" in condition for condition in rules[0].conditions) or backwards.conditions == ()
    again, _ = make_rules([FALSE, UNBOUND, SUM, FUSION], seed=0, draws=4)
    assert again == rules


def test_estimates_count_what_runs():
    assert is_free(parse_term("add(w, Cpool(kernel=(3, 3)))", KINDS)) and not is_free(parse_term("add(x, w)", KINDS))
    assert price(SUM[0]) == 41 and price(SUM[1]) == 20
    halves = [parse_term(f"split{i}(concat(x, y, axis=0), axis=0)", KINDS) for i in (0, 1)]
    assert price(halves) == 2
    cheaper, dearer = Substitution("a", *SUM), Substitution("b", *SUM[::-1])
    assert gain(cheaper) == 21 == -gain(dearer) and ranked([dearer, cheaper]) == [cheaper, dearer]


def test_both_verifiers_are_heard():
    assert judge(Substitution("sum", *SUM), draws=4).usable
    assert judge(Substitution("false", *FALSE), draws=4).kind == "refuted"
    real = pair("relu(relu(t))", "relu(t)")
    assert judge(Substitution("real", *real), draws=4).kind in ("refuted", "unknown")
    with pytest.raises(Disagreement, match="is proved by .*\n?and wrong at shapes"):
        judge(Substitution("false", *FALSE), prove=lambda rule: Verdict("proved"), draws=4)


@pytest.mark.slow
def test_every_published_rule_is_ours_follows_from_ours_or_is_wrong():
    ours = [Identity(str(number), *found) for number, found in enumerate(published_candidates(3, seed=0))]
    generated = read_protobuf(DATA / "taso_generated_3op_619.pb")
    absent = missing(generated, ours)
    assert {rule.name for rule in absent} == {"published-150", "published-387"}
    assert all(wrong(rule) is not None for rule in absent)
    assert not missing(read_protobuf(DATA / "taso_published_133.pb"), ours)


@pytest.mark.slow
def test_wrong_published_rules():
    named = {rule.name for rule in read_protobuf(DATA / "taso_published_133.pb") if wrong(rule) is not None}
    assert named == {f"published-{i:03d}" for i in (98, 99, 100, 105, 125, 126, 127, 128, 129, 130, 131)}


def test_a_rule_of_parameters_covers_each_value():
    (wide,) = make_rules([FUSION], seed=0, draws=4)[0][:1]
    strided = parse_rules(
        "rule s\n variables x: image, w: kernel\n"
        " source relu(conv(x, w, activation=none, dilations=(1, 1), padding=same, strides=(2, 2)))\n"
        " target conv(x, w, activation=relu, dilations=(1, 1), padding=same, strides=(2, 2))\n"
    )
    (found,) = cover(strided, [wide])
    assert found.how == "instance"
    assert canonical_key(pair_of(strided[0])) != canonical_key(FUSION)
