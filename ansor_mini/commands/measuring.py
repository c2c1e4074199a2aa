"""The options of every command that measures: how long a program is timed, and what it may take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any


def add_measuring(parser: ArgumentParser) -> None:
    """Declare the options; their defaults are `runtime.measure.measure`'s."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--repeats", type=int, help="groups of calls that are timed; the fastest counts")
    group.add_argument("--min-repeat-seconds", type=float, help="how long a group of calls lasts at least")
    group.add_argument("--cold-caches", action="store_true", help="flood the caches before every timed call")
    group.add_argument("--build-timeout", type=float, metavar="SECONDS", help="what one compiler may take")
    group.add_argument("--run-timeout", type=float, metavar="SECONDS", help="what one program's timing may take")


def measuring_options(arguments: Namespace) -> dict[str, Any]:
    """The options that were given, for `runtime.measure.measure`.

    Raises: ValueError: a number that cannot be; now, and not after the first compiler has run.
    """
    names = ("repeats", "min_repeat_seconds", "build_timeout", "run_timeout")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {value}")
    return options | ({"cold_caches": True} if arguments.cold_caches else {})
