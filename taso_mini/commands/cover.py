"""`python -m taso_mini cover`: which rules of a file are ours, follow from ours, are wrong, or are missing."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import Command
from taso_mini.candidates import published_candidates
from taso_mini.commands.rule_files import read_rules, tell
from taso_mini.counterexamples import as_code
from taso_mini.coverage import HOW, cover, wrong
from taso_mini.derivation import Identity, Law
from taso_mini.rules_text import SHIPPED_RULES


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `cover`."""
    parser.add_argument("file", type=Path, help="rules to look for, as text or published (.pb)")
    parser.add_argument("--rules", type=Path, help="rules to look in (default: shipped)")
    parser.add_argument("--operators", type=int, help="look in the candidates of so many operators a side instead")
    parser.add_argument("--applications", type=int, default=2, help="of our rules at most (default: %(default)s)")
    parser.add_argument("--chains", action="store_true", help="print how each rule follows from ours")
    parser.add_argument("--code", action="store_true", help="print counterexamples as programs to paste")


def _ours(arguments: Namespace) -> Sequence[Law]:
    if arguments.operators is None:
        return read_rules(arguments.rules or SHIPPED_RULES)
    if not 1 <= arguments.operators <= 4:
        raise ValueError(f"--operators: expected 1 to 4, got {arguments.operators}")
    pairs = published_candidates(arguments.operators, seed=0)
    return [Identity(f"candidate-{number}", *pair) for number, pair in enumerate(pairs)]


def run(arguments: Namespace) -> int:
    """Run `cover`; status 1 when a rule is missing that is not wrong."""
    started = time.process_time()
    published = read_rules(arguments.file)
    found = cover(published, _ours(arguments), applications=arguments.applications)
    counts = Counter(one.how for one in found)
    for one in found:
        if arguments.chains and one.how != "missing":
            print(one)
    samples = {}
    for number, rule in enumerate(published):
        tell("testing", number, len(published))
        sample = wrong(rule)
        if sample is not None:
            samples[rule.name] = sample
            print(f"wrong as stated: {rule}\n  at {sample}")
            print(as_code(rule.source, rule.target, sample) + "\n" if arguments.code else "", end="")
    missing = [one.rule for one in found if one.how == "missing" and one.rule.name not in samples]
    for law in missing:
        print(f"missing: {law}")
    lost = [one.rule.name for one in found if one.how == "missing" and one.rule.name in samples]
    if lost:
        print(f"missing, as they should be, since they are wrong as stated: {', '.join(lost)}")
    print(
        "; ".join(f"{counts[how]} {how}" for how in HOW) + f"; {len(samples)} wrong as stated; "
        f"{time.process_time() - started:.1f} CPU seconds",
        file=sys.stderr,
    )
    return 1 if missing else 0


COVER = Command(
    "cover",
    "tell which rules of a file are ours or follow from ours, and which are wrong",
    "python -m taso_mini cover rules.pb --chains",
    add_arguments,
    run,
)
