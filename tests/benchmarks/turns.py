"""Libraries that run in turns, each in a process of its own, and the rounds of turns that count.

`operator_worker` and `network_worker` are what the processes run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
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
CALM = 0.93  # of the multiply-add limit: with less, something else uses the cores


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
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return dict(json.loads(self.process.stdout.readline()))
        except (OSError, ValueError):
            status = self.process.wait()
            raise ValueError(f"the process of {self.library} ended with status {status}") from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def calm_medians(
    machine: Worker, rounds: int, take_turns: Callable[[int], Mapping[str, float]], limit: float = 0.0
) -> dict[str, float]:
    """Medians over rounds in which the machine gave what it can.

    On a shared machine a core may run at half its speed for a second, and a kernel that waits for memory is held up
    less than one at the limit of the multiply-adds. So these are counted before and after each round; a round with less
    than `CALM` of the limit, or of the most that was seen, is taken again, at most twice as many in all. The calmest
    count.
    machine: our process. take_turns: seconds of every program, given the number of the round. limit: GFLOP/s.
    """
    taken: list[tuple[float, Mapping[str, float]]] = []
    before = machine.ask(now=True)["gflops"]
    while len(taken) < 3 * rounds and sum(gflops >= CALM * limit for gflops, _ in taken) < rounds:
        seconds = take_turns(len(taken))
        after = machine.ask(now=True)["gflops"]
        taken.append((min(before, after), seconds))
        limit, before = max(limit, before, after), after
    calmest = sorted(taken, key=lambda one: -min(one[0], CALM * limit))[:rounds]
    return {name: statistics.median(seconds[name] for _, seconds in calmest) for name in calmest[0][1]}
