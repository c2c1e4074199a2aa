"""`python -m taso_mini verify`: both verifiers on every rule of a file, ours or a published one."""

from __future__ import annotations

import json
import sys
import zlib
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

from runtime.command_line import Command
from taso_mini.commands.rule_files import read_rules, tell
from taso_mini.counterexamples import as_code
from taso_mini.identity_testing import check_identity
from taso_mini.rules_text import SHIPPED_RULES
from taso_mini.terms import Substitution
from taso_mini.testing import Sample
from taso_mini.verdicts import Judgement, judge


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `verify`."""
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=SHIPPED_RULES,
        help="rules to check, as text or published (.pb); default: shipped",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the tests (default: %(default)s)")
    parser.add_argument("--tests", type=int, default=8, help="half as many per class of groups (default: %(default)s)")
    parser.add_argument("--code", action="store_true", help="print counterexamples as programs to paste")
    parser.add_argument("--json", action="store_true", help="print one JSON object per rule")


def run(arguments: Namespace) -> int:
    """Run `verify`: one line per rule that is not proved as it stands; status 1 if there is one."""
    rules = read_rules(arguments.file)
    if arguments.tests < 1:
        raise ValueError(f"--tests: expected at least 1, got {arguments.tests}")
    counts: Counter[str] = Counter()
    for number, rule in enumerate(rules):
        tell("verifying", number, len(rules))
        seed = arguments.seed ^ zlib.crc32(rule.name.encode())
        found = judge(rule, seed=seed, draws=arguments.tests)
        kind, sample = _as_stated(rule, found, seed=seed, draws=arguments.tests)
        counts[kind] += 1
        if arguments.json:
            print(
                json.dumps(
                    {
                        "version": 1,
                        "rule": rule.name,
                        "verdict": kind,
                        "tests": found.test.kind,
                        "axioms": found.proof.axioms,
                        "conditions": found.rule.conditions,
                    }
                )
            )
        elif kind != "proved":
            print(f"{kind}: {found.rule if found.usable else rule}")
            if sample is not None:
                print(f"  wrong at {sample}")
                print(_indented(as_code(rule.source, rule.target, sample)) if arguments.code else "", end="")
    print("; ".join(f"{count} {kind}" for kind, count in sorted(counts.items())), file=sys.stderr)
    print(f"{counts['proved']} of {len(rules)} rules proved and tested", file=sys.stderr)
    return 0 if counts["proved"] == len(rules) else 1


def _as_stated(rule: Substitution, found: Judgement, *, seed: int, draws: int) -> tuple[str, Sample | None]:
    """Return the verdict on the rule with the conditions it states, and where it is wrong."""
    if not found.usable:
        return found.kind, found.test.counterexample
    if set(found.proof.conditions) <= set(rule.conditions):
        return "proved", None
    stated = check_identity(rule.source, rule.target, rule.conditions, seed=seed, draws=draws)
    return "proved under conditions that it does not state", stated.counterexample


def _indented(code: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in code.splitlines())


VERIFY = Command(
    "verify",
    "prove and test every substitution of a file again",
    "python -m taso_mini verify rules.pb --code",
    add_arguments,
    run,
)
