"""`python -m taso_mini axioms`: check every axiom on all small shapes, grouped convolutions included."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from runtime.command_line import Command
from taso_mini.axiom_validation import validate_all
from taso_mini.axioms import AXIOMS, LEMMAS


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `axioms`."""
    parser.add_argument("--largest", type=int, default=3, help="largest length of an axis (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="at most so many shapes per axiom, evenly chosen (default: all)")


def run(arguments: Namespace) -> int:
    """Run `axioms`: one line per axiom; status 1 when one fails."""
    if arguments.largest < 1 or (arguments.limit is not None and arguments.limit < 1):
        raise ValueError(
            f"--largest, --limit: expected positive numbers, got {arguments.largest} and {arguments.limit}"
        )
    failed = instances = excluded = 0
    started = time.process_time()
    for result in validate_all(AXIOMS + LEMMAS, largest=arguments.largest, limit=arguments.limit):
        print(result, flush=True)
        failed += not result.holds
        instances += result.instances
        excluded += result.excluded
    print(
        f"{failed} axioms failed; {instances} instances, {excluded} more excluded by conditions; "
        f"{time.process_time() - started:.1f} seconds of one core"
    )
    return 1 if failed else 0


AXIOMS_COMMAND = Command(
    "axioms",
    "check every axiom on all small shapes, groups included",
    "python -m taso_mini axioms --largest 4",
    add_arguments,
    run,
)
