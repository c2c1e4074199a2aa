"""The isolated half of a CUDA measurement: `python -m runtime.cuda_child FD` answers requests on a pipe.

Like `runtime.runner_child`, for a GPU. For each request (made by `runtime.measure_cuda`) it

1. keeps the case's inputs on the device, and allocates outputs and workspace, poisoned, with a guard on both sides;
2. launches the program once and compares every output, and looks whether a guard or an input was written to;
3. times it (`runtime.cuda_timing.sample`), and compares again.

After an error of the driver the context cannot be used any more, so the answer says that this process is spent. The
time-out is a timer of the operating system that ends the process; the driver then ends what still runs on the device.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cuda_driver import OUT_OF_MEMORY, Device
from runtime.cuda_graph import Call, in_order
from runtime.cuda_library import CudaError, NoGpu
from runtime.cuda_timing import sample
from runtime.machine import size_text
from runtime.measure_case import MeasureCase, MeasureResult

GUARD, POISON, GUARD_BYTE = 4096, 0xFF, 0xA5
FLUSH = 2  # times the L2 cache that is written to before a call with a cold cache
DIGITS = 6


class GuardedBuffer:
    """Device memory between two guards; poison reads as NaN in floats and as -1 in integers."""

    def __init__(self, device: Device, nbytes: int) -> None:
        self.device, self.nbytes = device, nbytes
        self._whole = device.allocate(nbytes + 2 * GUARD)
        self.address = self._whole + GUARD
        device.fill(self._whole, GUARD_BYTE, GUARD)
        device.fill(self.address + nbytes, GUARD_BYTE, GUARD)
        self.poison()

    def poison(self) -> None:
        """Make the contents recognisable as never written."""
        self.device.fill(self.address, POISON, self.nbytes)

    @property
    def intact(self) -> bool:
        """Nothing was written outside."""
        guard = np.empty(GUARD, np.uint8)
        for start in (self._whole, self.address + self.nbytes):
            self.device.download(start, guard)
            if not (guard == GUARD_BYTE).all():
                return False
        return True

    def free(self) -> None:
        """Give the memory back."""
        self.device.free(self._whole)


def _same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two C-contiguous arrays hold the same bits, NaNs included."""
    return bool((a.reshape(-1).view(np.uint8) == b.reshape(-1).view(np.uint8)).all())


class LoadedCase:
    """A case with its inputs on the device."""

    def __init__(self, device: Device, folder: str) -> None:
        self.device, self.folder = device, folder
        self.case = MeasureCase.load(Path(folder))
        self.inputs = [GuardedBuffer(device, array.nbytes) for array in self.case.inputs]
        self.upload()

    def upload(self) -> None:
        """Copy the inputs."""
        for buffer, array in zip(self.inputs, self.case.inputs, strict=True):
            self.device.upload(buffer.address, array)

    def changed_input(self) -> str:
        """What a program did to the inputs, in words; they are as they were afterwards."""
        for number, (buffer, array) in enumerate(zip(self.inputs, self.case.inputs, strict=True)):
            now = np.empty_like(array)
            self.device.download(buffer.address, now)
            if not buffer.intact:
                return f"it wrote outside its input {number}"
            if not _same_bytes(now, array):
                self.upload()
                return f"it wrote to its input {number}"
        return ""

    def free(self) -> None:
        """Give the device's memory back."""
        for buffer in self.inputs:
            buffer.free()


class Program:
    """One loaded program with its memory; a context manager."""

    def __init__(self, device: Device, loaded: LoadedCase, request: Mapping[str, Any]) -> None:
        self.device, self.loaded = device, loaded
        self.module = device.load(Path(request["image"]))
        self.buffers: dict[str, GuardedBuffer] = dict(zip(request["inputs"], loaded.inputs, strict=True))
        self.outputs = {
            name: GuardedBuffer(device, array.nbytes)
            for name, array in zip(request["outputs"], loaded.case.expected, strict=True)
        }
        self.workspace = {name: GuardedBuffer(device, nbytes) for name, nbytes in request["workspace"]}
        self.buffers |= self.outputs | self.workspace
        self.call = in_order([self._prepare(launch) for launch in request["launches"]])

    def _prepare(self, launch: Mapping[str, Any]) -> Call:
        arguments = [self.buffers[name].address for name in launch["arguments"]]
        function = self.module.function(launch["kernel"])
        return function.prepare(_dimensions(launch["grid"]), _dimensions(launch["block"]), arguments, launch["shared"])

    def mistake(self) -> str:
        """What the program did wrong so far, in words; empty when nothing."""
        self.device.synchronize()
        actual = [np.empty_like(array) for array in self.loaded.case.expected]
        for buffer, array in zip(self.outputs.values(), actual, strict=True):
            self.device.download(buffer.address, array)
        mistake = self.loaded.case.mistake(actual)
        written = [name for name, buffer in {**self.outputs, **self.workspace}.items() if not buffer.intact]
        if not mistake and written:
            mistake = f"it wrote outside its buffer `{written[0]}`"
        return mistake or self.loaded.changed_input()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, CudaError):
            return  # nothing can be given back in a poisoned context; the process ends
        for buffer in (*self.outputs.values(), *self.workspace.values()):
            buffer.free()
        self.module.unload()


def _dimensions(size: int | Sequence[int]) -> int | tuple[int, ...]:
    return size if isinstance(size, int) else tuple(size)


def run_program(device: Device, loaded: LoadedCase, request: Mapping[str, Any]) -> MeasureResult:
    """Check and time one program."""
    with Program(device, loaded, request) as program:
        program.call()
        mistake = program.mistake()
        if mistake:
            return MeasureResult("wrong_answer", (), mistake)
        flush = _flush(device) if request["cold_caches"] else None
        seconds = sample(
            device,
            program.call,
            min_seconds=request["min_repeat_seconds"],
            repeats=request["repeats"],
            flush=flush,
            graphs=request["graphs"],
        )
        mistake = program.mistake()
        if mistake:
            return MeasureResult("wrong_answer", (), f"right at first, but after more calls {mistake}")
        return MeasureResult("ok", tuple(float(f"{second:.{DIGITS}g}") for second in seconds))


_flushed: dict[int, int] = {}


def _flush(device: Device) -> Call:
    """Something that writes over the L2 cache."""
    nbytes = FLUSH * device.attributes["l2_bytes"]
    address = _flushed.setdefault(nbytes, 0) or _flushed.update({nbytes: device.allocate(nbytes)}) or _flushed[nbytes]
    return lambda: device.fill(address, 0, nbytes)


def answer(device: Device, loaded: LoadedCase, request: Mapping[str, Any]) -> tuple[MeasureResult, bool]:
    """A request's result, and whether this process is spent."""
    try:
        return run_program(device, loaded, request), False
    except CudaError as error:
        return MeasureResult("crash", (), explain(device, error)), True
    except (MemoryError, OSError, ValueError) as error:
        return MeasureResult("crash", (), f"{type(error).__name__}: {error}"), True


def explain(device: Device, error: CudaError) -> str:
    """An error of the driver in words."""
    if error.code != OUT_OF_MEMORY:
        return str(error)
    free, total = device.memory
    return f"out of GPU memory: {size_text(free)} of {size_text(total)} are free, and the program needs more"


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes the pipe or the context is spent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    device: Device | None = None
    loaded: LoadedCase | None = None
    spent = False
    while not spent:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            device = device or Device(request["ordinal"])
            if loaded is None or loaded.folder != request["case"]:
                if loaded is not None:
                    loaded.free()
                loaded = LoadedCase(device, request["case"])
        except (NoGpu, CudaError) as error:
            text = explain(device, error) if device and isinstance(error, CudaError) else str(error)
            result, spent = MeasureResult("crash", (), text), True
        else:
            signal.setitimer(signal.ITIMER_REAL, request["run_timeout"])
            result, spent = answer(device, loaded, request)
            signal.setitimer(signal.ITIMER_REAL, 0)
        reply = [result.kind, result.seconds, result.reason, *(["spent"] if spent else [])]
        connection.send_bytes(json.dumps(reply).encode())


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
