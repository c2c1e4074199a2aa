"""What the sections of the one command share."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from runtime.cuda_builders import default_builder
from runtime.gpu_detection import detect_gpu
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.measure_cuda import cuda_runner, measure_cuda
from runtime.runner import Runner
from tests.gpu.peers import Request, peer_seconds
from tests.gpu.report import Row

PEER_TIMEOUT, RUN_TIMEOUT = 120.0, 30.0
Answers = dict[str, "list[float] | str"]


class Session:
    """The GPU, one child process, the deadline, and whether all this is a rehearsal."""

    def __init__(self, rehearsal: bool, deadline: float) -> None:
        self.rehearsal, self.deadline = rehearsal, deadline
        self.gpu = detect_gpu()
        self.builder = default_builder()
        self.runner: Runner = cuda_runner()
        self._answers: Answers = {}
        self.scatter: dict[str, list[tuple[float, float]]] = {}  # predicted and measured seconds, by workload
        self.copy_rate = 0.0  # bytes per second, once that is known

    @property
    def seconds_left(self) -> float:
        """Until the deadline; never less than a little, so that what was begun can end."""
        return max(5.0, self.deadline - time.monotonic())

    def measure(self, module: Any, case: MeasureCase, **timing: Any) -> MeasureResult:
        """Check and time one module or nest."""
        timing = {"run_timeout": RUN_TIMEOUT, **timing}
        return measure_cuda([module], case, self.gpu, builder=self.builder, runner=self.runner, **timing)[0]

    def peers(self, requests: Sequence[Request]) -> Answers:
        """What PyTorch takes for the same; nothing in a rehearsal. What was asked before is not timed again."""
        if self.rehearsal:
            return {}
        keys = {request["name"]: json.dumps(request | {"name": ""}, sort_keys=True) for request in requests}
        new = [request for request in requests if keys[request["name"]] not in self._answers]
        if new:
            answers = peer_seconds(new, min(PEER_TIMEOUT, self.seconds_left))
            self._answers |= {keys[name]: answer for name, answer in answers.items() if name in keys}
        return {name: self._answers[key] for name, key in keys.items()}

    def size(self, measured: int, rehearsed: int) -> int:
        """A size for a GPU, or one for the CPU that stands in."""
        return rehearsed if self.rehearsal else measured

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()


def with_peer(row: Row, peer: str, answers: Answers, name: str) -> Row:
    """The row beside its peer's time, or beside the reason why there is none."""
    answer = answers.get(name, "")
    row.peer = peer
    if isinstance(answer, str):
        row.facts["peer"] = answer
    else:
        row.peer_seconds = answer
    return row
