"""`python -m taso_mini rules`: print the shipped substitutions, or those that mention some words."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runtime.command_line import Command
from taso_mini.commands.rule_files import read_rules
from taso_mini.rules_text import SHIPPED_RULES, show_rule


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `rules`."""
    parser.add_argument("words", nargs="*", help="print only rules whose text contains all of these")
    parser.add_argument(
        "--file", type=Path, default=SHIPPED_RULES, help="rules to print, as text or published (.pb); default: shipped"
    )


def run(arguments: Namespace) -> int:
    """Run `rules`; status 1 when no rule matches."""
    texts = [show_rule(rule) for rule in read_rules(arguments.file)]
    texts = [text for text in texts if all(word in text for word in arguments.words)]
    print("\n".join(texts), end="")
    print(f"{len(texts)} rules", file=sys.stderr)
    return 0 if texts else 1


RULES = Command(
    "rules",
    "print the shipped substitutions, or those that mention an operator",
    "python -m taso_mini rules conv_bias",
    add_arguments,
    run,
)
