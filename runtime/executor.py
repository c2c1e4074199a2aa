"""Compiles a network into a directory and runs it: one inference is one call into C.

The directory holds everything and needs nothing else of this project to run:

    model.c       the kernels and one entry point; can be compiled alone
    model.so      the same, compiled for this machine
    weights.bin   all weights, 64-byte aligned, in the order of first use
    network.json  names, types and sizes; written last

`python -m runtime run DIRECTORY` runs it again.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from runtime.compile_c import LINK_FLAGS, Compiler, aligned_empty, find_compiler
from runtime.compiler_process import run_compiler, stop_compilers
from runtime.graph import TensorType
from runtime.machine import detect, usable_cores
from runtime.memory_plan import plan
from runtime.network import Network
from runtime.network_c import emit_network, emit_units, entry_name, write_weights
from runtime.staging import staged

FORMAT = 1
FILES = ("model.c", "model.so", "weights.bin", "network.json")
# Building a unit costs a compiler start; below this many kernels per unit that is most of the time.
KERNELS_PER_UNIT = 4

Feeds = Mapping[str, np.ndarray]


def build(
    network: Network, directory: Path | str, *, threads: int = 1, timeout: float | None = None
) -> CompiledNetwork:
    """Compile a network into a directory, and load it from there.

    Args:
        network: what to compile.
        directory: made when missing; files of an earlier network in it are replaced when the new ones are complete.
        threads: cores that parallel loops use.
        timeout: seconds that one compiler may take.

    Raises:
        OutputError: the directory cannot be written.
        CompilerNotFound, CompileError: as in `compile_c`.
    """
    directory = Path(directory)
    with staged(directory, last="network.json") as folder:
        (folder / "model.c").write_text(emit_network(network, threads=threads))
        count = max(1, min(2 * usable_cores(), -(-len(network.calls) // KERNELS_PER_UNIT)))
        _compile_units(emit_units(network, threads=threads, count=count), folder / "model.so", timeout)
        write_weights(network, folder / "weights.bin")
        (folder / "network.json").write_text(json.dumps(_description(network, threads), indent=2) + "\n")
    return CompiledNetwork.load(directory)


def _description(network: Network, threads: int) -> dict[str, Any]:
    memory = plan(network)
    compiler = find_compiler()
    return {
        "format": FORMAT,
        "name": network.name,
        "entry": entry_name(network),
        "inputs": {name: [kept.dtype, list(kept.shape)] for name, kept in network.inputs.items()},
        "outputs": {name: [kept.dtype, list(kept.shape)] for name, kept in network.outputs.items()},
        "workspace_bytes": memory.total_bytes,
        "live_lower_bound": memory.live_lower_bound,
        "calls": len(network.calls),
        "threads": threads,
        "compiler": f"{compiler.version}: {' '.join((*compiler.command, *compiler.flags))}",
        "machine": detect().line,
    }


def _compile_units(units: Sequence[str], target: Path, timeout: float | None) -> None:
    """Compile C texts side by side and link them into one shared library."""
    compiler = find_compiler()
    openmp = ("-fopenmp",) if compiler.openmp and any("#pragma omp" in unit for unit in units) else ()
    with (
        tempfile.TemporaryDirectory(prefix="mini-compilers-build-") as name,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        sources = [Path(name) / f"unit{number}.c" for number in range(len(units))]
        for source, unit in zip(sources, units):
            source.write_text(unit)
        commands = [_object_command(compiler, openmp, source) for source in sources]
        futures = [pool.submit(run_compiler, command, timeout=timeout) for command in commands]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            while wait([future for future in futures if not future.cancelled()], timeout=0.05).not_done:
                stop_compilers()
            raise
        objects = [str(source.with_suffix(".o")) for source in sources]
        run_compiler([*compiler.command, *compiler.flags, *openmp, *objects, "-o", str(target), *LINK_FLAGS])


def _object_command(compiler: Compiler, openmp: tuple[str, ...], source: Path) -> list[str]:
    return [*compiler.command, *compiler.flags, *openmp, "-c", str(source), "-o", str(source.with_suffix(".o"))]


class CompiledNetwork:
    """A network that is ready to run; made by `build` or `load`. Runs one inference at a time."""

    def __init__(self, directory: Path, description: Mapping[str, Any], weights: np.ndarray, entry: Any) -> None:
        self.directory = directory
        self.description = description
        self.name: str = description["name"]
        self.threads: int = description["threads"]
        self.inputs, self.outputs = (
            {name: TensorType(tuple(shape), dtype) for name, (dtype, shape) in description[kind].items()}
            for kind in ("inputs", "outputs")
        )
        self._weights = weights
        self._workspace = aligned_empty((max(1, description["workspace_bytes"]),), "bool")
        self._entry = entry
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path | str) -> CompiledNetwork:
        """Open a directory that `build` wrote.

        Raises: ValueError: it is not such a directory, or its files do not belong together.
        """
        directory = Path(directory)
        try:
            description = json.loads((directory / "network.json").read_text())
            if description["format"] != FORMAT:
                raise ValueError(
                    f"{directory} was written in format {description['format']}, this program reads {FORMAT}"
                )
            weights = _read_aligned(directory / "weights.bin")
            entry = _open(directory / "model.so", description["entry"])
            return cls(directory, description, weights, entry)
        except FileNotFoundError as error:
            missing = Path(error.filename or "a file").name
            raise ValueError(f"{directory} is not a compiled network: {missing} is missing") from None
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{directory} is not a compiled network that runs here: {error}") from None

    def save(self, directory: Path | str) -> None:
        """Copy the compiled network to another directory.  Raises: OutputError: it cannot be written."""
        with staged(Path(directory), last="network.json") as folder:
            for name in FILES:
                shutil.copyfile(self.directory / name, folder / name)

    def run(self, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs; inputs by name, in the declared shapes and dtypes.

        Raises: ValueError, TypeError: an input is missing, unknown, or not as declared.
        """
        bound = self.bind(inputs)
        with self._lock:
            bound()
        return bound.outputs

    def bind(self, feeds: Feeds) -> BoundInference:
        """One inference with its memory, to be called any number of times; for timing."""
        return BoundInference(self._entry, self._checked(feeds), self.outputs, self._weights, self._workspace)

    def time(self, feeds: Feeds | None = None, *, min_seconds: float = 0.05, repeats: int = 5) -> float:
        """Seconds per inference: the median of `repeats` groups of calls that last at least `min_seconds` each.

        feeds: inputs; by default ones.
        """
        if feeds is None:
            feeds = {name: np.ones(kept.shape, kept.dtype) for name, kept in self.inputs.items()}
        bound = self.bind(feeds)
        with self._lock:
            calls, elapsed = 1, bound.seconds(1)
            while elapsed < min_seconds:
                calls = max(2 * calls, int(1.1 * calls * min_seconds / max(elapsed, 1e-6)))
                elapsed = bound.seconds(calls)
            return statistics.median([elapsed, *(bound.seconds(calls) for _ in range(repeats - 1))]) / calls

    def _checked(self, feeds: Feeds) -> list[np.ndarray]:
        unknown = [name for name in feeds if name not in self.inputs]
        if unknown:
            raise ValueError(f"{self.name} has no input {unknown[0]!r}; it has {', '.join(self.inputs)}")
        arrays = []
        for name, kept in self.inputs.items():
            if name not in feeds:
                raise ValueError(f"{self.name} needs input {name!r}, {kept}")
            array = feeds[name]
            if not isinstance(array, np.ndarray):
                raise TypeError(f"input {name!r} must be a NumPy array, got {type(array).__name__}")
            if array.shape != kept.shape or str(array.dtype) != kept.dtype:
                found = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
                raise ValueError(f"input {name!r} must be {kept}, got {found}")
            copy = aligned_empty(kept.shape, kept.dtype)
            copy[...] = array
            arrays.append(copy)
        return arrays


class BoundInference:
    """One inference with fixed memory: calling it reads the bound inputs and fills `outputs`."""

    def __init__(
        self,
        entry: Callable[..., int],
        inputs: Sequence[np.ndarray],
        outputs: Mapping[str, TensorType],
        weights: np.ndarray,
        workspace: np.ndarray,
    ) -> None:
        self.outputs = {name: aligned_empty(kept.shape, kept.dtype) for name, kept in outputs.items()}
        self._entry = entry
        self._kept = (inputs, weights, workspace)  # C sees addresses only; these keep the memory alive
        self._inputs = _FFI.new("const void *[]", [_address(array) for array in inputs] or 1)
        self._outputs = _FFI.new("void *[]", [_address(array) for array in self.outputs.values()])
        self._weights, self._workspace = _address(weights), _address(workspace)

    def __call__(self) -> None:
        """Run the network once."""
        self._entry(self._inputs, self._outputs, self._weights, self._workspace)

    def seconds(self, calls: int) -> float:
        """Time of `calls` inferences one after the other."""
        start = time.perf_counter()
        for _ in range(calls):
            self()
        return time.perf_counter() - start


_FFI = cffi.FFI()


def _address(array: np.ndarray) -> Any:
    return _FFI.cast("void *", array.ctypes.data)


def _read_aligned(path: Path) -> np.ndarray:
    content = aligned_empty((path.stat().st_size,), "bool").view(np.uint8)
    with path.open("rb") as file:
        if file.readinto(content.data) != content.size:
            raise OSError(f"{path.name} became shorter while it was read")
    return content


def _open(library: Path, entry: str) -> Any:
    """The entry point of a library.

    It stays loaded, since OpenMP's threads would outlive their code, and the system's loader takes a name it has seen
    for a library it has loaded; so each is opened under a name of its own, lest an earlier network answer for it.
    """
    if not library.exists():
        raise FileNotFoundError(2, "missing", str(library))
    ffi = cffi.FFI()
    ffi.cdef(f"int {entry}(const void *const *, void *const *, const void *, void *);")
    with tempfile.TemporaryDirectory(prefix="mini-load-") as folder:
        name = Path(folder) / library.name
        name.symlink_to(library.resolve())
        opened = ffi.dlopen(str(name), ffi.RTLD_NOW | ffi.RTLD_LOCAL | getattr(ffi, "RTLD_NODELETE", 0))
    _keep_open.append(opened)
    try:
        return getattr(opened, entry)
    except AttributeError:
        raise OSError(f"{library.name} has no function {entry}") from None


_keep_open: list[object] = []
