"""The soundness benchmark counts what it says, on a few rules."""

from dataclasses import replace

import numpy as np

from taso_mini.mutants import draw_mutants
from tests.benchmarks.soundness import judge_mutants, run_campaigns, shipped_rules, validate_axioms

RULES = shipped_rules()


def test_campaigns_are_counted():
    figures = run_campaigns(RULES[:3], 10, None)
    assert figures["rules"] == 3 and figures["wrong"] == 0
    assert figures["instances"] >= 3 * figures["instances_least"] >= 30


def test_finished_rules_are_kept_and_not_run_again(tmp_path, monkeypatch, capsys):
    keep = tmp_path / "rules.jsonl"
    first = run_campaigns(RULES[:2], 10, None, keep)
    with monkeypatch.context() as patch:
        patch.setattr("tests.benchmarks.soundness.campaigns", lambda left, **_: iter(left))  # fails if any is left
        again = run_campaigns(RULES[:2], 10, None, keep)
    assert {**first, "campaign_seconds": 0} == {**again, "campaign_seconds": 0}
    assert "2 rules from" in capsys.readouterr().out
    assert run_campaigns(RULES[:3], 10, None, keep)["rules"] == 3
    assert run_campaigns(RULES[:1], 20, None, keep)["instances_least"] >= 20  # other instances than the kept ones


def test_a_wrong_rule_is_counted_and_shown(capsys):
    rule = next(r for r in RULES if r.name == "split0-concat-is-input")
    figures = run_campaigns([replace(rule, target=(rule.variables[1],))], 10, None)
    assert figures["wrong"] == 1
    assert "import numpy as np" in capsys.readouterr().out


def test_mutants_are_counted():
    figures = judge_mutants(draw_mutants(RULES[:4], 8, rng=np.random.default_rng(0)), None)
    assert figures["mutants"] == 8 and figures["proved_and_refuted"] == 0
    assert figures["mutants"] == sum(
        figures[f"mutants_{kind}"] for kind in ("refuted", "accepted", "degenerate", "unknown")
    )


def test_axioms_are_counted():
    figures = validate_axioms(1)
    assert figures["axiom_failures"] == 0 and figures["wrong_axioms_refuted"] == figures["wrong_axioms"]
