"""Seconds per call of work on a GPU's stream, from the GPU's own clock.

A call is a few launches. Calls are put between two events in groups that last long enough for the clock, as on a CPU
(`runtime.runner_child.sample`). A group of short calls is captured into a graph, since a launch from Python takes as
long as a small kernel runs. With a cold cache every call is timed alone, after the L2 cache was written over.
"""

from __future__ import annotations

import math
import statistics

from runtime.cuda_driver import Device
from runtime.cuda_graph import Call, Graph

WARM_UPS = 3
# Calls shorter than this are launched from a graph of at most so many calls.
GRAPH_SECONDS, GRAPH_CALLS = 50e-6, 64
ENOUGH, SLOW_SECONDS = 10, 0.5


class Clock:
    """Two events on a device's stream."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._start, self._end = (device.driver.number("cuEventCreate", "CUevent", 0) for _ in range(2))

    def seconds(self, call: Call, times: int = 1) -> float:
        """How long the GPU works on so many calls.  Raises: CudaError: a kernel did something wrong."""
        driver, stream = self.device.driver, self.device.stream
        driver.call("cuEventRecord", self._start, stream)
        for _ in range(times):
            call()
        driver.call("cuEventRecord", self._end, stream)
        driver.call("cuEventSynchronize", self._end)
        return float(driver.number("cuEventElapsedTime", "float", self._start, self._end)) * 1e-3

    def close(self) -> None:
        """Give the events back."""
        for event in (self._start, self._end):
            self.device.driver.call("cuEventDestroy_v2", event)


def sample(
    device: Device,
    call: Call,
    *,
    min_seconds: float = 0.002,
    repeats: int = 10,
    flush: Call | None = None,
    graphs: bool = True,
) -> list[float]:
    """Seconds per call in each of `repeats` groups of at least `min_seconds`.

    A call of half a second and more is timed once. `flush` is put on the stream before every call, which is then timed
    alone. Without `graphs` every call is launched by itself.
    """
    clock = Clock(device)
    try:
        first = clock.seconds(call)
        if first >= SLOW_SECONDS:
            return [first]
        once = statistics.median(clock.seconds(call) for _ in range(WARM_UPS))
        if flush is not None:
            return _cold(clock, call, flush, repeats)
        if graphs and once < GRAPH_SECONDS:
            calls = min(GRAPH_CALLS, max(1, math.ceil(min_seconds / max(once, 1e-7))))
            with Graph(device, call, calls) as graph:
                return [seconds / calls for seconds in _groups(clock, graph, min_seconds, repeats)]
        return _groups(clock, call, min_seconds, repeats)
    finally:
        clock.close()


def _cold(clock: Clock, call: Call, flush: Call, repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        flush()
        seconds.append(clock.seconds(call))
    return seconds


def _groups(clock: Clock, call: Call, min_seconds: float, repeats: int) -> list[float]:
    """Seconds per call in groups; the first groups, which find how many calls make one, are not counted."""
    calls, elapsed = 1, clock.seconds(call)
    while elapsed < min_seconds:
        calls = min(100 * calls, max(2 * calls, math.ceil(1.1 * calls * min_seconds / max(elapsed, 1e-7))))
        elapsed = clock.seconds(call, calls)
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) * calls < ENOUGH * repeats * max(min_seconds, 1e-3):
        seconds.append(clock.seconds(call, calls) / calls)
    return seconds
