"""Both verifiers agree: on the shipped rules, on mutants, on very many instances."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from taso_mini.mutants import CHANGES, draw_mutants, mutants
from taso_mini.proving import Verdict
from taso_mini.rules_text import RULES_DIRECTORY, load_rules, parse_rules
from taso_mini.soundness import campaign, campaigns, judge_mutant
from taso_mini.terms import constants
from taso_mini.verdicts import compare

RULES = [rule for path in sorted(RULES_DIRECTORY.glob("*.txt")) for rule in load_rules(path)]
PRODUCTS, RELU = parse_rules("""
rule products-side-by-side
  variables x1: matrix, x2: matrix, x3: matrix
  source    concat(matmul(x1, x2), matmul(x1, x3), axis=1)
  target    matmul(x1, concat(x2, x3, axis=1))

rule relu-twice
  variables x1: tensor
  source    relu(relu(x1))
  target    relu(x1)
""")


def prove_everything(rule):
    return Verdict("proved")


@pytest.mark.parametrize("rule", RULES[::23], ids=lambda rule: rule.name)
def test_shipped_rules_are_proved_and_tested(rule):
    judgement = compare(rule, draws=12)
    assert judgement.kind.startswith("proved") and not judgement.contradiction, str(judgement)


@pytest.mark.slow
def test_every_shipped_rule_is_proved_and_tested():
    assert not [str(judgement) for rule in RULES if not (judgement := compare(rule, seed=3)).kind.startswith("proved")]


def test_a_contradiction_is_seen():
    mutant = next(m for m in mutants(PRODUCTS) if m.change == "swap")
    judgement = judge_mutant(mutant, prove=prove_everything)
    assert judgement.contradiction and judgement.kind == "refuted"


def test_true_only_for_the_real_relu_is_refuted_in_the_field_but_not_on_numbers():
    result = campaign(RELU, instances=20)
    assert result.wrong["finite field"] == result.instances
    assert not result.wrong["float64"] and not result.wrong["integers"]


@pytest.mark.parametrize("rule", [r for r in RULES if "conv" in r.name][::29], ids=lambda rule: rule.name)
def test_campaign_covers_groups_and_finds_nothing_wrong(rule):
    result = campaign(rule, instances=40)
    assert result.instances >= 40 and not sum(result.wrong.values()), str(result.counterexample)
    fixed = constants(*rule.source, *rule.target)  # a constant kernel has the groups it has
    if "groups" not in " ".join(rule.conditions) and "concat" not in rule.name and not fixed:
        assert {"2", "4", "depthwise"} <= set(result.groups)


def test_campaign_finds_what_is_wrong():
    mutant = next(m for m in mutants(PRODUCTS) if m.change == "swap" and "x3, x2" in str(m.rule))
    result = campaign(mutant.rule, instances=20)
    assert min(result.wrong["finite field"], result.wrong["float64"], result.wrong["integers"]) > 0
    assert result.counterexample is not None


def test_an_executor_changes_nothing():
    with ThreadPoolExecutor(2) as executor:
        rules = RULES[::60]
        assert list(campaigns(rules, instances=10, executor=executor)) == list(campaigns(rules, instances=10))


def test_mutants_change_one_place_and_are_all_different():
    found = mutants(PRODUCTS)
    assert len({m.rule.target for m in found}) == len(found) > 10
    assert {m.change for m in found} >= {"swap", "variable", "drop", "axis"}
    assert PRODUCTS.target not in {m.rule.target for m in found}
    assert {m.change for rule in RULES for m in mutants(rule)} == set(CHANGES)


def test_mutants_are_drawn_from_all_rules_by_seed():
    drawn = [draw_mutants(RULES[:20], 60, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 60
    # One rule has no mutants: its target is its only variable.
    assert len({m.rule.name.split("-mutant-")[0] for m in drawn[0]}) >= 19


def test_mutants_are_never_proved_and_refuted():
    chosen = draw_mutants(RULES[::11], 25, rng=np.random.default_rng(5))
    judged = [judge_mutant(mutant) for mutant in chosen]
    assert not [str(judgement) for judgement in judged if judgement.contradiction]
    assert sum(judgement.test.kind == "refuted" for judgement in judged) > len(judged) // 2
    for judgement in judged:
        if judgement.kind.startswith("proved"):
            true = replace(judgement.rule, conditions=judgement.proof.conditions)
            assert not sum(campaign(true, instances=60, seed=1).wrong.values()), str(judgement.rule)
