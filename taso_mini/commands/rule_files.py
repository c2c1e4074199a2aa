"""Rule files on the command line, and how long work tells of itself."""

from __future__ import annotations

import sys
from pathlib import Path

from taso_mini.operator_set import OPERATORS
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution, subterms


def read_rules(path: Path) -> tuple[Substitution, ...]:
    """Read a rule file of ours, or a published one when its name ends in `.pb`.

    Raises: ValueError: the file is malformed, or a rule has an unknown operator or too many or few operands.
    """
    rules = read_protobuf(path) if path.suffix == ".pb" else load_rules(path)
    for rule in rules:
        for node in subterms(*rule.source, *rule.target):
            if node.is_variable:
                continue
            if node.operator not in OPERATORS:
                raise ValueError(
                    f"{path}: rule {rule.name}: unknown operator {node.operator!r}; there are {', '.join(OPERATORS)}"
                )
            if OPERATORS[node.operator].arity != len(node.args):
                raise ValueError(
                    f"{path}: rule {rule.name}: {node.operator} takes {OPERATORS[node.operator].arity} "
                    f"operands, got {len(node.args)} in {node}"
                )
    return rules


def tell(step: str, done: int, total: int) -> None:
    """Say on standard error how far a long step is, on one line that is overwritten; nothing without a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{step} {done}/{total}" if done + 1 < total else "\r\033[K", end="", file=sys.stderr, flush=True)
