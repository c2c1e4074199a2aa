"""C text to a callable: find a compiler, build a shared library once per source, call its kernels through cffi.

Libraries live in a content-addressed cache (`$MINI_CACHE`, else `~/.cache/mini-compilers`), keyed by source, compiler
version and flags, so a second build of the same text costs a file look-up and two processes may build side by side.
A loaded library is never unloaded: OpenMP's worker threads would keep running code that is gone.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cffi
import numpy as np

from runtime.c_text.expressions import C_TYPES, c_name
from runtime.expr import Buffer
from runtime.loop_nest import LoopNest
from runtime.narrow_floats import storage

# No -ffast-math: infinities start max reductions, and on a link line it would flush denormals in the whole process.
FLAGS = ("-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
WIDE_VECTORS = "-mprefer-vector-width=512"
# gcc 12 loses half of the lanes of a conditional load in a short inner loop that it vectorises by itself (a padded
# copy; gcc PR 114375). Emitted vector code does not rely on if-conversion.
NO_IF_CONVERSION = "-fno-tree-loop-if-convert"
LINK_FLAGS = ("-shared", "-lm")
ALIGNMENT = 64


class CompilerNotFound(RuntimeError):
    """No C compiler on this machine."""


class CompileError(RuntimeError):
    """The compiler refused a source, or took too long; the message is the compiler's."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler and the flags it builds kernels with.

    openmp: whether `-fopenmp` works.  vector_bytes: width of the widest vector registers it targets.
    target: fingerprint of the machine that `-march=native` stands for.
    """

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    openmp: bool
    vector_bytes: int
    target: str


def find_compiler() -> Compiler:
    """The first that works of `$CC`, cc, gcc, clang, and `python -m ziglang cc`.

    Raises: CompilerNotFound: there is none.
    """
    return _find_compiler(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=8)
def _find_compiler(cc: str, path: str) -> Compiler:
    candidates = [tuple(cc.split())] if cc else []
    candidates += [(name,) for name in ("cc", "gcc", "clang")] + [(sys.executable, "-m", "ziglang", "cc")]
    for command in candidates:
        if shutil.which(command[0], path=path) is not None:
            compiler = _probe(command)
            if compiler is not None:
                return compiler
    raise CompilerNotFound(
        "no C compiler found: install gcc or clang, set $CC, or `pip install ziglang`;"
        " the interpreter works without one"
    )


def _probe(command: tuple[str, ...]) -> Compiler | None:
    """Ask a compiler for its version and target; None when it does not compile."""
    version = _run([*command, "--version"], None, 20.0)
    if version is None or version.returncode != 0:
        return None
    flags = tuple(flag for flag in (*FLAGS, WIDE_VECTORS, NO_IF_CONVERSION) if _accepts(command, flag))
    macros = _run([*command, *flags, "-dM", "-E", "-x", "c", "-"], "", 20.0)
    if macros is None or macros.returncode != 0:
        return None
    widths = (("__AVX512F__", 64), ("__AVX__", 32))
    vector_bytes = next((width for macro, width in widths if f" {macro} " in macros.stdout), 16)
    target = hashlib.sha256("".join(sorted(macros.stdout.splitlines(keepends=True))).encode()).hexdigest()[:16]
    return Compiler(command, version.stdout.splitlines()[0], flags, _links_openmp(command), vector_bytes, target)


def _accepts(command: tuple[str, ...], flag: str) -> bool:
    if flag not in ("-march=native", WIDE_VECTORS, NO_IF_CONVERSION, "-fno-trapping-math"):
        return True
    result = _run([*command, "-Werror", flag, "-E", "-x", "c", "-"], "", 20.0)
    return result is not None and result.returncode == 0


def _links_openmp(command: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = "#include <omp.h>\nint threads(void) { return omp_get_max_threads(); }\n"
        target = str(Path(folder) / "probe.so")
        result = _run([*command, "-fopenmp", "-shared", "-fPIC", "-x", "c", "-", "-o", target], source, 60.0)
    return result is not None and result.returncode == 0


def _run(command: list[str], text: str | None, timeout: float) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def cache_directory() -> Path:
    """Where built libraries are kept."""
    return Path(os.environ.get("MINI_CACHE") or Path.home() / ".cache" / "mini-compilers")


def build_library(source: str, *, compiler: Compiler | None = None, timeout: float | None = None) -> Path:
    """Compile C text into a shared library and return its path; the same text is compiled once.

    Args: timeout: seconds the compiler may take.
    Raises: CompileError: the compiler refused the text or ran out of time.  CompilerNotFound: there is none.
    """
    from runtime.compiler_process import run_compiler

    compiler = compiler or find_compiler()
    openmp = ("-fopenmp",) if "#pragma omp" in source and compiler.openmp else ()
    command = (*compiler.command, *compiler.flags, *openmp)
    key = hashlib.sha256(
        "\0".join((source, compiler.version, compiler.target, *command, *LINK_FLAGS)).encode()
    ).hexdigest()[:32]
    target = cache_directory() / f"{key}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        text, built = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        text.write_text(source)
        run_compiler([*command, str(text), "-o", str(built), *LINK_FLAGS], timeout=timeout)
        built.replace(target)  # atomic, so that a reader never sees half a library
    return target


def declaration(nest: LoopNest) -> str:
    """The C prototype of a nest's kernel: inputs, outputs, workspace."""
    parameters = [f"const {C_TYPES[buffer.dtype]} *" for buffer in nest.inputs]
    parameters += [f"{C_TYPES[buffer.dtype]} *" for buffer in nest.outputs]
    return f"void {c_name(nest.name)}({', '.join([*parameters, 'void *'])});"


def load_kernel(path: Path, nest: LoopNest) -> Kernel:
    """Open a library and find the kernel emitted for `nest`.

    Raises: ValueError: the library holds no function of that name.
    """
    ffi = cffi.FFI()
    ffi.cdef(declaration(nest))
    nodelete = getattr(ffi, "RTLD_NODELETE", 0)
    library = ffi.dlopen(str(path), ffi.RTLD_NOW | ffi.RTLD_LOCAL | nodelete)
    _keep_open.append(library)
    try:
        function = getattr(library, c_name(nest.name))
    except AttributeError:
        raise ValueError(f"no kernel `{nest.name}` in {path}") from None
    return Kernel(nest, ffi, function)


_keep_open: list[object] = []


def aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An uninitialised array that starts on a cache line."""
    stored = storage(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
    raw = np.empty(count + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count].view(stored).reshape(shape)


class Kernel:
    """A compiled nest: call it with its inputs, then its outputs, as C-contiguous NumPy arrays.

    Raises: TypeError, ValueError: an argument does not have the declared dtype, shape or layout.
    """

    def __init__(self, nest: LoopNest, ffi: cffi.FFI, function: object) -> None:
        from runtime.emit_c import workspace_bytes

        self.nest = nest
        self._ffi = ffi
        self._function = function
        self._workspace = aligned_empty((max(1, workspace_bytes(nest)),), "bool")
        self._buffers = (*nest.inputs, *nest.outputs)
        self._casts = [f"{C_TYPES[buffer.dtype]} *" for buffer in self._buffers]

    def pointers(self, *arrays: np.ndarray) -> tuple[object, ...]:
        """Check the arguments and turn them into C pointers, workspace last; `function(*pointers)` runs the kernel."""
        if len(arrays) != len(self._buffers):
            names = ", ".join(buffer.name for buffer in self._buffers)
            raise TypeError(f"{self.nest.name} takes {len(self._buffers)} arrays ({names}), got {len(arrays)}")
        for buffer, array in zip(self._buffers, arrays):
            _check(buffer, array, buffer in self.nest.outputs)
        cast = self._ffi.cast
        pointers = [cast(kind, array.ctypes.data) for kind, array in zip(self._casts, arrays)]
        return (*pointers, cast("void *", self._workspace.ctypes.data))

    def run(self, pointers: tuple[object, ...]) -> None:
        """Run on pointers made before; for timing, without the checks."""
        self._function(*pointers)  # type: ignore[operator]

    def __call__(self, *arrays: np.ndarray) -> None:
        """Run on inputs and outputs, checked."""
        self.run(self.pointers(*arrays))


def _check(buffer: Buffer, array: np.ndarray, written: bool) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`{buffer.name}` must be a NumPy array, got {type(array).__name__}")
    if array.dtype != storage(buffer.dtype):
        raise TypeError(f"`{buffer.name}` must be {buffer.dtype}, got {array.dtype}")
    if array.shape != buffer.shape:
        raise ValueError(f"`{buffer.name}` must have shape {buffer.shape}, got {array.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"`{buffer.name}` must be C-contiguous, got strides {array.strides}")
    if written and not array.flags.writeable:
        raise ValueError(f"`{buffer.name}` is an output and must be writeable")


def run_nest(nest: LoopNest, *inputs: np.ndarray, threads: int = 1) -> tuple[np.ndarray, ...]:
    """Emit, build and run a nest once; the outputs come back as new arrays."""
    from runtime.emit_c import emit_library

    kernel = load_kernel(build_library(emit_library([nest], threads=threads)), nest)
    outputs = tuple(aligned_empty(buffer.shape, buffer.dtype) for buffer in nest.outputs)
    kernel(*inputs, *outputs)
    return outputs
