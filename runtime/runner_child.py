"""The isolated half of the runner: `python -m runtime.runner_child FD` answers requests on a pipe, one kernel each.

A kernel may loop for ever, write anywhere or exit; so it runs in this process and not in the one that searches. For
each request it

1. maps the case's inputs (read-only) and allocates outputs and workspace, poisoned, with a guard on both sides;
2. runs the kernel once and compares every output, and looks whether a guard was written to;
3. times it: calls are grouped until a group lasts long enough, then the groups are repeated; with cold caches, when
   asked for, each call is timed alone and other memory is written to before it;
4. compares again, for kernels that are right only at first.

The time-out is a timer of the operating system that ends this process, even when nobody listens any more.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from runtime.measure_case import MeasureCase, MeasureResult

GUARD, POISON, GUARD_BYTE = 4096, 0xFF, 0xA5
# Groups are not repeated any more after this many times the time that was asked for, but not before ENOUGH_SECONDS: a
# slow kernel needs fewer. A first call of SLOW_SECONDS is the only one.
ENOUGH, ENOUGH_SECONDS, SLOW_SECONDS = 10, 0.25, 1.0
DIGITS = 6  # significant ones of a time; a group of milliseconds against a clock of nanoseconds has no more


class GuardedMemory:
    """Bytes on a page of their own between two guards; poison reads as NaN in floats and as -1 in integers."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        # An anonymous mapping of its own: whatever runs past the guards tends to hit nothing, and is killed.
        self._bytes = np.frombuffer(mmap.mmap(-1, nbytes + 2 * GUARD), dtype=np.uint8)
        self._bytes[:] = GUARD_BYTE
        self.poison()

    def poison(self) -> None:
        """Make the contents recognisable as never written."""
        self.bytes[:] = POISON

    @property
    def bytes(self) -> np.ndarray:
        """The bytes between the guards."""
        return self._bytes[GUARD : GUARD + self.nbytes]

    @property
    def intact(self) -> bool:
        """Nothing was written outside."""
        outside = (self._bytes[:GUARD], self._bytes[GUARD + self.nbytes :])
        return all(bool((guard == GUARD_BYTE).all()) for guard in outside)


@lru_cache(maxsize=1)
def other_memory(nbytes: int) -> np.ndarray:
    """So many bytes that no kernel uses."""
    return np.zeros(-(-nbytes // 8), np.int64)


def sample(run: Callable[[int], float], first: float, min_seconds: float, repeats: int) -> list[float]:
    """Seconds per call: `repeats` groups of at least `min_seconds`, of which `run(n)` times one of n calls.

    `first` is how long the very first call took; a long one is the only sample.

    >>> sample(lambda calls: calls * 0.5, 0.75, 1.0, 3)
    [0.5, 0.5, 0.5]
    >>> sample(lambda calls: calls * 100.0, 100.0, 1.0, 3)
    [100.0]
    """
    enough = max(ENOUGH * repeats * min_seconds, ENOUGH_SECONDS)
    if first >= max(enough, SLOW_SECONDS):
        return [first]
    calls = 1
    elapsed = run(calls)
    while elapsed < min_seconds:
        calls = min(100 * calls, max(2 * calls, math.ceil(1.1 * calls * min_seconds / max(elapsed, 1e-9))))
        elapsed = run(calls)
    seconds, total = [elapsed / calls], elapsed
    while len(seconds) < repeats and total < enough:
        elapsed = run(calls)
        seconds.append(elapsed / calls)
        total += elapsed
    return seconds


def run_kernel(request: dict[str, Any], case: MeasureCase) -> MeasureResult:
    """Check and time one kernel; the request is what `runtime.runner.Runner.run` sends."""
    try:
        repeat = getattr(ctypes.CDLL(request["library"]), request["name"] + "_repeat")
    except (OSError, AttributeError) as error:
        return MeasureResult("compile_error", (), f"the library cannot be used: {error}")
    repeat.restype = None
    repeat.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_long]
    memories = [GuardedMemory(array.nbytes) for array in case.expected]
    outputs = [
        memory.bytes.view(array.dtype).reshape(array.shape)
        for memory, array in zip(memories, case.expected, strict=True)
    ]
    memories.append(GuardedMemory(request["workspace_bytes"]))
    addresses = [array.ctypes.data for array in case.inputs] + [memory.bytes.ctypes.data for memory in memories]
    arguments = (ctypes.c_void_p * len(addresses))(*addresses)

    def run(calls: int) -> float:
        start = time.perf_counter()
        repeat(arguments, calls)
        return time.perf_counter() - start

    def run_cold(calls: int) -> float:
        seconds = 0.0
        for _ in range(calls):
            other_memory(request["flush_bytes"])[:] += 1
            seconds += run(1)
        return seconds

    first = run(1)
    mistake = _mistake(case, outputs, memories)
    if mistake:
        return MeasureResult("wrong_answer", (), mistake)
    if request["flush_bytes"]:  # alone, since a group would cost as many floods of the caches as it has calls
        seconds = sample(run_cold, first, 0.0, request["repeats"])
    else:
        seconds = sample(run, first, request["min_repeat_seconds"], request["repeats"])
    mistake = _mistake(case, outputs, memories)
    if mistake:
        return MeasureResult("wrong_answer", (), f"right at first, but after more calls {mistake}")
    return MeasureResult("ok", tuple(float(f"{second:.{DIGITS}g}") for second in seconds))


def _mistake(case: MeasureCase, outputs: list[np.ndarray], memories: list[GuardedMemory]) -> str:
    mistake = case.mistake(outputs)
    if not mistake and not all(memory.intact for memory in memories):
        mistake = "it wrote outside its outputs or its workspace"
    return mistake


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes the pipe."""
    # Ctrl-C is the parent's business; the alarm must end this process whatever state the kernel left it in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder, case = "", None
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if request["case"] != folder:
            folder, case = request["case"], MeasureCase.load(Path(request["case"]))
        assert case is not None
        signal.setitimer(signal.ITIMER_REAL, request["run_timeout"])
        try:
            result = run_kernel(request, case)
        except (MemoryError, OSError, ValueError) as error:
            result = MeasureResult("crash", (), f"{type(error).__name__}: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(json.dumps([result.kind, result.seconds, result.reason]).encode())


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
