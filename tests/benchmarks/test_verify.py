"""The benchmark `verify` counts goals, and notices what is proved and refuted at once."""

from dataclasses import replace

import pytest

from taso_mini.proving import Verdict
from taso_mini.rules_text import parse_rules
from tests.benchmarks import verify


@pytest.fixture
def outcomes():
    rules = parse_rules("""
rule true
  variables x: tensor, y: tensor
  source add(x, y)
  source mul(x, y)
  target add(y, x)
  target mul(y, x)
rule false
  variables x: tensor, y: tensor
  source concat(x, y, axis=0)
  target concat(y, x, axis=0)
""")
    return verify.prove_all(rules)


def test_what_is_proved_is_certified_and_what_is_not_is_refuted(outcomes):
    verify.test(outcomes, all_rules=True)
    true, false = outcomes
    assert true.verdict.kind == "proved" and true.certified and not true.refuted
    assert false.verdict.kind == "unknown" and not false.certified and false.refuted


def test_counterexamples_are_printed_as_a_program(outcomes, capsys):
    wrong = [replace(outcome, verdict=Verdict("unknown", proofs=(None,))) for outcome in outcomes[1:]]
    verify.test(wrong, all_rules=False)
    figures = dict.fromkeys(
        (
            "proved",
            "goals",
            "rules_under_conditions",
            "rules",
            "refuted",
            "unknown",
            "certificates_checked",
            "seconds",
            "slowest_seconds",
            "test_seconds",
            "disagreements",
        ),
        0,
    )
    verify.show(figures, wrong, [])
    printed = capsys.readouterr().out
    program = "\n".join(line[4:] for line in printed.splitlines() if line.startswith("    "))
    exec(compile(program, "counterexample", "exec"), {})
    assert "is replaced by" in capsys.readouterr().out


def test_files_of_both_formats_are_read():
    assert len(verify.read(verify.PUBLISHED)) == 133
    assert len(verify.read(verify.ROOT / "taso_mini" / "rules" / "generated.txt")) > 100
