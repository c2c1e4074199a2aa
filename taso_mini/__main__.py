"""The command line of TASO: compile or optimise a model; generate, verify and show substitutions; draw."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from runtime.command_line import Parser, exit_status
from runtime.compile_c import CompilerNotFound
from taso_mini.commands import COMMANDS
from taso_mini.compile_command import COMPILE
from taso_mini.optimize_command import OPTIMIZE
from taso_mini.pictures.command import DRAW

MISTAKES = (ValueError, OSError, ImportError, CompilerNotFound)


def build_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(prog="python -m taso_mini", description=__doc__, example=COMPILE.example)
    parser.add_commands((COMPILE, OPTIMIZE, *COMMANDS, DRAW))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = build_parser().parse_args(arguments)
    return exit_status(lambda: options.run(options), MISTAKES)


if __name__ == "__main__":
    sys.exit(main())
