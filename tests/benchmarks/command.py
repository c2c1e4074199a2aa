"""The options and the last line that all benchmarks share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.command_line import DONE, Parser, exit_status
from runtime.machine import detect

SCHEMA = 1
RESULTS = Path(__file__).parent / "results"


def main(
    name: str,
    benchmark: Callable[..., Mapping[str, Any]],
    description: str,
    add_arguments: Callable[[Parser], None] | None = None,
) -> int:
    """Run a benchmark: `benchmark(quick)` prints its tables and returns its figures.

    With `add_arguments`, which declares arguments of its own, it is `benchmark(quick, options)`.
    """
    parser = Parser(
        prog=f"python -m tests.benchmarks.{name}",
        description=description,
        example=f"python -m tests.benchmarks.{name} --quick",
    )
    parser.add_argument("--quick", action="store_true", help="use recorded tuning results; at most 50 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    if add_arguments is not None:
        add_arguments(parser)
    options = parser.parse_args()

    def run() -> int:
        figures = {"schema": SCHEMA, "benchmark": name, "quick": options.quick, "machine": detect().line}
        figures |= benchmark(options.quick) if add_arguments is None else benchmark(options.quick, options)
        line = json.dumps(figures)
        if options.json is not None:
            options.json.write_text(line + "\n", encoding="utf-8")
        sys.stdout.write(line + "\n")
        return DONE

    return exit_status(run)
