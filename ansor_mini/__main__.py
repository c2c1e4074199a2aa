"""The command `python -m ansor_mini`: tune a workload, look at its sketches, and work with the records."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ansor_mini.commands import explain, history, replay, sketches, train, tune
from ansor_mini.workloads import WORKLOADS
from runtime.command_line import Parser, exit_status
from runtime.compile_c import CompilerNotFound

COMMANDS = (tune.COMMAND, sketches.COMMAND, explain.COMMAND, train.COMMAND, replay.COMMAND, *history.COMMANDS)
MISTAKES = (ValueError, OSError, ImportError, CompilerNotFound)


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(
        prog="python -m ansor_mini",
        example=tune.COMMAND.example,
        description="Search for a fast program for one computation, and see what the search found.",
        epilog="workloads: " + ", ".join(f"{name}:{','.join(w.fields)}" for name, w in WORKLOADS.items()),
    )
    parser.add_commands(COMMANDS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = build_parser().parse_args(arguments)
    return exit_status(lambda: options.run(options), MISTAKES)


if __name__ == "__main__":
    sys.exit(main())
