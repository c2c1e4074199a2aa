"""The commands that make, check and show substitutions: `generate`, `verify`, `rules`, `axioms`.

`COMMANDS` lists them for `python -m taso_mini`. Mistakes are raised as ValueError or OSError, for the command line to
tell in one sentence.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taso_mini.axiom_validation import validate_all
from taso_mini.axioms import AXIOMS, LEMMAS
from taso_mini.generation import generate, judge
from taso_mini.profiles import PROFILES
from taso_mini.rules_text import SHIPPED_RULES, load_rules, show_rule, show_rules
from taso_mini.verifier import Verifier

SHIPPED_SEED = 0


@dataclass(frozen=True)
class Command:
    """One subcommand: its help, what declares its arguments, and what runs it and gives the exit status."""

    name: str
    help: str
    example: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def add_generate_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `generate`."""
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED, help="seed of all values (default: %(default)s)")
    parser.add_argument("--profiles", help="comma-separated names (default: all); one of "
                        + ", ".join(profile.name for profile in PROFILES))


def run_generate(arguments: Namespace) -> int:
    """Run `generate`: rules to `--out`, the funnel to standard error."""
    wanted = arguments.profiles.split(",") if arguments.profiles else [profile.name for profile in PROFILES]
    unknown = sorted(set(wanted) - {profile.name for profile in PROFILES})
    if unknown:
        known = ", ".join(profile.name for profile in PROFILES)
        raise ValueError(f"--profiles: no profile named {', '.join(unknown)}; there are {known}")
    started = time.perf_counter()
    rules, funnel = generate([p for p in PROFILES if p.name in wanted], seed=arguments.seed)
    text = show_rules(rules, header=_header(arguments.seed, wanted))
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text, encoding="utf-8")
    print(f"{funnel}\n{time.perf_counter() - started:8.1f}  seconds", file=sys.stderr)
    return 0 if rules else 1


def _header(seed: int, profiles: list[str]) -> str:
    return ("Substitutions generated, tested and proved by `python -m taso_mini generate`; do not edit.\n"
            f"seed {seed}, profiles {', '.join(profiles)}")


def add_verify_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `verify`."""
    parser.add_argument("file", nargs="?", type=Path, default=SHIPPED_RULES, help="rules to check (default: shipped)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the tests (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per rule")


def run_verify(arguments: Namespace) -> int:
    """Run `verify`: one line per rule; status 1 when a rule is not proved under the conditions it states."""
    rules = load_rules(arguments.file)
    verifier, failures = Verifier(), 0
    for number, rule in enumerate(rules):
        verdict = judge(rule.source, rule.target, verifier, rng=np.random.default_rng([arguments.seed, number]))
        kind = verdict.kind
        if kind == "proved" and not set(verdict.proof.conditions) <= set(rule.conditions):
            kind = "conditions missing"
        failures += kind != "proved"
        if arguments.json:
            print(json.dumps({"version": 1, "rule": rule.name, "verdict": kind, "axioms": verdict.proof.axioms}))
        elif kind != "proved":
            print(f"{kind}: {rule}" + (f"\n  {verdict.counterexample}" if verdict.counterexample else ""))
    print(f"{len(rules) - failures} of {len(rules)} rules proved and tested", file=sys.stderr)
    return 1 if failures else 0


def add_rules_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `rules`."""
    parser.add_argument("words", nargs="*", help="print only rules whose text contains all of these")


def run_rules(arguments: Namespace) -> int:
    """Run `rules`; status 1 when no rule matches."""
    texts = [text for text in map(show_rule, load_rules()) if all(word in text for word in arguments.words)]
    print("\n".join(texts), end="")
    print(f"{len(texts)} rules", file=sys.stderr)
    return 0 if texts else 1


def add_axioms_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `axioms`."""
    parser.add_argument("--largest", type=int, default=3, help="largest length of an axis (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="at most so many shapes per axiom, evenly chosen (default: all)")


def run_axioms(arguments: Namespace) -> int:
    """Run `axioms`: one line per axiom; status 1 when one fails."""
    failed = 0
    for result in validate_all(AXIOMS + LEMMAS, largest=arguments.largest, limit=arguments.limit):
        print(result, flush=True)
        failed += not result.holds
    return 1 if failed else 0


COMMANDS = (
    Command(
        "generate",
        "enumerate, test, prove and prune substitutions; write them as text",
        "python -m taso_mini generate --out rules.txt",
        add_generate_arguments,
        run_generate,
    ),
    Command(
        "verify",
        "test and prove every substitution of a file again",
        "python -m taso_mini verify --seed 1",
        add_verify_arguments,
        run_verify,
    ),
    Command(
        "rules",
        "print the shipped substitutions, or those that mention an operator",
        "python -m taso_mini rules conv_bias",
        add_rules_arguments,
        run_rules,
    ),
    Command(
        "axioms",
        "check every axiom on all small shapes, groups included",
        "python -m taso_mini axioms --largest 3",
        add_axioms_arguments,
        run_axioms,
    ),
)
