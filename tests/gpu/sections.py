"""What the one command runs, in order: cheap and sure first, so that a short budget still gives the main figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from runtime.expr import Buffer
from runtime.gpu_detection import detect_gpu
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.measure_cuda import cuda_runner, measure_cuda
from runtime.runner import Runner
from tests.gpu import hand_written
from tests.gpu.hand_written import HandLaunch, HandModule
from tests.gpu.peers import Request, peer_seconds
from tests.gpu.report import Row, row_of
from tests.gpu.tensor_kernels import TensorKernel, tensor_kernels

PEER_TIMEOUT = 120.0


class Session:
    """What the sections share: the GPU, one child process, the deadline, and whether all this is a rehearsal."""

    def __init__(self, rehearsal: bool, deadline: float) -> None:
        self.rehearsal, self.deadline = rehearsal, deadline
        self.gpu = detect_gpu()
        self.runner: Runner = cuda_runner()

    @property
    def seconds_left(self) -> float:
        """Until the deadline; never less than a little, so that what was begun can end."""
        return max(5.0, self.deadline - time.monotonic())

    def measure(self, module: Any, case: MeasureCase, **timing: Any) -> MeasureResult:
        """Check and time one module or nest."""
        return measure_cuda([module], case, self.gpu, runner=self.runner, **timing)[0]

    def peers(self, requests: Sequence[Request]) -> dict[str, list[float] | str]:
        """What PyTorch takes for the same; nothing in a rehearsal."""
        return {} if self.rehearsal else peer_seconds(list(requests), min(PEER_TIMEOUT, self.seconds_left))

    def size(self, measured: int, rehearsed: int) -> int:
        """A size for a GPU, or one for the CPU that stands in."""
        return rehearsed if self.rehearsal else measured

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()


def with_peer(row: Row, peer: str, answers: dict[str, list[float] | str], name: str) -> Row:
    """The row beside its peer's time, or beside the reason why there is none."""
    answer = answers.get(name, "")
    row.peer = peer
    if isinstance(answer, str):
        row.facts["peer"] = answer
    else:
        row.peer_seconds = answer
    return row


def copies(session: Session) -> Iterator[Row]:
    """A copy far larger than the L2 cache: the bandwidth that memory-bound operators can have."""
    elements = session.size(1 << 26, 1 << 14)
    module = hand_written.copy(elements)
    result = session.measure(module, module.case)
    answers = session.peers([{"name": "copy", "kind": "copy", "elements": elements}])
    row = row_of("copy", f"copy of {4 * elements >> 10} KiB", result, nbytes=module.nbytes)
    yield with_peer(row, "torch", answers, "copy")


def hand_written_matmul(session: Session) -> Iterator[Row]:
    """Single precision by hand against cuBLAS: what the emitted programs aim at."""
    size = session.size(4096, 128)
    module = hand_written.matmul(size)
    answers = session.peers([{"name": "matmul", "kind": "matmul", "shape": [size] * 3}])
    result = session.measure(module, module.case, min_repeat_seconds=0.02)
    row = row_of("matmul by hand", f"float32 {size}", result, flops=module.flops)
    yield with_peer(row, "cuBLAS", answers, "matmul")


def tensor_cores(session: Session) -> Iterator[Row]:
    """Half precision by hand on Tensor Cores, WMMA and mma.sync, against cuBLAS."""
    size = session.size(4096, 256)
    request = {"name": "half", "kind": "matmul", "shape": [size] * 3, "dtype": "float16"}
    answers = session.peers([request])
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (size, size)).astype(np.float16) for _ in range(2))
    case = MeasureCase([a, b], [a.astype(np.float32) @ b.astype(np.float32)])
    kernels = tensor_kernels(size)
    for kernel in kernels[:2] if session.rehearsal else kernels:
        result = session.measure(_tensor_module(kernel, case), case, min_repeat_seconds=0.01)
        row = row_of("Tensor Cores by hand", f"{kernel.name} {size}", result, flops=float(kernel.flops))
        yield with_peer(row, "cuBLAS", answers, "half")


def _tensor_module(kernel: TensorKernel, case: MeasureCase) -> HandModule:
    """A kernel of `tensor_kernels` with its launch."""
    inputs = tuple(Buffer(name, (kernel.size, kernel.size), "float16") for name in "AB")
    outputs = (Buffer("C", (kernel.size, kernel.size)),)
    launch = HandLaunch(kernel.name, kernel.grid, kernel.block, ("A", "B", "C"), kernel.dynamic_bytes)
    return HandModule(kernel.name, kernel.text, (launch,), inputs, outputs, case)


SECTIONS: dict[str, Callable[[Session], Iterator[Row]]] = {
    "copy": copies,
    "matmul": hand_written_matmul,
    "tensor-cores": tensor_cores,
}
