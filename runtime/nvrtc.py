"""NVRTC, NVIDIA's CUDA compiler as a library: the cubins of nvcc in a third of the time, without a host compiler.

It is optional: found in the toolkit or in the pip package nvidia-cuda-nvrtc, which PyTorch brings along. It compiles
inside this process, so a compilation cannot be stopped; what may take for ever is nvcc's.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi

from runtime.compile_c import cache_directory
from runtime.compile_cuda import (
    Cubin,
    CudaCompileError,
    NvccNotFound,
    checked_arch,
    find_nvcc,
    nvidia_packages,
    parse_resources,
)

OPTIONS = ("--ptxas-options=-v", "-lineinfo", "-std=c++17")
DECLARATIONS = """
typedef void *nvrtcProgram;
int nvrtcVersion(int *, int *);
int nvrtcCreateProgram(nvrtcProgram *, const char *, const char *, int, const char **, const char **);
int nvrtcCompileProgram(nvrtcProgram, int, const char **);
int nvrtcGetProgramLogSize(nvrtcProgram, size_t *);
int nvrtcGetProgramLog(nvrtcProgram, char *);
int nvrtcGetCUBINSize(nvrtcProgram, size_t *);
int nvrtcGetCUBIN(nvrtcProgram, char *);
int nvrtcDestroyProgram(nvrtcProgram *);
const char *nvrtcGetErrorString(int);
"""


class NvrtcNotFound(NvccNotFound):
    """This machine has no NVRTC."""


@dataclass(frozen=True)
class Nvrtc:
    """The opened library, its release, and the folder of CUDA's headers, if there is one."""

    ffi: Any
    library: Any
    path: str
    release: str
    include: str

    @property
    def line(self) -> str:
        """One line for reports."""
        return f"{self.path}: release {self.release}"


def find_nvrtc() -> Nvrtc:
    """The library that `$NVRTC` names, else that of the pip package, of the toolkit, or of the system.

    Raises: NvrtcNotFound: there is none.
    """
    return _find_nvrtc(os.environ.get("NVRTC", ""))


@functools.lru_cache(maxsize=4)
def _find_nvrtc(named: str) -> Nvrtc:
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    for path in [named] if named else _candidates():
        try:
            library = ffi.dlopen(path)
        except OSError:
            continue
        major, minor = ffi.new("int *"), ffi.new("int *")
        if library.nvrtcVersion(major, minor) == 0:
            return Nvrtc(ffi, library, path, f"{major[0]}.{minor[0]}", _include(path))
    raise NvrtcNotFound("no NVRTC found: `pip install nvidia-cuda-nvrtc`, or set $NVRTC to libnvrtc.so")


def _candidates() -> Iterator[str]:
    homes = [home for package in nvidia_packages() for home in sorted(package.glob("*"), reverse=True)]
    try:
        homes.append(Path(find_nvcc().command).resolve().parents[1])
    except NvccNotFound:
        pass
    for home in homes:
        for folder in ("lib", "lib64"):
            yield from (str(path) for path in sorted((home / folder).glob("libnvrtc.so.1[2-9]")))
    yield from ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")


def _include(library: str) -> str:
    """The folder with `cuda_fp16.h`; empty when there is none."""
    folders = [Path(library).resolve().parents[1] / "include"] if "/" in library else []
    try:
        folders.append(Path(find_nvcc().command).resolve().parents[1] / "include")
    except NvccNotFound:
        pass
    folders.append(Path("/usr/local/cuda/include"))
    return next((str(folder) for folder in folders if (folder / "cuda_fp16.h").exists()), "")


def compile_nvrtc(text: str, arch: str = "sm_90", *, nvrtc: Nvrtc | None = None) -> Cubin:
    """Compile CUDA text as `compile_cuda` does, a warning being an error; the same text is compiled once.

    Raises: CudaCompileError: the compiler refused the text or gave a warning. NvrtcNotFound: there is no NVRTC.
        ValueError: not an architecture.
    """
    architecture = f"--gpu-architecture={checked_arch(arch)}"
    nvrtc = nvrtc or find_nvrtc()
    headers = (f"-I{nvrtc.include}", f"-I{nvrtc.include}/cccl") if nvrtc.include else ()
    options = (*OPTIONS, architecture, *headers)
    key = hashlib.sha256("\0".join((text, "nvrtc", nvrtc.release, *options)).encode()).hexdigest()[:32]
    target, log = cache_directory() / f"{key}.cubin", cache_directory() / f"{key}.ptxas"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        code, said = _compile(nvrtc, text, options)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            for name, data, final in (("log", said.encode(), log), ("cubin", code, target)):
                (Path(folder) / name).write_bytes(data)
                (Path(folder) / name).replace(final)
    report = log.read_text()
    return Cubin(target, arch, parse_resources(report), report)


def _compile(nvrtc: Nvrtc, text: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Machine code and what the compiler said."""
    ffi, library = nvrtc.ffi, nvrtc.library
    program = ffi.new("nvrtcProgram *")
    _check(nvrtc, library.nvrtcCreateProgram(program, text.encode(), b"kernel.cu", 0, ffi.NULL, ffi.NULL))
    try:
        held = [ffi.new("char[]", option.encode()) for option in options]
        code = library.nvrtcCompileProgram(program[0], len(held), ffi.new("const char *[]", held))
        said = _bytes(nvrtc, "ProgramLog", program[0]).rstrip(b"\0").decode(errors="replace")
        if code:
            raise CudaCompileError(said.strip() or ffi.string(library.nvrtcGetErrorString(code)).decode())
        if ": warning" in said:
            raise CudaCompileError(said.strip())
        return _bytes(nvrtc, "CUBIN", program[0]), said
    finally:
        library.nvrtcDestroyProgram(program)


def _bytes(nvrtc: Nvrtc, what: str, program: Any) -> bytes:
    """Something that the library first tells the size of."""
    size = nvrtc.ffi.new("size_t *")
    _check(nvrtc, getattr(nvrtc.library, f"nvrtcGet{what}Size")(program, size))
    data = nvrtc.ffi.new("char[]", max(1, size[0]))
    _check(nvrtc, getattr(nvrtc.library, f"nvrtcGet{what}")(program, data))
    return bytes(nvrtc.ffi.buffer(data, size[0]))


def _check(nvrtc: Nvrtc, code: int) -> None:
    if code:
        raise CudaCompileError(nvrtc.ffi.string(nvrtc.library.nvrtcGetErrorString(code)).decode())
