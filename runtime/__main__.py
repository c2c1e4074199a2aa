"""The command `python -m runtime`: look at the machine, run a compiled network, check a CUDA kernel on the CPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from runtime import run_command
from runtime.command_line import DONE, NOTHING_FOUND, Parser, exit_status
from runtime.cuda_on_cpu import check_command
from runtime.doctor import examine, show


def doctor(options: argparse.Namespace) -> int:
    """Report what this machine offers; status 1 when kernels cannot be compiled and run."""
    findings = examine()
    if options.json:
        report: dict[str, Any] = {finding.subject: finding.text for finding in findings}
        report["problems"] = [finding.subject for finding in findings if not finding.good]
        sys.stdout.write(json.dumps({"schema": 1, **report}) + "\n")
    else:
        sys.stdout.write(show(findings) + "\n")
    return DONE if all(finding.good for finding in findings) else NOTHING_FOUND


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="python -m runtime", description=__doc__, example="python -m runtime doctor")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "doctor",
        help="say which compiler, flags and threads will be used",
        example="python -m runtime doctor",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=doctor)
    command = commands.add_parser(
        "run", help="run a compiled network on .npy files", example=run_command.EXAMPLE, description=run_command.__doc__
    )
    run_command.add_arguments(command)
    command.set_defaults(run=run_command.run)
    command = commands.add_parser(
        "cuda-check",
        help="run a CUDA kernel on the CPU and report races, bad accesses and broken barriers",
        example=check_command.EXAMPLE,
        description=check_command.__doc__,
    )
    check_command.add_arguments(command)
    command.set_defaults(run=check_command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit status."""
    options = build_parser().parse_args(arguments)
    return exit_status(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
