"""One dial for finding out what happened: the environment variable MINI_DEBUG, or `with at(level):` for a block.

Levels are cumulative; what each one shows is `LEVELS`, which is also the table in the README. Messages go to stderr,
so that results on stdout stay machine-readable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LEVELS = {
    0: "nothing but results and errors",
    1: "a summary per command: what was kept, and the commonest reasons for rejection",
    2: "a line per round or pass",
    3: "each accepted rule or schedule, with the program before and after",
    4: "each rejection, with its reason",
}

_block_level: ContextVar[int | None] = ContextVar("mini_debug", default=None)


def level() -> int:
    """The dial's position: that of the innermost `at` block, else MINI_DEBUG, else 0.

    Raises: ValueError: MINI_DEBUG is not one of the levels.
    """
    inside = _block_level.get()
    if inside is not None:
        return inside
    text = os.environ.get("MINI_DEBUG", "") or "0"
    if not text.isdecimal():
        raise ValueError(f"MINI_DEBUG must be a number from 0 to {max(LEVELS)}, got {text!r}")
    return _checked(int(text), "MINI_DEBUG")


@contextmanager
def at(level: int) -> Iterator[None]:
    """Set the dial for a block of code, in this thread only.

    >>> with at(4):
    ...     shows(3)
    True
    >>> with at(0):
    ...     shows(1)
    False

    Raises: ValueError: not one of the levels.
    """
    token = _block_level.set(_checked(level, "level"))
    try:
        yield
    finally:
        _block_level.reset(token)


def shows(needed: int) -> bool:
    """Whether messages of level `needed` are shown now."""
    return level() >= needed


def say(needed: int, message: str | Callable[[], str]) -> None:
    """Print a message of level `needed` to stderr; give a function when the text is costly to make.

    Every line is marked with its level, so that `grep '^3|'` finds all accepted rules.
    """
    if shows(needed):
        text = message() if callable(message) else message
        sys.stderr.write("".join(f"{needed}| {line}\n" for line in text.splitlines() or [""]))


def _checked(value: int, argument: str) -> int:
    if value not in LEVELS:
        raise ValueError(f"{argument} must be a number from 0 to {max(LEVELS)}, got {value!r}")
    return value
