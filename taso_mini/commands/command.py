"""What a command is, and what several of them need."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution


@dataclass(frozen=True)
class Command:
    """One subcommand: its help, what declares its arguments, and what runs it and gives the exit status."""

    name: str
    help: str
    example: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def read_rules(path: Path) -> tuple[Substitution, ...]:
    """Read a rule file of ours, or a published one when its name ends in `.pb`."""
    return read_protobuf(path) if path.suffix == ".pb" else load_rules(path)


def tell(step: str, done: int, total: int) -> None:
    """Say on standard error how far a long step is, on one line that is overwritten; nothing without a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{step} {done}/{total}" if done + 1 < total else "\r\033[K", end="", file=sys.stderr, flush=True)
