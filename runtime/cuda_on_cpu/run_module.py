"""Runs the kernels of an emitted module on the CPU, one launch after the other, as a GPU would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from runtime.cuda_on_cpu.kernels import compile_on_cpu, unwritten
from runtime.cuda_on_cpu.reports import Report
from runtime.expr import Buffer
from runtime.narrow_floats import storage

STATIC_SHARED = 49152  # bytes that a kernel may declare; where it needs more, all are given at the launch
Inputs = Union[Mapping[str, np.ndarray], Sequence[np.ndarray]]


def run_on_cpu(
    module: Any, inputs: Inputs, *, checks: bool = True, time_limit: float | None = None
) -> tuple[tuple[np.ndarray, ...], tuple[Report, ...]]:
    """Run a `CudaModule` on arrays; its outputs, and what the checks found in all launches.

    Args: inputs: arrays in the module's order, or by name. time_limit: seconds for each launch, in a child process.
    Raises: ValueError: an input is missing or does not fit.
    """
    kernels = compile_on_cpu(module.text, checks=checks)
    arrays = _given(module.inputs, inputs)
    made = {buffer.name: _poisoned(buffer) for buffer in (*module.outputs, *module.workspace)}
    marks = {name: unwritten(array) for name, array in made.items()}
    arrays |= made
    reports: list[Report] = []
    for launch in module.launches:
        written = {number: marks[name] for number, name in enumerate(launch.arguments) if name in marks}
        reports += kernels.launch(
            launch.kernel,
            launch.grid,
            launch.block,
            [arrays[name] for name in launch.arguments],
            time_limit=time_limit,
            written=written,
            shared_bytes=launch.shared_bytes if launch.shared_bytes > STATIC_SHARED else 0,
        )
    return tuple(arrays[buffer.name] for buffer in module.outputs), tuple(reports)


def _given(buffers: Sequence[Buffer], inputs: Inputs) -> dict[str, np.ndarray]:
    named = dict(inputs) if isinstance(inputs, Mapping) else dict(zip((buffer.name for buffer in buffers), inputs))
    if len(inputs) != len(buffers) or set(named) != {buffer.name for buffer in buffers}:
        wanted = ", ".join(buffer.name for buffer in buffers)
        raise ValueError(f"inputs must be the arrays {wanted}, got {len(inputs)}: {', '.join(named)}")
    for buffer in buffers:
        if named[buffer.name].shape != buffer.shape:
            raise ValueError(f"`{buffer.name}` must have shape {buffer.shape}, got {named[buffer.name].shape}")
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def _poisoned(buffer: Buffer) -> np.ndarray:
    """An array that reads as NaN, or as -1, until it is written."""
    array = np.empty(buffer.shape, storage(buffer.dtype))
    array.reshape(-1).view(np.uint8).fill(0xFF)
    return array
