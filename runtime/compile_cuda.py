"""CUDA text to a cubin with the resources of its kernels: no GPU and no driver is needed.

The cubin is for one named architecture, since a driver runs every cubin of its own major release but refuses PTX that
is newer than itself. ptxas says what each kernel uses (registers, shared memory, what it spills); that is parsed into
`Resources`. Cubins live in the same content-addressed cache as C libraries, keyed by text, compiler and flags.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.compile_c import CompileError, CompilerNotFound, cache_directory
from runtime.compiler_process import CompileTimeout, run_compiler

# Warnings are errors: an unused variable in emitted text is a mistake of the emitter. `-lineinfo` costs nothing at run
# time and lets compute-sanitizer and the profiler name lines.
FLAGS = ("-cubin", "-Xptxas", "-v", "-Werror", "all-warnings", "-lineinfo")
TIMEOUT = 60.0  # full unrolling of hundreds of registers takes ten seconds


class NvccNotFound(CompilerNotFound):
    """No CUDA compiler on this machine."""


class CudaCompileError(CompileError):
    """The CUDA compiler refused a text; the message is the compiler's."""


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler: its command, the release it says it is, and where it was found."""

    command: str
    release: str
    found: str

    @property
    def line(self) -> str:
        """One line for reports."""
        return f"{self.command} (from {self.found}): release {self.release}"


@dataclass(frozen=True)
class Resources:
    """What one thread (registers, spills and stack, in bytes) and one block (static shared bytes) of a kernel need."""

    registers: int
    shared: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    stack: int = 0

    @property
    def spills(self) -> bool:
        """Whether registers are kept in memory."""
        return self.spill_stores + self.spill_loads > 0


@dataclass(frozen=True)
class Cubin:
    """Machine code for one architecture; `kernels` in the order of the compiler's report, `log` is that report."""

    path: Path
    arch: str
    kernels: dict[str, Resources] = field(hash=False)
    log: str = field(default="", repr=False)

    def dynamic_shared(self, kernel: str, shared_bytes: int) -> int:
        """Bytes of shared memory to give at a launch that needs so many: what the static arrays do not hold."""
        return max(0, shared_bytes - self.kernels.get(kernel, Resources(0)).shared)


def find_nvcc() -> Nvcc:
    """The first that works of `$NVCC`, PATH, `$CUDA_HOME/bin`, /usr/local/cuda and the pip package nvidia-cuda-nvcc.

    Raises: NvccNotFound: there is none.
    """
    return _find_nvcc(*(os.environ.get(name, "") for name in ("NVCC", "PATH", "CUDA_HOME")))


@functools.lru_cache(maxsize=8)
def _find_nvcc(named: str, path: str, cuda_home: str) -> Nvcc:
    for command, found in _candidates(named, path, cuda_home):
        release = _release(command)
        if release:
            return Nvcc(command, release, found)
    raise NvccNotFound(
        "no CUDA compiler found: set $NVCC or $CUDA_HOME, put nvcc on the PATH, or `pip install nvidia-cuda-nvcc`"
    )


def _candidates(named: str, path: str, cuda_home: str) -> Iterator[tuple[str, str]]:
    if named:
        yield shutil.which(named, path=path) or named, "$NVCC"
    on_path = shutil.which("nvcc", path=path)
    if on_path:
        yield on_path, "PATH"
    for home, found in ((cuda_home, "$CUDA_HOME"), ("/usr/local/cuda", "/usr/local/cuda")):
        if home and os.access(Path(home, "bin", "nvcc"), os.X_OK):
            yield str(Path(home, "bin", "nvcc")), found
    for package in nvidia_packages():
        for nvcc in sorted(package.glob("*/bin/nvcc"), reverse=True):
            yield str(nvcc), "the package nvidia-cuda-nvcc"


def nvidia_packages() -> list[Path]:
    """The folders `nvidia` in site-packages, in which all pip packages of that maker are."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _release(command: str) -> str:
    """What a CUDA compiler says its release is, such as `13.0, V13.0.88`; empty when it does not run."""
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.search(r"release (\d.*)", done.stdout)
    return match.group(1).strip() if match and done.returncode == 0 else ""


def checked_arch(arch: str) -> str:
    """The architecture, if it is spelled like one.

    Raises: ValueError: it is not.
    """
    if not re.fullmatch(r"sm_\d{2,3}[af]?", arch):
        raise ValueError(f"arch must be a GPU architecture such as sm_90, got {arch!r}")
    return arch


def compile_cuda(
    text: str,
    arch: str = "sm_90",
    *,
    options: Sequence[str] = (),
    timeout: float | None = TIMEOUT,
    nvcc: Nvcc | None = None,
) -> Cubin:
    """Compile CUDA text, without a GPU, into machine code for `arch`; the same text is compiled once.

    Args: options: more options of nvcc, such as `-fmad=false`.  timeout: seconds the compiler may take.
    Raises: CudaCompileError: the compiler refused the text or gave a warning. CompileTimeout: it took too long.
        NvccNotFound: there is no compiler. ValueError: not an architecture.
    """
    nvcc = nvcc or find_nvcc()
    arguments = (*FLAGS, f"-arch={checked_arch(arch)}", *options)
    key = hashlib.sha256("\0".join((text, nvcc.release, *arguments)).encode()).hexdigest()[:32]
    target, log = cache_directory() / f"{key}.cubin", cache_directory() / f"{key}.ptxas"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            source, built, said = (Path(folder) / name for name in ("kernel.cu", "kernel.cubin", "log"))
            source.write_text(text)
            said.write_text(_run_nvcc([nvcc.command, *arguments, str(source), "-o", str(built)], timeout))
            said.replace(log)  # first, so that whoever sees a cubin finds its report
            built.replace(target)
    report = log.read_text()
    return Cubin(target, arch, parse_resources(report), report)


def _run_nvcc(command: Sequence[str], timeout: float | None) -> str:
    try:
        return run_compiler(command, timeout=timeout)
    except CompileTimeout:
        raise
    except CompileError as error:
        raise CudaCompileError(str(error)) from None


def parse_resources(log: str) -> dict[str, Resources]:
    r"""Each kernel's resources from what ptxas says when it is asked to be verbose.

    >>> parse_resources('''ptxas info    : Compiling entry function 'copy' for 'sm_90'
    ... ptxas info    : Function properties for copy
    ...     416 bytes stack frame, 824 bytes spill stores, 848 bytes spill loads
    ... ptxas info    : Used 14 registers, used 1 barriers, 416 bytes cumulative stack size, 1024 bytes smem''')
    {'copy': Resources(registers=14, shared=1024, spill_stores=824, spill_loads=848, stack=416)}
    """
    kernels: dict[str, Resources] = {}
    # One piece per kernel; what stands before the first is about the whole file.
    for piece in re.split(r"Compiling entry function '", log)[1:]:
        name = piece.split("'", 1)[0]
        own = re.search(rf"Function properties for {re.escape(name)}\n(.*)", piece)
        frame = own.group(1) if own else ""
        used = re.search(r"Used \d+ registers.*", piece)
        kernels[name] = Resources(
            registers=_number(r"Used (\d+) registers", piece),
            shared=_number(r"(\d+)(?:\+0)? bytes smem", used.group(0) if used else ""),
            spill_stores=_number(r"(\d+) bytes spill stores", frame),
            spill_loads=_number(r"(\d+) bytes spill loads", frame),
            stack=_number(r"(\d+) bytes stack frame", frame),
        )
    return kernels


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0
