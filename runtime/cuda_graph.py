"""Launches recorded once and put on the stream as one: a launch from Python takes as long as a small kernel runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.cuda_driver import Device

THREAD_LOCAL = 1  # capture mode: other threads of the process may use the driver meanwhile

Call = Callable[[], None]


def in_order(launches: Sequence[Call]) -> Call:
    """One call that puts several launches on the stream."""

    def call() -> None:
        for launch in launches:
            launch()

    return call


class Graph:
    """A call recorded so many times, launched as one; a context manager."""

    def __init__(self, device: Device, call: Call, times: int) -> None:
        """Raises: CudaError: the call cannot be recorded."""
        self.device, self.times = device, times
        driver = device.driver
        driver.call("cuStreamBeginCapture_v2", device.stream, THREAD_LOCAL)
        try:
            for _ in range(times):
                call()
        finally:
            recorded = driver.ffi.new("CUgraph *")
            driver.call("cuStreamEndCapture", device.stream, recorded)
        self._graph = recorded[0]
        self._launchable = driver.number("cuGraphInstantiateWithFlags", "CUgraphExec", self._graph, 0)
        self._launch, self._check = driver.library.cuGraphLaunch, driver.check

    def __call__(self) -> None:
        """Launch it."""
        code = self._launch(self._launchable, self.device.stream)
        if code:
            self._check(code, "cuGraphLaunch")

    def close(self) -> None:
        """Forget the recording."""
        self.device.driver.call("cuGraphExecDestroy", self._launchable)
        self.device.driver.call("cuGraphDestroy", self._graph)

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
