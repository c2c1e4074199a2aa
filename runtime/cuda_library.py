"""The CUDA driver's library through cffi, each failure one exception.

Nothing of CUDA's toolkit is needed, only `libcuda.so.1`, which comes with the kernel driver; a machine without it has
no GPU, and `NoGpu` says so in one sentence. `$MINI_CUDA_DRIVER` names another library with the same functions, such as
the stand-in that the tests use (`runtime.cuda_stand_in`).
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import Any

import cffi

LIBRARY = "libcuda.so.1"
OLDEST_DRIVER = 12000  # cubins of CUDA 12 and the graph functions below

# Names with _v2 are the present, 64-bit functions; those without are an older, narrower interface.
DECLARATIONS = """
typedef int CUresult; typedef int CUdevice; typedef unsigned long long CUdeviceptr;
typedef void *CUcontext, *CUmodule, *CUfunction, *CUevent, *CUstream, *CUgraph, *CUgraphExec;
CUresult cuInit(unsigned int);
CUresult cuDriverGetVersion(int *);
CUresult cuDeviceGetCount(int *);
CUresult cuDeviceGet(CUdevice *, int);
CUresult cuDeviceGetName(char *, int, CUdevice);
CUresult cuDeviceTotalMem_v2(size_t *, CUdevice);
CUresult cuDeviceGetAttribute(int *, int, CUdevice);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize(void);
CUresult cuModuleLoadData(CUmodule *, const void *);
CUresult cuModuleUnload(CUmodule);
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *);
CUresult cuFuncGetAttribute(int *, int, CUfunction);
CUresult cuFuncSetAttribute(CUfunction, int, int);
CUresult cuMemGetInfo_v2(size_t *, size_t *);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void *, size_t);
CUresult cuMemcpyDtoH_v2(void *, CUdeviceptr, size_t);
CUresult cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
CUresult cuMemsetD32Async(CUdeviceptr, unsigned int, size_t, CUstream);
CUresult cuStreamCreate(CUstream *, unsigned int);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamDestroy_v2(CUstream);
CUresult cuLaunchKernel(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
                        unsigned int, CUstream, void **, void **);
CUresult cuEventCreate(CUevent *, unsigned int);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventSynchronize(CUevent);
CUresult cuEventElapsedTime(float *, CUevent, CUevent);
CUresult cuEventDestroy_v2(CUevent);
CUresult cuStreamBeginCapture_v2(CUstream, int);
CUresult cuStreamEndCapture(CUstream, CUgraph *);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *, CUgraph, unsigned long long);
CUresult cuGraphLaunch(CUgraphExec, CUstream);
CUresult cuGraphExecDestroy(CUgraphExec);
CUresult cuGraphDestroy(CUgraph);
CUresult cuGetErrorName(CUresult, const char **);
CUresult cuGetErrorString(CUresult, const char **);
"""

NO_DEVICE = 100


class NoGpu(RuntimeError):
    """There is no GPU to be used on this machine; the message is one sentence that says why."""


class CudaError(RuntimeError):
    """A call of the driver failed. code, name: the driver's. call: the function."""

    def __init__(self, code: int, name: str, meaning: str, call: str) -> None:
        super().__init__(f"{name} ({meaning}) from {call}")
        self.code, self.name, self.call = code, name, call


@dataclass(frozen=True)
class Driver:
    """An opened library; `call` runs one of its functions and raises for what it returns."""

    ffi: Any
    library: Any
    path: str

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver.  Raises: CudaError: it does not return success."""
        self.check(getattr(self.library, function)(*arguments), function)

    def check(self, code: int, function: str) -> None:
        """Raise a CudaError unless `code` is success."""
        if code:
            raise CudaError(code, self._text("cuGetErrorName", code), self._text("cuGetErrorString", code), function)

    def _text(self, function: str, code: int) -> str:
        found = self.ffi.new("char **")
        getattr(self.library, function)(code, found)
        return self.ffi.string(found[0]).decode() if found[0] else f"error {code}"

    def number(self, function: str, kind: str, *arguments: Any) -> Any:
        """What a function writes through its first argument, which points to a `kind`."""
        result = self.ffi.new(f"{kind} *")
        self.call(function, result, *arguments)
        return result[0]

    @property
    def version(self) -> tuple[int, int]:
        """The newest CUDA release whose programs the driver runs."""
        number = self.number("cuDriverGetVersion", "int")
        return number // 1000, number % 1000 // 10


def open_driver() -> Driver:
    """Open the driver library of this machine, or the one that `$MINI_CUDA_DRIVER` names.

    Raises: NoGpu: there is none, it is too old, or it finds no device.
    """
    return _open_driver(os.environ.get("MINI_CUDA_DRIVER") or LIBRARY)


@functools.lru_cache(maxsize=4)
def _open_driver(path: str) -> Driver:
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    try:
        library = ffi.dlopen(path, ffi.RTLD_NOW | ffi.RTLD_LOCAL)
    except OSError as error:
        missing = path == LIBRARY and "No such file" in str(error)
        cause = f"there is no {path}" if missing else str(error).split("Additionally")[0].strip()
        raise NoGpu(f"no GPU: this machine has no CUDA driver ({cause})") from None
    driver = Driver(ffi, library, path)
    lacking = [name for name in re.findall(r"CUresult (cu\w+)", DECLARATIONS) if not hasattr(library, name)]
    if lacking:
        raise NoGpu(f"no usable GPU: {path} is no CUDA driver of CUDA 12.0 or newer, it has no {lacking[0]}")
    code = library.cuInit(0)
    if code == NO_DEVICE:
        raise NoGpu("no GPU: the CUDA driver finds no device")
    if code:
        name = driver._text("cuGetErrorName", code)
        raise NoGpu(f"no GPU: the CUDA driver does not start, {name} ({driver._text('cuGetErrorString', code)})")
    major, minor = driver.version
    if 1000 * major + 10 * minor < OLDEST_DRIVER:
        raise NoGpu(f"no usable GPU: the driver is of CUDA {major}.{minor}, CUDA 12.0 or newer is needed")
    if driver.number("cuDeviceGetCount", "int") == 0:
        raise NoGpu("no GPU: the CUDA driver finds no device")
    return driver
