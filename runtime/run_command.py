"""The command `python -m runtime run`: feed .npy files to a compiled network and write its outputs as .npy files."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.command_line import DONE, Command
from runtime.executor import CompiledNetwork
from runtime.staging import OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="what a compile command wrote to its --out")
    for kind, use in (("input", "read"), ("output", "written")):
        parser.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="[NAME=]FILE",
            help=f"a .npy file to be {use}; once per network {kind}, with its name when there are several",
        )
    parser.add_argument("--time", action="store_true", help="also report the time of one inference")
    parser.add_argument("--profile", action="store_true", help="also report the time of every step, the longest first")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the network once.

    Raises: ValueError: what was given does not fit the network, is no .npy file, or cannot be written.
    """
    network = CompiledNetwork.load(options.directory)
    sources = _files("input", options.input, list(network.inputs))
    targets = _files("output", options.output, list(network.outputs), complete=False)
    feeds = {name: _load(name, path) for name, path in sources.items()}
    results = network.run(**feeds)
    _save({path: results[name] for name, path in targets.items()})
    report: dict[str, Any] = {"schema": 1, "network": network.name, "threads": network.threads}
    report["outputs"] = {name: [kept.dtype, list(kept.shape)] for name, kept in network.outputs.items()}
    report["written"] = {name: str(path) for name, path in targets.items()}
    if options.time:
        report["milliseconds"] = network.time(feeds) * 1e3
    if options.profile:
        laps = sorted(network.profile(feeds), key=lambda lap: -lap.seconds)
        report["steps"] = [[lap.kernel, lap.text, lap.seconds * 1e3] for lap in laps]
    sys.stdout.write((json.dumps(report) if options.json else _text(report, results)) + "\n")
    return DONE


def _text(report: dict[str, Any], results: dict[str, np.ndarray]) -> str:
    lines = []
    for name, (dtype, shape) in report["outputs"].items():
        where = f" -> {report['written'][name]}" if name in report["written"] else ""
        values = results[name]
        span = f"{values.min():.6g} to {values.max():.6g}" if values.dtype != bool else f"{values.sum()} true"
        lines.append(f"{name}: {dtype}{shape}, {span}{where}")
    if "milliseconds" in report:
        threads = f"{report['threads']} thread{'s' if report['threads'] != 1 else ''}"
        lines.append(f"one inference: {report['milliseconds']:.4g} ms on {threads}")
    total = sum(milliseconds for *_, milliseconds in report.get("steps", ()))
    for kernel, text, milliseconds in report.get("steps", ()):
        lines.append(f"{milliseconds:10.4f} ms {milliseconds / total:6.1%}  {kernel}: {text}")
    return "\n".join(lines)


def _files(kind: str, given: Sequence[str], names: Sequence[str], *, complete: bool = True) -> dict[str, Path]:
    """Pair the network's inputs or outputs with files; a lone file needs no name when there is one of the kind."""
    files: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or name not in names:
            if len(names) > 1 or (equals and not Path(text).exists() and kind == "input"):
                raise ValueError(f"--{kind} {text}: give it as NAME=FILE with one of the names {', '.join(names)}")
            name, path = names[0], text
        if name in files:
            raise ValueError(f"--{kind} {text}: {name} is given twice")
        files[name] = Path(path)
    missing = [name for name in names if name not in files]
    if complete and missing:
        raise ValueError(f"{kind} {missing[0]} is missing; add --{kind} {missing[0]}=FILE.npy")
    return files


def _load(name: str, path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"input {name}: there is no file {path}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise ValueError(f"input {name}: {path} is not a NumPy .npy file") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"input {name}: {path} is an archive of arrays, not one .npy array")
    return array


def _save(arrays: dict[Path, np.ndarray]) -> None:
    """Write all files next to their final places first, then move them: all appear or none."""
    finished: list[tuple[str, Path]] = []
    try:
        for path, array in arrays.items():
            handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            finished.append((name, path))
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
            if path.is_dir():
                raise IsADirectoryError(0, "it is a directory", str(path))
        for name, path in finished:
            os.replace(name, path)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); give a file that can be written") from None
    finally:
        for name, _ in finished:
            Path(name).unlink(missing_ok=True)


RUN = Command(
    "run",
    "run a compiled network on .npy files",
    "python -m runtime run DIR --input x.npy --output y.npy",
    add_arguments,
    run,
    description=__doc__,
)
