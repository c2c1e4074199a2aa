"""The command `python -m taso_mini compile`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from runtime.command_line import DONE, INTERRUPTED, Command
from runtime.staging import staged
from taso_mini.compile_model import Compiled, compile_model
from taso_mini.compile_options import CompileOptions
from taso_mini.load_model import parse_shapes
from taso_mini.models import MODELS
from taso_mini.report import as_json, as_markdown, as_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help=f"an ONNX file, or one of {', '.join(sorted(MODELS))}")
    parser.add_argument("--trials", type=int, help="programs to measure in all; 0 compiles the default schedules")
    parser.add_argument("--budget-seconds", type=float, help="seconds to tune (default: 80, unless --trials is given)")
    parser.add_argument("--threads", type=int, help="cores that the compiled network uses (default: all)")
    shape = "shape of an input that the file leaves open"
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1,3,224,224", help=shape)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the compiled network, records and report go")
    parser.add_argument("--emit-c", type=Path, metavar="DIR", help="where a C program that needs nothing else goes")
    records = "records that models share: nothing in FILE is measured again, and what is measured goes there too"
    parser.add_argument("--records", type=Path, metavar="FILE", help=records)
    parser.add_argument("--resume", action="store_true", help="go on from the records in --out")
    parser.add_argument("--seed", type=int, default=0, help="of built-in weights, sample inputs and the search")
    parser.add_argument(
        "--cost", choices=("measured", "flops"), default="measured", help="how operators are priced for substitution"
    )
    fresh = "measure operators anew, whatever was measured before and kept: a machine may have been busy then"
    parser.add_argument("--fresh-prices", action="store_true", help=fresh)
    parser.add_argument("--joint", action="store_true", help="choose the graph while its kernels are tuned, not before")
    winograd = "try Winograd's 3 x 3 convolutions in tiles of 2 or 4 too; their results differ in the last bits"
    parser.add_argument("--winograd", type=int, default=0, metavar="TILE", help=winograd)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(arguments: argparse.Namespace) -> int:
    """Compile, print, write the report."""
    start = time.monotonic()

    def log(line: str) -> None:
        if not arguments.quiet:
            sys.stderr.write(f"{time.monotonic() - start:6.1f} s  {line}\n")
            sys.stderr.flush()

    options = CompileOptions(
        trials=arguments.trials,
        budget_seconds=arguments.budget_seconds,
        threads=arguments.threads,
        seed=arguments.seed,
        shapes=parse_shapes(arguments.shape),
        out=arguments.out,
        emit_c=arguments.emit_c,
        resume=arguments.resume,
        records=arguments.records,
        cost=arguments.cost,
        fresh_prices=arguments.fresh_prices,
        joint=arguments.joint,
        winograd=arguments.winograd,
    )
    compiled = compile_model(arguments.model, options, log)
    if not compiled.network.temporary:
        write_report(compiled)
    sys.stdout.write((json.dumps(as_json(compiled)) if arguments.json else as_text(compiled)) + "\n")
    return INTERRUPTED if compiled.stopped == "interrupted" else DONE


def write_report(compiled: Compiled) -> None:
    """Put report.md and report.json beside the compiled network."""
    with staged(compiled.network.directory) as folder:
        (folder / "report.md").write_text(as_markdown(compiled), encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(as_json(compiled), indent=2) + "\n", encoding="utf-8")


COMPILE = Command(
    "compile",
    "make a model faster, check it, and write it as C",
    "python -m taso_mini compile squeezenet --out squeezenet-compiled",
    add_arguments,
    run,
    description="Import, substitute, partition, tune, compile, run, check and time a model.",
)
