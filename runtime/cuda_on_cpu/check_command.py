"""The command `python -m runtime cuda-check`: run a CUDA kernel on the CPU and say what is wrong with it.

Found, each with the line, the block and the thread: accesses out of bounds or misaligned, races in shared and global
memory, reads of shared memory that nobody wrote, barriers that not all threads reach, warp operations whose mask does
not name the lanes that come, asynchronous copies read before they were waited for, arithmetic without a meaning.
No GPU and no CUDA is needed, only a C++ compiler. The checks do not depend on the order in which threads happen to
run; they see what the kernel does with the arguments given, so choose sizes that reach its edges.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.command_line import BAD_INPUT, DONE, NOTHING_FOUND, Command
from runtime.compile_c import CompileError, CompilerNotFound
from runtime.cuda_on_cpu import argument_flags
from runtime.cuda_on_cpu.argument_flags import GivenArgument, example_words, read_argument
from runtime.cuda_on_cpu.kernels import CpuKernels, compile_on_cpu, unwritten
from runtime.cuda_on_cpu.reports import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = argument_flags.__doc__
    parser.add_argument("file", metavar="KERNEL.cu", type=Path, help="CUDA C++ text with one kernel or more")
    parser.add_argument("--kernel", help="which kernel; an instance of a template as 'scale<float, 4>'")
    parser.add_argument("--grid", default="1", metavar="X[,Y[,Z]]", help="blocks (default: 1)")
    parser.add_argument("--block", default="32", metavar="X[,Y[,Z]]", help="threads of a block (default: 32)")
    parser.add_argument("--arg", action="append", default=[], metavar="WORD", help="an argument, in order; see below")
    parser.add_argument("--shared-bytes", type=int, default=0, metavar="N", help="dynamic shared memory of a block")
    parser.add_argument(
        "--time-limit", type=float, default=60.0, metavar="SECONDS", help="for the launch (default: 60)"
    )
    parser.add_argument("-I", dest="include", action="append", default=[], metavar="DIR", help="folder for #include")
    parser.add_argument("--save", action="append", default=[], metavar="NAME=FILE.npy", help="keep an array afterwards")
    parser.add_argument("--seed", type=int, default=0, help="of random arrays (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Check one launch: status 0 when nothing was found, 1 when something was.

    Raises: ValueError: the arguments do not fit the kernel.
    """
    if not options.file.is_file():
        raise ValueError(f"there is no file {options.file}")
    text = options.file.read_text(encoding="utf-8", errors="replace")
    instances = (options.kernel,) if options.kernel and "<" in options.kernel else ()
    include = (str(options.file.resolve().parent), *options.include)
    try:
        kernels = compile_on_cpu(text, file=options.file.name, include=include, instances=instances)
    except (CompileError, CompilerNotFound) as error:
        sys.stderr.write(f"{error}\nerror: {options.file} cannot be built for the CPU\n")
        return BAD_INPUT
    name = _chosen(kernels, options.kernel)
    given = _arguments(kernels, name, options)
    names = [parameter for parameter, _ in kernels.parameters(name)]
    targets = _targets(options.save, names, given)
    reports = kernels.launch(
        name,
        _sizes(options.grid, "--grid"),
        _sizes(options.block, "--block"),
        [argument.value for argument in given],
        shared_bytes=options.shared_bytes,
        time_limit=options.time_limit,
        written={number: unwritten(argument.value) for number, argument in enumerate(given) if argument.unwritten},
    )
    for path, array in targets.items():
        np.save(path, array)
    show = _as_json if options.json else _as_text
    sys.stdout.write(show(options, name, reports, dict(zip(names, given)), text.splitlines()) + "\n")
    return NOTHING_FOUND if reports else DONE


def _chosen(kernels: CpuKernels, name: str | None) -> str:
    if name is None and len(kernels.names) != 1:
        there = ", ".join(kernels.names) or "none (name an instance of a template)"
        raise ValueError(f"--kernel must say which of the file's kernels: {there}")
    return kernels.names[0] if name is None else name


def _arguments(kernels: CpuKernels, name: str, options: argparse.Namespace) -> list[GivenArgument]:
    parameters = kernels.parameters(name)
    if len(options.arg) != len(parameters):
        wanted = ", ".join(parameter for parameter, _ in parameters)
        raise ValueError(
            f"{name} takes {len(parameters)} arguments ({wanted}), --arg was given {len(options.arg)} times;"
            f" for example {example_words(parameters)}"
        )
    rng = np.random.default_rng(options.seed)
    return [read_argument(word, parameter, name, rng) for word, (name, parameter) in zip(options.arg, parameters)]


def _sizes(text: str, flag: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").strip("()").split(","))
    except ValueError:
        raise ValueError(f"{flag} must be one to three numbers, as 4 or 4,2, got {text}") from None


def _targets(words: Sequence[str], names: Sequence[str], given: Sequence[GivenArgument]) -> dict[str, np.ndarray]:
    arrays = {name: argument.value for name, argument in zip(names, given) if isinstance(argument.value, np.ndarray)}
    targets = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or name not in arrays:
            raise ValueError(f"--save {word}: write NAME=FILE.npy with NAME one of {', '.join(arrays) or 'no array'}")
        targets[path] = arrays[name]
    return targets


def _as_text(
    options: argparse.Namespace,
    kernel: str,
    reports: Sequence[Report],
    arrays: dict[str, GivenArgument],
    lines: Sequence[str],
) -> str:
    told = []
    for report in reports:
        told.append(f"{options.file}:{report}")
        if report.line is not None and 0 < report.line <= len(lines):
            told.append(f"    {lines[report.line - 1].strip()}")
    launch = f"{kernel}<<<{options.grid}, {options.block}>>>"
    found = f"{len(reports)} mistake{'s' if len(reports) != 1 else ''} found" if reports else "nothing wrong was found"
    told.append(f"{launch}: {found}")
    for name, argument in arrays.items():
        if isinstance(argument.value, np.ndarray) and argument.value.size and not reports:
            array = argument.value
            told.append(f"  {name}: {array.dtype}{list(array.shape)}, {array.min():.6g} to {array.max():.6g}")
    return "\n".join(told)


def _as_json(
    options: argparse.Namespace,
    kernel: str,
    reports: Sequence[Report],
    arrays: dict[str, GivenArgument],
    lines: Sequence[str],
) -> str:
    found: list[dict[str, Any]] = [
        {
            "kind": report.kind,
            "message": report.message,
            "line": report.line,
            "block": report.block,
            "thread": report.thread,
            "times": report.times,
        }
        for report in reports
    ]
    launch = {"schema": 1, "file": str(options.file), "kernel": kernel, "grid": options.grid, "block": options.block}
    return json.dumps({**launch, "reports": found})


CUDA_CHECK = Command(
    "cuda-check",
    "run a CUDA kernel on the CPU and report races, bad accesses and broken barriers",
    "python -m runtime cuda-check kernel.cu --grid 4 --block 256 --arg float:1024 --arg float:1024 --arg int=1024",
    add_arguments,
    run,
    description=__doc__,
)
