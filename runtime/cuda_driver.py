"""A GPU through its driver: memory, modules and launches on one stream.

A kernel that touches memory it should not poisons its context: every later call in the same process fails. So kernels
that are not trusted run in a child process (`runtime.cuda_child`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from runtime.cuda_library import CudaError, Driver, open_driver

# CUdevice_attribute and CUfunction_attribute.
ATTRIBUTES = {
    "threads_per_block": 1,
    "shared_per_block": 8,
    "warp": 10,
    "clock_khz": 13,
    "multiprocessors": 16,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "l2_bytes": 38,
    "threads_per_multiprocessor": 39,
    "major": 75,
    "minor": 76,
    "shared_per_multiprocessor": 81,
    "registers_per_multiprocessor": 82,
    "shared_per_block_optin": 97,
    "blocks_per_multiprocessor": 106,
}
FUNCTION_ATTRIBUTES = {"threads": 0, "shared": 1, "local": 3, "registers": 4}
DYNAMIC_SHARED = 8
OUT_OF_MEMORY = 2

Dimensions = Union[int, tuple[int, ...]]


def triple(dimensions: Dimensions, argument: str) -> tuple[int, int, int]:
    """Grid or block dimensions as three numbers.

    Raises: ValueError: not one to three positive numbers.

    >>> triple(7, "grid"), triple((2, 3), "block")
    ((7, 1, 1), (2, 3, 1))
    """
    given = (dimensions,) if isinstance(dimensions, int) else tuple(dimensions)
    if not 1 <= len(given) <= 3 or any(not isinstance(size, int) or size < 1 for size in given):
        raise ValueError(f"{argument} must be one to three positive numbers, got {dimensions!r}")
    x, y, z = (*given, 1, 1)[:3]
    return x, y, z


class Device:
    """One GPU with its primary context and a stream on which everything happens; a context manager."""

    def __init__(self, ordinal: int = 0, driver: Driver | None = None) -> None:
        """Raises: NoGpu: none can be used. ValueError: there are fewer GPUs. CudaError: it cannot be had."""
        self.driver = driver or open_driver()
        count = self.driver.number("cuDeviceGetCount", "int")
        if not 0 <= ordinal < count:
            raise ValueError(f"ordinal must be from 0 to {count - 1} on this machine, got {ordinal}")
        self._device = self.driver.number("cuDeviceGet", "CUdevice", ordinal)
        context = self.driver.number("cuDevicePrimaryCtxRetain", "CUcontext", self._device)
        self.driver.call("cuCtxSetCurrent", context)
        self.stream = self.driver.number("cuStreamCreate", "CUstream", 0)

    @property
    def name(self) -> str:
        """What the maker calls it."""
        text = self.driver.ffi.new("char[]", 256)
        self.driver.call("cuDeviceGetName", text, 256, self._device)
        return str(self.driver.ffi.string(text).decode())

    @property
    def attributes(self) -> dict[str, int]:
        """Its properties, named as in ATTRIBUTES."""
        return {
            name: self.driver.number("cuDeviceGetAttribute", "int", number, self._device)
            for name, number in ATTRIBUTES.items()
        }

    @property
    def memory(self) -> tuple[int, int]:
        """Free bytes and all bytes."""
        free, total = self.driver.ffi.new("size_t *"), self.driver.ffi.new("size_t *")
        self.driver.call("cuMemGetInfo_v2", free, total)
        return int(free[0]), int(total[0])

    def allocate(self, nbytes: int) -> int:
        """The address of so many new bytes of device memory.

        Raises: CudaError: there is not that much (code OUT_OF_MEMORY).
        """
        return int(self.driver.number("cuMemAlloc_v2", "CUdeviceptr", max(1, nbytes)))

    def free(self, address: int) -> None:
        """Give memory back."""
        self.driver.call("cuMemFree_v2", address)

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a C-contiguous array to the device."""
        if array.nbytes:
            data = self.driver.ffi.cast("void *", array.ctypes.data)
            self.driver.call("cuMemcpyHtoD_v2", address, data, array.nbytes)

    def download(self, address: int, array: np.ndarray) -> None:
        """Copy from the device into a C-contiguous array."""
        if array.nbytes:
            data = self.driver.ffi.cast("void *", array.ctypes.data)
            self.driver.call("cuMemcpyDtoH_v2", data, address, array.nbytes)

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        """Set bytes of device memory, in the order of the stream."""
        if nbytes:
            self.driver.call("cuMemsetD8Async", address, byte, nbytes, self.stream)

    def load(self, image: bytes | Path) -> Module:
        """Load a cubin.  Raises: CudaError: it is not for this GPU, or no cubin."""
        data = image.read_bytes() if isinstance(image, Path) else image
        held = self.driver.ffi.from_buffer(data)
        return Module(self, self.driver.number("cuModuleLoadData", "CUmodule", held))

    def synchronize(self) -> None:
        """Wait for everything.  Raises: CudaError: a kernel did something wrong."""
        self.driver.call("cuCtxSynchronize")

    def close(self) -> None:
        """Release the context."""
        self.driver.call("cuStreamDestroy_v2", self.stream)
        self.driver.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not isinstance(error, CudaError):  # else the context may be poisoned, and closing would hide the reason
            self.close()


class Module:
    """Loaded machine code."""

    def __init__(self, device: Device, handle: Any) -> None:
        self.device, self.handle = device, handle

    def function(self, name: str) -> Function:
        """A kernel.  Raises: ValueError: there is none of that name."""
        try:
            handle = self.device.driver.number("cuModuleGetFunction", "CUfunction", self.handle, name.encode())
        except CudaError as error:
            raise ValueError(f"no kernel `{name}` in the module: {error}") from None
        return Function(self.device, handle, name)

    def unload(self) -> None:
        """Free the code; its functions must not be launched any more."""
        self.device.driver.call("cuModuleUnload", self.handle)


class Function:
    """A kernel that can be launched."""

    def __init__(self, device: Device, handle: Any, name: str) -> None:
        self.device, self.handle, self.name = device, handle, name

    @property
    def attributes(self) -> dict[str, int]:
        """What the loaded kernel uses, named as in FUNCTION_ATTRIBUTES."""
        number = self.device.driver.number
        return {
            name: number("cuFuncGetAttribute", "int", key, self.handle) for name, key in FUNCTION_ATTRIBUTES.items()
        }

    def prepare(
        self, grid: Dimensions, block: Dimensions, arguments: Sequence[int | np.generic], shared_bytes: int = 0
    ) -> PreparedLaunch:
        """A launch that costs no more than the driver's call.

        arguments: addresses as plain ints, other scalars as NumPy scalars of the parameter's type.
        """
        if shared_bytes > 48 << 10:
            self.device.driver.call("cuFuncSetAttribute", self.handle, DYNAMIC_SHARED, shared_bytes)
        return PreparedLaunch(self, triple(grid, "grid"), triple(block, "block"), arguments, shared_bytes)


class PreparedLaunch:
    """A kernel with its arguments; calling it puts it on the stream."""

    def __init__(
        self,
        function: Function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[int | np.generic],
        shared_bytes: int,
    ) -> None:
        driver, ffi = function.device.driver, function.device.driver.ffi
        values = [np.uint64(value) if isinstance(value, int) else value for value in arguments]
        self._values = [ffi.new("char[]", value.tobytes().ljust(8, b"\0")) for value in values]
        self._pointers = ffi.new("void *[]", self._values) if self._values else ffi.NULL
        self._arguments = (*grid, *block, shared_bytes, function.device.stream, self._pointers, ffi.NULL)
        self._function, self._check, self._launch = function, driver.check, driver.library.cuLaunchKernel

    def __call__(self) -> None:
        """Launch.  Raises: CudaError: it cannot be, or a kernel before it did something wrong."""
        code = self._launch(self._function.handle, *self._arguments)
        if code:
            self._check(code, f"cuLaunchKernel of {self._function.name}")
