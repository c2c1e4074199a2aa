"""Each kernel's launch, its arguments, and what NumPy says the arrays must hold afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cuda_on_cpu import CpuKernels, Report, compile_on_cpu
from runtime.cuda_on_cpu.kernels import unwritten

FOLDER = Path(__file__).parent
Launch = tuple[Any, Any, int]  # grid, block, bytes of dynamic shared memory


@dataclass(frozen=True)
class KernelCase:
    """A kernel to be run.

    make: from a generator to the arguments. expected: from the arguments before to {number: array afterwards}.
    fresh: numbers of arguments that are unwritten before the launch.
    """

    name: str
    launch: Launch
    make: Callable[[np.random.Generator], list[Any]]
    expected: Callable[[Sequence[Any]], dict[int, np.ndarray]]
    fresh: tuple[int, ...] = ()
    exact: bool = True

    @property
    def text(self) -> str:
        """The kernel's text."""
        return (FOLDER / f"{self.name}.cu").read_text(encoding="utf-8")


def small(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Small integers, so that sums are exact in any order."""
    return rng.integers(-3, 4, shape).astype(dtype)


def poisoned(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Memory that nobody has written."""
    return np.frombuffer(b"\xff" * int(np.prod(shape)) * np.dtype(dtype).itemsize, dtype).reshape(shape).copy()


def run_case(
    case: KernelCase, text: str | None = None, launch: Launch | None = None, time_limit: float | None = None
) -> tuple[tuple[Report, ...], bool]:
    """What the checks find in a case, or in a changed text or launch of it, and whether its results are right."""
    kernels: CpuKernels = compile_on_cpu(case.text if text is None else text, file=f"{case.name}.cu")
    grid, block, shared_bytes = launch or case.launch
    arguments = case.make(np.random.default_rng(0))
    wanted = case.expected([np.copy(argument) for argument in arguments])
    marks = {number: unwritten(arguments[number]) for number in case.fresh}
    reports = kernels.launch(
        case.name, grid, block, arguments, shared_bytes=shared_bytes, time_limit=time_limit, written=marks
    )
    same = np.array_equal if case.exact else lambda one, other: np.allclose(one, other, rtol=1e-5)
    return reports, all(same(arguments[number], array) for number, array in wanted.items())


def _matmul(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    return {2: arguments[0].astype(np.float32) @ arguments[1].astype(np.float32)}


def _softmax(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    powers = np.exp(arguments[0] - arguments[0].max(axis=1, keepdims=True))
    return {1: powers / powers.sum(axis=1, keepdims=True)}


def _convolution(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    image, filter_, _, h, w = arguments
    padded = np.pad(image, 1)
    taps = ((i, j) for i in range(3) for j in range(3))
    return {2: sum(filter_[i, j] * padded[i : i + int(h), j : j + int(w)] for i, j in taps)}


def _stencil(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    return {1: np.convolve(arguments[0], np.ones(7, np.float32), "same")}


def _mirrored_sums(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    tiles = arguments[0].reshape(2, -1, 256)[:, :, ::-1].reshape(2, -1, 64, 4)
    return {1: tiles.sum(axis=(1, 3)).reshape(-1)}


def _compact(arguments: Sequence[Any]) -> dict[int, np.ndarray]:
    # Blocks and warps run in order here, so what is kept stays in order.
    kept = arguments[0][arguments[0] > 0]
    rest = arguments[1][len(kept) :]
    return {1: np.concatenate([kept, rest]), 2: np.array([len(kept)], np.int32)}


CASES: tuple[KernelCase, ...] = (
    KernelCase(
        "vector_add",
        (4, 64, 0),
        lambda rng: [small(rng, 250), small(rng, 250), poisoned(250), 250],
        lambda given: {2: given[0] + given[1]},
        fresh=(2,),
    ),
    KernelCase(
        "float4_scale",
        (2, 32, 0),
        lambda rng: [small(rng, 256), poisoned(256), 3.0, 256],
        lambda given: {1: 3 * given[0]},
        fresh=(1,),
    ),
    KernelCase(
        "tiled_matmul",
        ((3, 3), (16, 16), 0),
        lambda rng: [small(rng, 48, 48), small(rng, 48, 48), poisoned(48, 48), 48],
        _matmul,
        fresh=(2,),
    ),
    KernelCase(
        "register_matmul",
        ((2, 2), 256, 0),
        lambda rng: [small(rng, 128, 128), small(rng, 128, 128), poisoned(128, 128), 128],
        _matmul,
        fresh=(2,),
    ),
    KernelCase(
        "transpose",
        ((3, 2), (32, 8), 0),
        lambda rng: [small(rng, 50, 70), poisoned(70, 50), 50, 70],
        lambda given: {1: np.ascontiguousarray(given[0].T)},
        fresh=(1,),
    ),
    KernelCase(
        "block_sum",
        (3, 256, 0),
        lambda rng: [small(rng, 700), poisoned(3), 700],
        lambda given: {1: np.pad(given[0], (0, 68)).reshape(3, 256).sum(axis=1)},
        fresh=(1,),
    ),
    KernelCase(
        "shuffle_sum",
        (1, 128, 0),
        lambda rng: [small(rng, 700), poisoned(1), 700],
        lambda given: {1: given[0].sum(keepdims=True)},
        fresh=(1,),
    ),
    KernelCase(
        "scan",
        (2, 256, 0),
        lambda rng: [small(rng, 2, 256, dtype="int32"), poisoned(2, 256, dtype="int32")],
        lambda given: {1: np.cumsum(given[0], axis=1).astype(np.int32)},
        fresh=(1,),
    ),
    KernelCase(
        "histogram",
        (3, 96, 0),
        lambda rng: [rng.integers(0, 64, 1000).astype(np.uint8), np.zeros(64, np.uint32), 1000],
        lambda given: {1: np.bincount(given[0], minlength=64).astype(np.uint32)},
    ),
    KernelCase(
        "stencil",
        (3, 128, 0),
        lambda rng: [small(rng, 350), poisoned(350), 350],
        _stencil,
        fresh=(1,),
    ),
    KernelCase(
        "softmax",
        (3, 128, 1200),
        lambda rng: [small(rng, 3, 300), poisoned(3, 300), 300],
        _softmax,
        fresh=(1,),
        exact=False,
    ),
    KernelCase(
        "convolution",
        ((3, 2), (8, 8), 0),
        lambda rng: [small(rng, 14, 20), small(rng, 3, 3), poisoned(14, 20), 14, 20],
        _convolution,
        fresh=(2,),
    ),
    KernelCase(
        "bitonic_sort",
        (2, 256, 0),
        lambda rng: [rng.integers(-1000, 1000, (2, 256)).astype(np.int32)],
        lambda given: {0: np.sort(given[0], axis=1)},
    ),
    KernelCase(
        "warp_transpose",
        (2, 128, 0),
        lambda rng: [small(rng, 16, 8, 4), poisoned(16, 4, 8)],
        lambda given: {1: np.ascontiguousarray(given[0].transpose(0, 2, 1))},
        fresh=(1,),
    ),
    KernelCase(
        "copy_ahead",
        (2, 64, 0),
        lambda rng: [small(rng, 2 * 4 * 256), poisoned(128), 4],
        _mirrored_sums,
        fresh=(1,),
    ),
    KernelCase(
        "wmma_matmul",
        ((2, 2), 32, 0),
        lambda rng: [small(rng, 32, 32, dtype="float16"), small(rng, 32, 32, dtype="float16"), poisoned(32, 32), 32],
        _matmul,
        fresh=(2,),
    ),
    KernelCase(
        "dot_product",
        (2, 64, 0),
        lambda rng: [small(rng, 600, dtype="float16"), small(rng, 600, dtype="float16"), np.zeros(1, np.float32), 600],
        lambda given: {2: np.array([given[0].astype(np.float32) @ given[1].astype(np.float32)])},
    ),
    KernelCase(
        "last_block_sum",
        (5, 32, 0),
        lambda rng: [small(rng, 700), poisoned(5), np.zeros(1, np.uint32), poisoned(1), 700],
        lambda given: {3: given[0].sum(keepdims=True), 2: np.zeros(1, np.uint32)},
        fresh=(1, 3),
    ),
    KernelCase(
        "compact",
        (3, 64, 0),
        lambda rng: [small(rng, 180, dtype="int32"), np.full(180, -9, np.int32), np.zeros(1, np.int32), 180],
        _compact,
    ),
)
