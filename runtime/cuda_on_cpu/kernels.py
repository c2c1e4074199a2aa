"""CUDA text as functions that run on the CPU: `compile_on_cpu(text).launch(kernel, grid, block, arguments)`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import cffi
import numpy as np

from runtime.cuda_on_cpu.build import build_on_cpu
from runtime.cuda_on_cpu.kernel_text import KernelText, granule, kernels_in
from runtime.cuda_on_cpu.placed import PlacedArrays
from runtime.cuda_on_cpu.reports import Report, make_reports

Dimensions = Union[int, Sequence[int]]
Argument = Union[np.ndarray, int, float, np.generic]
MAX_THREADS, MAX_SHARED, MAX_STATIC_SHARED, MAX_GRID = 1024, 232448, 49152, (2**31 - 1, 65535, 65535)
CAPACITY = 64  # reports of one launch


@functools.lru_cache(maxsize=1)
def _ffi() -> cffi.FFI:
    """The engine's interface, from its own header."""
    header = (Path(__file__).parent / "engine" / "interface.h").read_text(encoding="utf-8")
    lines = [line for line in header.splitlines() if not line.startswith(("#", "extern", "}")) or line == "};"]
    ffi = cffi.FFI()
    names = ("Parameter", "Kernel", "Buffer", "Place", "Report", "Launch")
    forward = [f"typedef struct CudaOnCpu{name} CudaOnCpu{name};" for name in names]
    ffi.cdef("\n".join([*forward, *lines]))
    return ffi


class CpuKernels:
    """The kernels of one text, built for the CPU.

    names: the kernels. path: the library; `engine/interface.h` describes what C may call in it.
    """

    def __init__(self, path: Path, text: str, file: str, checks: bool) -> None:
        self.path, self.file, self.checks = path, file, checks
        self._granule = granule(text)
        self._ffi = _ffi()
        self._library = self._ffi.dlopen(str(path), self._ffi.RTLD_NOW | self._ffi.RTLD_LOCAL)
        self._texts = {kernel.name: kernel for kernel in kernels_in(text, templates=True)}
        found = [self._library.cuda_on_cpu_kernel(number) for number in range(self._library.cuda_on_cpu_kernels())]
        self._kernels = {self._ffi.string(kernel.name).decode(): kernel for kernel in found}

    @property
    def names(self) -> tuple[str, ...]:
        """The kernels that can be launched."""
        return tuple(self._kernels)

    @property
    def static_shared_bytes(self) -> int:
        """Shared memory that the text declares with a size, all kernels together."""
        return int(self._library.cuda_on_cpu_shared_bytes())

    def parameters(self, kernel: str) -> tuple[tuple[str, Any], ...]:
        """Names and descriptions (`pointer`, `type`, `size` of engine/interface.h) of a kernel's parameters."""
        described = self._kernel(kernel)
        text = self._texts.get(kernel.split("<")[0], KernelText(kernel, ()))
        names = [*text.parameters, *(f"argument_{number}" for number in range(described.parameters))]
        return tuple((names[number], described.parameter[number]) for number in range(described.parameters))

    def _kernel(self, name: str) -> Any:
        if name not in self._kernels:
            raise ValueError(
                f"kernel must be one of {', '.join(self.names) or 'none: the text has no kernel'}, got {name}"
            )
        return self._kernels[name]

    def launch(
        self,
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Argument],
        *,
        shared_bytes: int = 0,
        time_limit: float | None = None,
        written: Mapping[int, np.ndarray] | None = None,
    ) -> tuple[Report, ...]:
        """Run a kernel on arrays, which it changes in place, and return what the checks found.

        Args: arguments: C-contiguous NumPy arrays and numbers, in order; the same array twice is the same memory.
            shared_bytes: dynamic shared memory. time_limit: run in a child process, for at most so many seconds.
            written: number of an argument → its marks from `unwritten`: what may be read, and what the kernel adds.
        Raises: ValueError, TypeError: the launch or an argument is one that a GPU would refuse.
        """
        described = self.parameters(kernel)
        grid_size, block_size = _dimensions(grid, "grid"), _dimensions(block, "block")
        self._check_launch(kernel, grid_size, block_size, shared_bytes)
        if len(arguments) != len(described):
            wanted = ", ".join(name for name, _ in described)
            raise TypeError(f"{kernel} takes {len(described)} arguments ({wanted}), got {len(arguments)}")
        constant: dict[int, bool] = {}
        for (name, parameter), argument in zip(described, arguments):
            if parameter.pointer:
                _check_array(name, parameter, argument)
                constant[id(argument)] = constant.get(id(argument), True) and parameter.pointer == 2
        arrays = {id(array): array for array in arguments if isinstance(array, np.ndarray)}
        names = {id(array): name for (name, _), array in reversed(list(zip(described, arguments)))}
        marks = {id(arguments[number]): mark for number, mark in (written or {}).items()}
        with PlacedArrays(self._ffi, self._library, arrays, marks, self._granule) as placed:
            launch = self._launch_record(placed, kernel, grid_size, block_size, shared_bytes)
            launch.seconds = time_limit or 0.0
            placed.describe(launch, constant)
            pointers = [placed.argument(*pair) for pair in zip((parameter for _, parameter in described), arguments)]
            values = self._ffi.new("void *[]", [*pointers, self._ffi.NULL])
            placed.keep(values)
            launch.arguments = values
            with _one_at_a_time.setdefault(self.path, threading.Lock()):
                found = self._library.cuda_on_cpu_launch(launch)
            if found < 0:
                raise MemoryError("no memory for the reports of a launch")
            placed.copy_back(constant)
            return self._reports(launch, found, [names[key] for key in arrays], list(arrays.values()))

    def _launch_record(
        self, placed: PlacedArrays, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], shared_bytes: int
    ) -> Any:
        ffi = self._ffi
        record = ffi.new("CudaOnCpuLaunch *")
        name, report = ffi.new("char[]", kernel.encode()), ffi.new("CudaOnCpuReport[]", CAPACITY)
        placed.keep(name, report)
        record.kernel, record.report = name, report
        record.grid, record.block, record.capacity = grid, block, CAPACITY
        record.shared_bytes = shared_bytes
        return record

    def _reports(
        self, launch: Any, found: int, names: Sequence[str], arrays: Sequence[np.ndarray]
    ) -> tuple[Report, ...]:
        raw = [_Raw(launch.report[number], self._ffi) for number in range(found)]
        begin = int(self._library.cuda_on_cpu_shared_begin() - self._library.cuda_on_cpu_base()) if found else 0
        sizes = [(array.nbytes, array.itemsize) for array in arrays]
        return make_reports(raw, self.path, self.file, names, sizes, (begin, self.static_shared_bytes))

    def _check_launch(self, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], shared_bytes: int) -> None:
        threads = block[0] * block[1] * block[2]
        most = self._texts[kernel].threads if kernel in self._texts else None
        if threads > min(most or MAX_THREADS, MAX_THREADS):
            why = "its __launch_bounds__ allow" if most else "a block may have"
            raise ValueError(f"block {block} of {kernel} has {threads} threads, {why} {most or MAX_THREADS}")
        if any(size > limit for size, limit in zip(grid, MAX_GRID)):
            raise ValueError(f"grid may have at most {MAX_GRID} blocks, got {grid}")
        # How much of the static shared memory is this kernel's can be told when it is the only one.
        static = self.static_shared_bytes if len(self.names) == 1 else 0
        if static > MAX_STATIC_SHARED:
            raise ValueError(f"{kernel} declares {static} bytes of shared memory, {MAX_STATIC_SHARED} are allowed")
        if not 0 <= shared_bytes <= MAX_SHARED - static:
            raise ValueError(f"shared_bytes must be from 0 to {MAX_SHARED - static} for {kernel}, got {shared_bytes}")


class _Raw:
    """A record of the engine with its text as a string."""

    def __init__(self, record: Any, ffi: cffi.FFI) -> None:
        for name in ("kind", "here", "other", "buffer", "offset", "size", "times"):
            setattr(self, name, getattr(record, name))
        self.text = ffi.string(record.text).decode(errors="replace")


# A library has one state, however often it is opened.
_one_at_a_time: dict[Path, threading.Lock] = {}


def _dimensions(given: Dimensions, argument: str) -> tuple[int, int, int]:
    sizes = (given,) if isinstance(given, (int, np.integer)) else tuple(given)
    if not 1 <= len(sizes) <= 3 or any(not isinstance(size, (int, np.integer)) or size < 1 for size in sizes):
        raise ValueError(f"{argument} must be one to three positive numbers, got {given!r}")
    x, y, z = (int(size) for size in (*sizes, 1, 1)[:3])
    return x, y, z


def _check_array(name: str, parameter: Any, array: Argument) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`{name}` is a pointer and must be given a NumPy array, got {type(array).__name__}")
    if not array.flags.c_contiguous:
        raise ValueError(f"`{name}` must be C-contiguous, got strides {array.strides}")
    if parameter.pointer == 1 and not array.flags.writeable:
        raise ValueError(f"`{name}` is no pointer to const and must be writeable")


def unwritten(array: np.ndarray | np.generic) -> np.ndarray:
    """Marks for an array of which no element has been written: a byte for each, or for each four bytes."""
    return np.zeros(array.nbytes // min(array.itemsize, 4), np.uint8)


def compile_on_cpu(
    text: str,
    *,
    checks: bool = True,
    file: str = "kernel.cu",
    include: tuple[str, ...] = (),
    instances: tuple[str, ...] = (),
) -> CpuKernels:
    """Build CUDA text for the CPU.

    Args: checks: watch every access to memory; without, kernels run faster and only barriers and masks are checked.
        file: the name that compiler messages give to the text. include: folders for `#include "…"`.
        instances: of kernel templates, as `scale<float, 4>`; these are then kernels' names.
    Raises: CompileError: the text is no CUDA C++ that can run here. CompilerNotFound: there is no C++ compiler.
    """
    path = build_on_cpu(text, checks=checks, file=file, include=include, instances=instances)
    return CpuKernels(path, text, file, checks)
