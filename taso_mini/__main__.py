"""The command line of TASO: compile or optimise a model; generate, verify and show substitutions; draw."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from runtime.command_line import Parser, exit_status
from runtime.compile_c import CompilerNotFound
from taso_mini import compile_command
from taso_mini.commands import COMMANDS
from taso_mini.optimize_command import OPTIMIZE
from taso_mini.pictures.command import DRAW

MISTAKES = (ValueError, OSError, ImportError, CompilerNotFound)


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = Parser(prog="python -m taso_mini", description=__doc__, example=compile_command.EXAMPLE)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    compile_parser = commands.add_parser(
        "compile",
        help="make a model faster, check it, and write it as C",
        description="Import, substitute, partition, tune, compile, run, check and time a model.",
        example=compile_command.EXAMPLE,
    )
    compile_command.add_arguments(compile_parser)
    compile_parser.set_defaults(run=compile_command.run)
    for command in (OPTIMIZE, *COMMANDS, DRAW):
        sub = commands.add_parser(command.name, help=command.help, description=command.help, example=command.example)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = build_parser().parse_args(arguments)
    return exit_status(lambda: options.run(options), MISTAKES)


if __name__ == "__main__":
    sys.exit(main())
