"""Compiles a network into a directory, from where `CompiledNetwork` runs it: one inference is one call into C.

The directory holds everything and needs nothing else of this project to run:

    model.c       the kernels and one entry point; can be compiled alone
    model.so      the same, compiled for this machine, and an entry point with a clock
    weights.bin   all weights, 64-byte aligned, in the order of first use
    network.json  names, types and sizes; written last

`python -m runtime run DIRECTORY` runs it again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.compile_c import LINK_FLAGS, Compiler, cache_directory, find_compiler
from runtime.compiled_network import FILES, FORMAT, CompiledNetwork
from runtime.compiler_process import built_side_by_side, run_compiler
from runtime.machine import detect, instruction_sets, usable_cores
from runtime.network import Network
from runtime.network_c import NetworkText, entry_name, write_weights
from runtime.scratch import ScratchFolder
from runtime.staging import staged

__all__ = ["FILES", "CompiledNetwork", "build"]

# Building a unit costs a compiler start; below this many kernels per unit that is most of the time.
KERNELS_PER_UNIT = 4


def build(
    network: Network, directory: Path | str | None = None, *, threads: int = 1, timeout: float | None = None
) -> CompiledNetwork:
    """Compile a network into a directory, and load it from there.

    Args:
        network: what to compile.
        directory: made when missing; files of an earlier network in it are replaced when the new ones are complete.
            None: a temporary one, removed with the network that is returned.
        threads: cores that parallel loops use.
        timeout: seconds that one compiler may take.

    Raises:
        OutputError: the directory cannot be written.
        CompilerNotFound, CompileError: as in `compile_c`.
    """
    if directory is None:
        scratch = ScratchFolder("model")
        try:
            _write(network, scratch.path, threads, timeout)
            return CompiledNetwork.adopt(scratch)
        except BaseException:
            scratch.remove()
            raise
    _write(network, Path(directory), threads, timeout)
    return CompiledNetwork.load(directory)


def _write(network: Network, directory: Path, threads: int, timeout: float | None) -> None:
    with staged(directory, last="network.json") as folder:
        text = NetworkText(network, threads=threads)
        (folder / "model.c").write_text(text.whole())
        count = max(1, min(2 * usable_cores(), -(-len(network.calls) // KERNELS_PER_UNIT)))
        _compile_units(text.units(count), folder / "model.so", timeout)
        write_weights(network, folder / "weights.bin")
        description = _description(network, text, threads) | {"content": _content(folder)}
        (folder / "network.json").write_text(json.dumps(description, indent=2) + "\n")


def _content(folder: Path) -> str:
    """A fingerprint of a network's code and weights."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("model.c", "weights.bin"):
        with (folder / name).open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _description(network: Network, text: NetworkText, threads: int) -> dict[str, Any]:
    compiler, memory = find_compiler(), text.memory
    return {
        "format": FORMAT,
        "name": network.name,
        "entry": entry_name(network),
        "inputs": {name: [kept.dtype, list(kept.shape)] for name, kept in network.inputs.items()},
        "outputs": {name: [kept.dtype, list(kept.shape)] for name, kept in network.outputs.items()},
        "workspace_bytes": memory.total_bytes,
        "live_lower_bound": memory.live_lower_bound,
        "values_bytes": memory.sum_bytes,
        "calls": len(network.calls),
        "steps": [[step.kernel, step.text] for step in text.steps],
        "threads": threads,
        "compiler": f"{compiler.version}: {' '.join((*compiler.command, *compiler.flags))}",
        "machine": detect().line,
        "instruction_sets": sorted(instruction_sets()),
    }


def _compile_units(units: Sequence[str], target: Path, timeout: float | None) -> None:
    """Compile C texts side by side and link them into one shared library; a text is compiled once and kept."""
    compiler = find_compiler()
    openmp = ("-fopenmp",) if compiler.openmp and any("#pragma omp" in unit for unit in units) else ()
    command = (*compiler.command, *compiler.flags, *openmp)
    cache_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mini-compilers-build-", dir=cache_directory()) as name:
        objects = [cache_directory() / f"{_key(unit, compiler, command)}.o" for unit in units]
        jobs = []
        for number, (unit, kept) in enumerate(zip(units, objects)):
            if not kept.exists():
                source = Path(name) / f"unit{number}.c"
                source.write_text(unit)
                jobs.append((_compile_unit, (command, source, kept, timeout)))
        for _ in built_side_by_side(jobs, None, usable_cores()):
            pass
        run_compiler([*command, *map(str, objects), "-o", str(target), *LINK_FLAGS])


def _key(unit: str, compiler: Compiler, command: Sequence[str]) -> str:
    parts = (unit, compiler.version, compiler.target, *command)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _compile_unit(command: Sequence[str], source: Path, kept: Path, timeout: float | None) -> None:
    built = source.with_suffix(".o")
    run_compiler([*command, "-c", str(source), "-o", str(built)], timeout=timeout)
    built.replace(kept)  # in one step, so that a reader never sees half an object
