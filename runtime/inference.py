"""Calling the entry point of a compiled network on memory that is held meanwhile."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cffi
import numpy as np


class Inference:
    """The call into C with all its memory; calling it reads the inputs and fills the outputs."""

    def __init__(
        self,
        entry: Callable[..., int],
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        weights: np.ndarray,
        workspace: np.ndarray,
    ) -> None:
        self._entry = entry
        self._kept = (inputs, outputs, weights, workspace)  # C sees addresses only; these keep the memory alive
        self._inputs = _FFI.new("const void *[]", [_address(array) for array in inputs] or 1)
        self._outputs = _FFI.new("void *[]", [_address(array) for array in outputs])
        self._weights, self._workspace = _address(weights), _address(workspace)

    def __call__(self) -> None:
        """Run the network once."""
        self._entry(self._inputs, self._outputs, self._weights, self._workspace)

    def step_seconds(self, clocked: Callable[..., int], steps: int) -> np.ndarray:
        """Run the network once by its entry point with a clock; seconds of each step, float64 [steps]."""
        seconds = np.zeros(steps)
        times = _FFI.cast("double *", seconds.ctypes.data)
        clocked(self._inputs, self._outputs, self._weights, self._workspace, times)
        return seconds

    def seconds(self, calls: int) -> float:
        """Time of `calls` inferences one after the other."""
        start = time.perf_counter()
        for _ in range(calls):
            self()
        return time.perf_counter() - start


class BoundInference(Inference):
    """An inference whose results are found under their names in `outputs`, overwritten by each call."""

    def __init__(
        self,
        entry: Callable[..., int],
        inputs: Sequence[np.ndarray],
        outputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        workspace: np.ndarray,
    ) -> None:
        super().__init__(entry, inputs, list(outputs.values()), weights, workspace)
        self.outputs = dict(outputs)


_FFI = cffi.FFI()


def _address(array: np.ndarray) -> Any:
    return _FFI.cast("void *", array.ctypes.data)


_ARGUMENTS = "const void *const *, void *const *, const void *, void *"


def open_library(library: Path, entry: str) -> tuple[Any, Any]:
    """The entry point of a library, and the one with a clock.

    It stays loaded, since OpenMP's threads would outlive their code, and the system's loader takes a name it has seen
    for a library it has loaded; so each is opened under a name of its own, lest an earlier network answer for it.
    """
    if not library.exists():
        raise FileNotFoundError(2, "missing", str(library))
    ffi = cffi.FFI()
    clocked = f"{entry.removesuffix('_run')}_profile"
    ffi.cdef(f"int {entry}({_ARGUMENTS}); int {clocked}({_ARGUMENTS}, double *);")
    with tempfile.TemporaryDirectory(prefix="mini-load-") as folder:
        name = Path(folder) / library.name
        name.symlink_to(library.resolve())
        opened = ffi.dlopen(str(name), ffi.RTLD_NOW | ffi.RTLD_LOCAL | getattr(ffi, "RTLD_NODELETE", 0))
    _keep_open.append(opened)
    try:
        return getattr(opened, entry), getattr(opened, clocked)
    except AttributeError as error:
        raise OSError(f"{library.name} lacks a function: {error}") from None


_keep_open: list[object] = []
