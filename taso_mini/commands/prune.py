"""`python -m taso_mini prune`: the paper's pruning, and ours, on the rules of any file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runtime.command_line import Command
from taso_mini.canonical import canonical_key, pair_of
from taso_mini.commands.rule_files import read_rules
from taso_mini.pruning import STEPS, holds_numerically, prune
from taso_mini.rules_text import SHIPPED_RULES, show_rules


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `prune`."""
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=SHIPPED_RULES,
        help="rules to prune, as text or published (.pb); default: shipped",
    )
    parser.add_argument("--out", type=Path, help="file to write the rules to that are left")
    parser.add_argument("--steps", default=",".join(STEPS), help="comma-separated, in order (default: %(default)s)")
    parser.add_argument(
        "--compute",
        action="store_true",
        help="test whether a generalised rule holds (default: look for it among the rules)",
    )


def run(arguments: Namespace) -> int:
    """Run `prune`: the funnel to standard output, what is left to `--out`."""
    rules = read_rules(arguments.file)
    valid = holds_numerically() if arguments.compute else None
    kept, counts = prune(map(pair_of, rules), valid=valid, steps=[s.strip() for s in arguments.steps.split(",")])
    for step, count in counts.items():
        print(f"{count:8d}  {step:<15} {len(rules) / max(count, 1):6.1f} x")
    if arguments.out is not None:
        keys = {canonical_key(pair) for pair in kept}
        left = [rule for rule in rules if canonical_key(pair_of(rule)) in keys]
        arguments.out.write_text(show_rules(left), encoding="utf-8")
        print(f"{len(left)} rules written, both directions counted", file=sys.stderr)
    return 0


PRUNE = Command(
    "prune",
    "drop the rules of a file that others make superfluous; print what each step leaves",
    "python -m taso_mini prune rules.pb --out left.txt",
    add_arguments,
    run,
)
