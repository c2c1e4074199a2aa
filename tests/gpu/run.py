"""The one command for a machine with a GPU: `python -m tests.gpu.run --out results.json`.

It builds kernels with the machine's nvcc, checks their answers (and runs compute-sanitizer over the small ones when it
is installed), tunes a fixed list within the time budget, and times against cuBLAS and cuDNN through PyTorch when that
is present. Everything known is written after every section; the short table comes last. It works from the source tree
alone, without a network. Without a GPU the same sections run at small sizes on the stand-in driver, which tests them
and measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from runtime import cuda_stand_in
from runtime.command_line import DONE, NOTHING_FOUND, Parser, exit_status
from runtime.compile_c import CompilerNotFound
from runtime.cuda_library import NoGpu, open_driver
from tests.gpu.environment import describe
from tests.gpu.report import Row, table, write
from tests.gpu.sections import SECTIONS
from tests.gpu.session import Session

REHEARSAL = "REHEARSED on the stand-in driver, on a CPU: the times below are the host's, nothing was measured."


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit status."""
    parser = Parser(
        prog="python -m tests.gpu.run",
        description=(__doc__ or "").splitlines()[0],
        example="python -m tests.gpu.run --out results.json --budget-seconds 480",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all raw numbers to this file")
    parser.add_argument("--budget-seconds", type=float, default=480.0, help="do not start a section after so long")
    names = ", ".join(SECTIONS)
    parser.add_argument("--sections", default="", metavar="A,B", help=f"run only these, in this order: {names}")
    parser.add_argument("--rehearse", action="store_true", help="use the stand-in even where there is a GPU")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), (ValueError, OSError, CompilerNotFound, NoGpu))


def run(options: argparse.Namespace) -> int:
    """Run the sections; status 1 when something failed."""
    names = [name for name in options.sections.split(",") if name] or list(SECTIONS)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise ValueError(f"no section is called {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    with contextlib.ExitStack() as stack:
        reason = _no_gpu() if not options.rehearse else "asked to"
        if reason:
            sys.stderr.write(f"{reason}; rehearsing on the stand-in\n")
            stack.enter_context(cuda_stand_in.use())
        environment = describe() | {"rehearsal": bool(reason)}
        sys.stderr.write("".join(f"{key}: {value}\n" for key, value in environment.items()))
        rows = _run_sections(names, bool(reason), options, environment)
    write(options.out, environment, rows)
    sys.stdout.write(f"\n{environment['gpu']}\n")
    if reason:
        sys.stdout.write(f"{REHEARSAL} ({reason})\n")
    sys.stdout.write(table(rows) + "\n")
    return DONE if all(row.status == "ok" or row.status.startswith("skipped") for row in rows) else NOTHING_FOUND


def _no_gpu() -> str:
    """Why no GPU can be used; empty when one can."""
    try:
        open_driver()
    except NoGpu as error:
        return str(error)
    return ""


def _run_sections(
    names: Sequence[str], rehearsal: bool, options: argparse.Namespace, environment: dict[str, object]
) -> list[Row]:
    rows: list[Row] = []
    started = time.monotonic()
    deadline = started + options.budget_seconds
    with Session(rehearsal, deadline) as session:
        for name in names:
            if time.monotonic() >= deadline and name != "model":
                rows.append(Row(name, name, "skipped: the time budget was used up"))
                continue
            begun = time.monotonic()
            sys.stderr.write(f"[{begun - started:6.1f} s] {name}\n")
            found: list[Row] = []
            try:
                for row in SECTIONS[name](session):
                    found.append(row)
                    write(options.out, environment, rows + found)
                    sys.stderr.write(f"           {'  '.join(cell for cell in row.cells if cell)}\n")
            except Exception as error:  # a section that fails is a line of the report, and the others still run
                traceback.print_exc()
                found.append(Row(name, name, f"failed: {type(error).__name__}: {error}"))
            rows += found
            environment[f"seconds of {name}"] = round(time.monotonic() - begun, 1)
            write(options.out, environment, rows)
    return rows


if __name__ == "__main__":
    sys.exit(main())
