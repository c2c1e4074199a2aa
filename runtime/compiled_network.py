"""A compiled network that runs: `y = network(x)`, or `network.run(x=x)["y"]`; one inference is one call into C.

It is opened from a directory that `runtime.executor.build` wrote, and can be saved to another, pickled, or written as a
stand-alone C program. Threads may call one network at the same time: the code keeps nothing between calls, and each
call takes a workspace of its own from a pool.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runtime.array_arguments import inputs_of, outputs_of, ready_to_read, ready_to_write
from runtime.compile_c import aligned_empty
from runtime.graph import TensorType
from runtime.huge_pages import ask_for_huge_pages
from runtime.inference import BoundInference, Inference, open_library
from runtime.machine import instruction_sets
from runtime.scratch import ScratchFolder
from runtime.staging import staged
from runtime.standalone_c import write_program

FORMAT = 3
FILES = ("model.c", "model.so", "weights.bin", "network.json")

Feeds = Mapping[str, Any]


class Lap(NamedTuple):
    """One step of an inference: the kernel's name (`copy` without one), what it computes from what, its seconds."""

    kernel: str
    text: str
    seconds: float


class CompiledNetwork:
    """A network that is ready to run; made by `build` or `load`.

    inputs, outputs: types by name, in the order of the arguments. temporary: its directory goes when the object
    goes.
    """

    def __init__(
        self,
        directory: Path,
        description: Mapping[str, Any],
        weights: np.ndarray,
        entry: Any,
        clocked: Any,
        folder: ScratchFolder | None = None,
    ) -> None:
        self.directory = directory
        self.description = description
        self.name: str = description["name"]
        self.threads: int = description["threads"]
        self.inputs, self.outputs = (
            {name: TensorType(tuple(shape), dtype) for name, (dtype, shape) in description[kind].items()}
            for kind in ("inputs", "outputs")
        )
        self.temporary = folder is not None
        if folder is not None:
            weakref.finalize(self, folder.remove)
        self.weights_bytes = int(weights.size)
        self._weights = weights
        self._entry, self._clocked = entry, clocked
        self._workspaces: deque[np.ndarray] = deque()

    def __repr__(self) -> str:
        sides = (", ".join(f"{name}: {kind}" for name, kind in kinds.items()) for kinds in (self.inputs, self.outputs))
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"<CompiledNetwork {self.name}({next(sides)}) -> {next(sides)}, {threads}>"

    @classmethod
    def load(cls, directory: Path | str) -> CompiledNetwork:
        """Open a directory that `build` wrote.

        Raises: ValueError: it is not such a directory, its files do not belong together, or they need another machine.
        """
        return cls._open(Path(directory), None)

    @classmethod
    def adopt(cls, folder: ScratchFolder) -> CompiledNetwork:
        """Open a network in a scratch folder that is to go when the network goes.  Raises: as `load`."""
        return cls._open(folder.path, folder)

    @classmethod
    def _open(cls, directory: Path, folder: ScratchFolder | None) -> CompiledNetwork:
        try:
            description = json.loads((directory / "network.json").read_text())
            if description["format"] != FORMAT:
                raise ValueError(
                    f"{directory} was written in format {description['format']}, this program reads {FORMAT}"
                )
            lacking = sorted(set(description["instruction_sets"]) - set(instruction_sets()))
            if lacking and instruction_sets():
                raise ValueError(
                    f"{directory} was compiled for a processor with {', '.join(lacking)}, which this one lacks;"
                    " compile the model again here"
                )
            weights = _read_aligned(directory / "weights.bin")
            entry, clocked = open_library(directory / "model.so", description["entry"])
            return cls(directory, description, weights, entry, clocked, folder)
        except FileNotFoundError as error:
            missing = Path(error.filename or "a file").name
            raise ValueError(f"{directory} is not a compiled network: {missing} is missing") from None
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{directory} is not a compiled network that runs here: {error}") from None

    def save(self, directory: Path | str) -> None:
        """Copy the compiled network to another directory.

        Raises: OutputError: it cannot be written.  ValueError: another network was built over this one.
        """
        source = self._source()
        with staged(Path(directory), last="network.json") as folder:
            for name in FILES:
                shutil.copyfile(source / name, folder / name)

    def emit_c(self, directory: Path | str) -> None:
        """Write the network as a C program that needs nothing else.  Raises: as `save`."""
        write_program(self._source(), self.description, Path(directory))

    def _source(self) -> Path:
        """The directory, while its files are still this network's."""
        path = self.directory / "network.json"
        if not path.exists() or json.loads(path.read_text()) != self.description:
            raise ValueError(f"{self.directory} does not hold {self.name} any more; save a network before that")
        return self.directory

    def __reduce__(self) -> tuple[Callable[..., CompiledNetwork], tuple[dict[str, bytes]]]:
        source = self._source()
        return _unpickled, ({name: (source / name).read_bytes() for name in FILES},)

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        """Compute the outputs from inputs in declared order or by name.

        Inputs are read where they are when they are C-contiguous and start on a 64-byte boundary, else from a copy.
        out: what to fill: an array, or a sequence of them for several outputs; None makes new ones.
        Returns: the output array, a tuple of several, or `out`.
        Raises: ValueError, TypeError: an array is missing, or not as declared; an `out` is read-only or not contiguous.
        """
        if len(arrays) > len(self.inputs):
            names = ", ".join(self.inputs) or "none"
            raise TypeError(f"{self.name} takes {len(self.inputs)} inputs ({names}), got {len(arrays)}")
        feeds = dict(zip(self.inputs, arrays))
        for name, array in named.items():
            if name in feeds:
                raise TypeError(f"input {name!r} is given by position and by name")
            feeds[name] = array
        targets = [out] if len(self.outputs) == 1 and not isinstance(out, (list, tuple)) else out
        if targets is None:
            targets = [None] * len(self.outputs)
        if not isinstance(targets, (list, tuple)) or len(targets) != len(self.outputs):
            raise ValueError(f"out must be a sequence of {len(self.outputs)} arrays, for {', '.join(self.outputs)}")
        results = self._infer(feeds, targets)
        if out is not None:
            return out
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, /, **inputs: Any) -> dict[str, np.ndarray]:
        """Compute the outputs; inputs and outputs by name.  Raises: as a call."""
        return dict(zip(self.outputs, self._infer(inputs, [None] * len(self.outputs))))

    def _infer(self, feeds: Feeds, targets: Sequence[object]) -> list[np.ndarray]:
        arrays = inputs_of(self.name, self.inputs, feeds)
        results = outputs_of(self.outputs, targets)
        written = [ready_to_write(array) for array in results]
        read = [ready_to_read(array, written) for array in arrays]
        with self._workspace() as workspace:
            Inference(self._entry, read, written, self._weights, workspace)()
        for result, array in zip(results, written):
            if result is not array:
                result[...] = array
        return results

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[np.ndarray]:
        """A workspace that nobody else uses for the moment; there come to be as many as calls at one time."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = self._new_workspace()
        try:
            yield workspace
        finally:
            self._workspaces.append(workspace)

    def _new_workspace(self) -> np.ndarray:
        workspace = aligned_empty((max(1, self.description["workspace_bytes"]),), "bool")
        ask_for_huge_pages(workspace)
        return workspace

    def bind(self, feeds: Feeds) -> BoundInference:
        """One inference on copies of these inputs, with memory of its own, to be called any number of times."""
        read = []
        for array in inputs_of(self.name, self.inputs, feeds):
            read.append(aligned_empty(array.shape, str(array.dtype)))
            read[-1][...] = array
        outputs = dict(zip(self.outputs, outputs_of(self.outputs, [None] * len(self.outputs))))
        return BoundInference(self._entry, read, outputs, self._weights, self._new_workspace())

    def time(self, feeds: Feeds | None = None, *, min_seconds: float = 0.05, repeats: int = 5) -> float:
        """Seconds per inference: the median of `repeats` groups of calls that last at least `min_seconds` each.

        feeds: inputs; by default ones.
        """
        bound = self.bind(self._ones() if feeds is None else feeds)
        calls, elapsed = 1, bound.seconds(1)
        while elapsed < min_seconds:
            calls = max(2 * calls, int(1.1 * calls * min_seconds / max(elapsed, 1e-6)))
            elapsed = bound.seconds(calls)
        return statistics.median([elapsed, *(bound.seconds(calls) for _ in range(repeats - 1))]) / calls

    def profile(self, feeds: Feeds | None = None, *, rounds: int = 20) -> list[Lap]:
        """What each step of an inference takes where it stands: with the caches as the steps before leave them.

        feeds: inputs; by default ones. rounds: inferences, of which each step has the median.
        Returns: the steps in order; their seconds add up to about the time of one inference.
        """
        bound = self.bind(self._ones() if feeds is None else feeds)
        steps = self.description["steps"]
        bound()
        seconds = np.median([bound.step_seconds(self._clocked, len(steps)) for _ in range(max(1, rounds))], axis=0)
        return [Lap(kernel, text, lap) for (kernel, text), lap in zip(steps, seconds.tolist())]

    def _ones(self) -> dict[str, np.ndarray]:
        return {name: np.ones(kept.shape, kept.dtype) for name, kept in self.inputs.items()}


def _unpickled(files: Mapping[str, bytes]) -> CompiledNetwork:
    folder = ScratchFolder("model")
    try:
        for name in FILES:
            (folder.path / name).write_bytes(files[name])
        return CompiledNetwork.adopt(folder)
    except BaseException:
        folder.remove()
        raise


def _read_aligned(path: Path) -> np.ndarray:
    content = aligned_empty((path.stat().st_size,), "bool").view(np.uint8)
    with path.open("rb") as file:
        if file.readinto(content.data) != content.size:
            raise OSError(f"{path.name} became shorter while it was read")
    ask_for_huge_pages(content)
    return content
