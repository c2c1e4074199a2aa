"""The command `python -m runtime`: look at the machine, run a compiled network, check a CUDA kernel on the CPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from runtime.command_line import DONE, NOTHING_FOUND, Command, Parser, exit_status
from runtime.cuda_on_cpu.check_command import CUDA_CHECK
from runtime.doctor import examine, show
from runtime.run_command import RUN


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


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


DOCTOR = Command(
    "doctor",
    "say which compiler, flags and threads will be used",
    "python -m runtime doctor",
    add_doctor_arguments,
    doctor,
)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="python -m runtime", description=__doc__, example=DOCTOR.example)
    parser.add_commands((DOCTOR, RUN, CUDA_CHECK))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit status."""
    options = build_parser().parse_args(arguments)
    return exit_status(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
