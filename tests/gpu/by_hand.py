"""Sections of kernels written by hand: a copy, a matrix product, Tensor Cores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.expr import Buffer
from runtime.measure_case import MeasureCase
from tests.gpu import hand_written
from tests.gpu.hand_written import HandLaunch, HandModule
from tests.gpu.report import Row, row_of
from tests.gpu.session import Session, with_peer
from tests.gpu.tensor_kernels import TensorKernel, tensor_kernels


def copies(session: Session) -> Iterator[Row]:
    """A copy far larger than the L2 cache: the bandwidth that memory-bound operators can have; and a very small one.

    The small one is launched from graphs, on both sides, and shows what a kernel costs that does next to nothing.
    """
    sizes = {"copy": session.size(1 << 26, 1 << 14), "small copy": 1 << 12}
    answers = session.peers([{"name": name, "kind": "copy", "elements": size} for name, size in sizes.items()])
    for name, elements in sizes.items():
        module = hand_written.copy(elements)
        result = session.measure(module, module.case)
        row = row_of("copy", f"{name} of {4 * elements >> 10} KiB", result, nbytes=module.nbytes)
        if name == "copy" and row.seconds:
            session.copy_rate = module.nbytes / row.median
        yield with_peer(row, "torch", answers, name)


def matmuls(session: Session) -> Iterator[Row]:
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
