"""Prove the rules of a file: how many goals, under which conditions, and how fast.

Paper: TASO §3, §7.6. A goal is one output of one rule. Each rule is proved from the axioms, its certificates are
checked by Z3, and what is not proved is tested for a counterexample, which is printed as a program. `seconds` is the
time of one core for reading, proving and checking certificates; tests are timed apart.

    python -m tests.benchmarks.verify --rules tests/data/taso_published_133.pb

Without `--quick`, proved rules are tested too, by the verifier that knows no axioms: a rule that is both proved and
refuted is a disagreement. And the paper's way, quantified axioms in Z3, is timed on the same rules; there shapes are
nobody's concern. Last, the axioms themselves: which of the published 44 follow from the others, and whether all of ours
make any two tensors equal.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.command_line import Parser
from taso_mini.axioms import AXIOMS, LEMMAS
from taso_mini.counterexamples import as_code
from taso_mini.identity_testing import IdentityVerdict, check_identity
from taso_mini.proving import Certifier, Prover, Verdict
from taso_mini.proving.consistency import contradiction, redundant
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution
from taso_mini.verifier import Verifier
from tests.benchmarks.command import main
from tests.source import ROOT

PUBLISHED = ROOT / "tests" / "data" / "taso_published_133.pb"
DRAWS, DRAWS_OF_PROVED = 20, 5


@dataclass
class Outcome:
    """What both verifiers say about a rule, and the seconds that proving took."""

    rule: Substitution
    verdict: Verdict
    seconds: float
    certified: bool
    tested: IdentityVerdict | None = None

    @property
    def refuted(self) -> bool:
        """Whether testing found shapes at which the rule is wrong."""
        return self.tested is not None and self.tested.kind == "refuted"


def read(path: Path) -> tuple[Substitution, ...]:
    """Read a file of either format."""
    return read_protobuf(path) if path.suffix == ".pb" else load_rules(path)


def prove_all(rules: Sequence[Substitution]) -> list[Outcome]:
    """Prove every rule and let Z3 check its certificates."""
    prover, certifier, outcomes = Prover(), Certifier(), []
    for rule in rules:
        started = time.process_time()
        verdict = prover.prove(rule)
        certified = verdict.proved and all(
            proof is not None and certifier.certifies(proof.instances, old, new)
            for proof, old, new in zip(verdict.proofs, rule.source, rule.target, strict=True)
        )
        outcomes.append(Outcome(rule, verdict, time.process_time() - started, certified))
    return outcomes


def test(outcomes: Sequence[Outcome], *, all_rules: bool) -> None:
    """Test what is not proved; with `all_rules`, everything, under the conditions that the proof found."""
    for outcome in outcomes:
        if all_rules or not outcome.verdict.proved:
            rule = replace(outcome.rule, conditions=outcome.verdict.conditions)
            draws = DRAWS_OF_PROVED if outcome.verdict.proved else DRAWS
            outcome.tested = check_identity(rule.source, rule.target, rule.conditions, draws=draws)


def quantified(rules: Sequence[Substitution]) -> dict[str, float]:
    """Prove the rules from quantified axioms in Z3; return how many, and the seconds of one core."""
    started = time.process_time()
    verifier = Verifier()
    proved = sum(verifier.prove(rule.source, rule.target).verdict == "proved" for rule in rules)
    return {"quantified_rules_proved": proved, "quantified_seconds": time.process_time() - started}


def relations() -> dict[str, Any]:
    """Ask which published axioms are redundant and whether ours contradict; with the seconds of one core."""
    started = time.process_time()
    found = contradiction(AXIOMS + LEMMAS)
    return {
        "redundant_axioms": list(redundant([axiom for axiom in AXIOMS if axiom.number])),
        "contradictory_axioms": list(found.core) if found else [],
        "relations_seconds": time.process_time() - started,
    }


def benchmark(quick: bool, options: Namespace) -> dict[str, Any]:
    """Print the tables and return the figures."""
    started = time.process_time()
    rules = read(options.rules)
    outcomes = prove_all(rules)
    seconds = time.process_time() - started
    started = time.process_time()
    test(outcomes, all_rules=not quick)
    goals: Counter[str] = Counter()
    for outcome in outcomes:
        for proof in outcome.verdict.proofs:
            goals["proved" if proof and outcome.verdict.proved else "refuted" if outcome.refuted else "unknown"] += 1
    disagreements = [outcome for outcome in outcomes if outcome.verdict.proved and outcome.refuted]
    figures = {
        "rules": len(rules),
        "goals": goals.total(),
        "proved": goals["proved"],
        "refuted": goals["refuted"],
        "unknown": goals["unknown"],
        "seconds": seconds,
        "slowest_seconds": max((outcome.seconds for outcome in outcomes), default=0.0),
        "rules_under_conditions": sum(outcome.verdict.kind == "proved under conditions" for outcome in outcomes),
        "certificates_checked": sum(outcome.certified for outcome in outcomes),
        "longest_certificate": max((len(p.instances) for o in outcomes for p in o.verdict.proofs if p), default=0),
        "disagreements": len(disagreements),
        "test_seconds": time.process_time() - started,
    }
    if not quick:
        figures |= quantified(rules) | relations()
    show(figures, outcomes, disagreements)
    return figures


def show(figures: dict[str, Any], outcomes: Sequence[Outcome], disagreements: Sequence[Outcome]) -> None:
    """Print the conditions of each rule, what is not proved, and the totals."""
    print("rules that need more than a defined source")
    for outcome in outcomes:
        if outcome.verdict.conditions:
            print(f"  {outcome.rule.name:14} {' and '.join(outcome.verdict.conditions)}")
    for outcome in outcomes:
        if outcome.verdict.proved and outcome not in disagreements:
            continue
        rule = outcome.rule
        print(f"\n{rule}\n  {outcome.verdict.kind}: {outcome.verdict.reason}; tested: {outcome.tested}")
        if outcome.tested is not None and outcome.tested.counterexample is not None:
            print(
                "\n".join(
                    "    " + line
                    for line in as_code(rule.source, rule.target, outcome.tested.counterexample).splitlines()
                )
            )
    lengths = Counter(len(p.instances) for o in outcomes for p in o.verdict.proofs if p)
    used = Counter(name for o in outcomes for name in o.verdict.axioms)
    print("\ninstances in a certificate: " + ", ".join(f"{n}: {count}" for n, count in sorted(lengths.items())))
    print("axioms used most: " + ", ".join(f"{name} ({count})" for name, count in used.most_common(8)))
    print(
        f"{figures['proved']} of {figures['goals']} goals proved ({figures['rules_under_conditions']} of "
        f"{figures['rules']} rules under conditions), {figures['refuted']} refuted, {figures['unknown']} unknown; "
        f"Z3 confirms {figures['certificates_checked']} rules' certificates"
    )
    print(
        f"{figures['seconds']:.2f} s of one core with certificates, slowest rule "
        f"{1e3 * figures['slowest_seconds']:.1f} ms; tests {figures['test_seconds']:.1f} s, "
        f"{figures['disagreements']} both proved and refuted"
    )
    if "quantified_seconds" in figures:
        print(
            f"quantified axioms in Z3: {figures['quantified_rules_proved']} of {figures['rules']} rules in "
            f"{figures['quantified_seconds']:.2f} s"
        )
        print(
            f"axioms: of the published ones, redundant: {', '.join(figures['redundant_axioms']) or 'none'}; "
            f"contradictory: {', '.join(figures['contradictory_axioms']) or 'none found'} "
            f"({figures['relations_seconds']:.1f} s)"
        )


def add_arguments(parser: Parser) -> None:
    """Declare `--rules`."""
    parser.add_argument(
        "--rules",
        type=Path,
        default=PUBLISHED,
        metavar="FILE",
        help="rules as text, or as the published system's .pb (default: its 133 rules)",
    )


if __name__ == "__main__":
    sys.exit(main("verify", benchmark, "Prove the rules of a file, with conditions and certificates.", add_arguments))
