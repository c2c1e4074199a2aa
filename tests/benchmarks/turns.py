"""Libraries that run in turns, each in a process of its own, and the rounds of turns that count.

`operator_worker` and `network_worker` are what the processes run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.operator_worker import OURS

# Nothing in the environment may hold a peer back.
HINDRANCES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# Of OpenMP, which our kernels and PyTorch use: a core for each thread. Threads that are free to move often begin on one
# core, where a product that takes a tenth of a millisecond takes eight.
BINDING = {"OMP_PROC_BIND": "true"}
# Seconds after a turn until the library's pool of threads sleeps: ONNX Runtime's spins for about 50 ms. And seconds
# before a time is taken, until threads are awake.
SETTLE = {OURS: 0.02, "numpy": 0.02, "torch": 0.02, "onnxruntime": 0.06}
SPREAD = 0.01


class Worker:
    """A library's process."""

    def __init__(
        self, library: str, threads: int, module: str = "operator_worker", arguments: Sequence[str] = ()
    ) -> None:
        """Start it: a module of this folder that is given the library, the threads and what else it wants."""
        environment = {name: value for name, value in os.environ.items() if name not in HINDRANCES}
        environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment |= BINDING if threads > 1 else {}
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", library, str(threads), *arguments]
        self.library = library
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.  Raises: ValueError: the process has ended."""
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        """Send a request; `receive` waits for its answer, and others may work meanwhile.  Raises: as `ask`."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def receive(self) -> dict[str, Any]:
        """The answer to the first request that has none yet.  Raises: as `ask`."""
        assert self.process.stdout is not None
        try:
            return dict(json.loads(self.process.stdout.readline()))
        except (OSError, ValueError):
            raise self._ended() from None

    def _ended(self) -> ValueError:
        return ValueError(f"the process of {self.library} ended with status {self.process.wait()}")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def calm_medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians of the seconds of all programs over the calmer half of some rounds.

    On a shared machine a core may be slow for seconds at a time, and its caches small, because of what others do there;
    a kernel at its core's limit loses more than one that wastes it anyway. A round is calm when all programs together,
    in the geometric mean, take little.

    >>> calm_medians([{"ours": 4.0, "theirs": 8.0}, {"ours": 3.0, "theirs": 7.0}])
    {'ours': 3.0, 'theirs': 7.0}
    """
    calmest = sorted(rounds, key=lambda seconds: statistics.geometric_mean(seconds.values()))
    calmest = calmest[: max(1, len(rounds) // 2)]
    return {name: statistics.median(seconds[name] for seconds in calmest) for name in rounds[0]}


def ask_all(workers: Sequence[Worker], **request: Any) -> list[dict[str, Any]]:
    """Their answers to the same request, on which they work side by side."""
    for worker in workers:
        worker.send(**request)
    return [worker.receive() for worker in workers]


def on_all_cores(workers: Sequence[Worker]) -> None:
    """Let programs run where they like."""
    if hasattr(os, "sched_getaffinity"):
        ask_all(workers, cores=sorted(os.sched_getaffinity(0)))


def on_one_core(workers: Sequence[Worker], number: int) -> None:
    """Let programs with one thread run where all the others do, on each core in turn: cores may differ."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores:
        ask_all(workers, cores=[cores[number % len(cores)]])
