"""Builds CUDA text into a shared library for the CPU: the C++ compiler, an engine built once, a cache by content.

Checks come from the compiler's own instrumentation: built with `-fsanitize=thread`, every access to memory calls a
function that the engine defines, and `-fsanitize=undefined`'s handlers bring line numbers. Neither runtime is linked.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.compile_c import CompileError, CompilerNotFound, _run, cache_directory
from runtime.compiler_process import run_compiler
from runtime.cuda_on_cpu.kernel_text import for_cpu

FOLDER = Path(__file__).parent
INCLUDE, ENGINE = FOLDER / "include", FOLDER / "engine"
COMMON = (
    "-std=c++17",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fno-exceptions",
    "-fno-threadsafe-statics",
    "-w",
)
# Line tables only: a report's place is looked up in them.
CHECKED = (
    "-O1",
    "-g1",
    "-gdwarf-4",
    "-fsanitize=thread",
    "-fsanitize=bounds,alignment,shift,integer-divide-by-zero,null,signed-integer-overflow",
    "-fsanitize-recover=bounds,alignment,shift,integer-divide-by-zero,null,signed-integer-overflow",
)
UNCHECKED = ("-O2", "-g0")


@dataclass(frozen=True)
class CxxCompiler:
    """A C++ compiler and its version."""

    command: tuple[str, ...]
    version: str


def find_cxx() -> CxxCompiler:
    """The first that works of `$CXX`, c++, g++, clang++, and `python -m ziglang c++`.

    Raises: CompilerNotFound: there is none.
    """
    return _find_cxx(os.environ.get("CXX", ""), os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=8)
def _find_cxx(cxx: str, path: str) -> CxxCompiler:
    candidates = [tuple(cxx.split())] if cxx else []
    candidates += [(name,) for name in ("c++", "g++", "clang++")] + [(sys.executable, "-m", "ziglang", "c++")]
    for command in candidates:
        if shutil.which(command[0], path=path) is None:
            continue
        said = _run([*command, "--version"], None, 20.0)
        if said is not None and said.returncode == 0:
            return CxxCompiler(command, said.stdout.splitlines()[0])
    raise CompilerNotFound("no C++ compiler found: install g++ or clang++, set $CXX, or `pip install ziglang`")


@functools.lru_cache(maxsize=1)
def _own_text() -> str:
    """Everything of the shim that goes into a library, for its key."""
    files = sorted([*INCLUDE.rglob("*.h"), *ENGINE.iterdir()])
    return "\0".join(file.read_text(encoding="utf-8") for file in files)


def _key(compiler: CxxCompiler, *parts: str) -> str:
    return hashlib.sha256("\0".join((*compiler.command, compiler.version, _own_text(), *parts)).encode()).hexdigest()[
        :32
    ]


def engine_object(compiler: CxxCompiler, name: str = "engine") -> Path:
    """An object file of the engine, built once per compiler."""
    flags = (*COMMON, "-O2", "-g0")
    target = cache_directory() / f"{_key(compiler, name, *flags)}.o"
    if not target.exists():
        _build([*compiler.command, *flags, "-c", str(ENGINE / f"{name}.cpp")], target)
    return target


def _prelude(compiler: CxxCompiler, flags: tuple[str, ...]) -> Path:
    """The header that stands before every kernel; for gcc read in once, which makes a build four times as fast."""
    header = INCLUDE / "cuda_on_cpu.h"
    if "clang" in compiler.version:
        return header
    folder = cache_directory() / _key(compiler, "prelude", *flags)
    target = folder / f"{header.name}.gch"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(header, folder / header.name)
        _build([*compiler.command, *flags, "-x", "c++-header", str(header)], target)
    return folder / header.name


def _build(command: list[str], target: Path, timeout: float | None = None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        run_compiler([*command, "-o", str(built)], timeout=timeout)
        built.replace(target)  # atomic, so that a reader never sees half a file


def build_on_cpu(
    text: str,
    *,
    checks: bool = True,
    file: str = "kernel.cu",
    include: tuple[str, ...] = (),
    instances: tuple[str, ...] = (),
    compiler: CxxCompiler | None = None,
    timeout: float | None = 120.0,
) -> Path:
    """Compile CUDA text into a library and return its path; the same text is compiled once.

    Args: file: the name for reports. include: further folders for `#include`. instances: of kernel templates.
        timeout: seconds the compiler may take.
    Raises: CompileError: the compiler refused the text. CompilerNotFound: there is none.
    """
    compiler = compiler or find_cxx()
    source, name = for_cpu(text, instances), Path(file).name
    flags = (*COMMON, "-fvisibility=hidden", *(CHECKED if checks else UNCHECKED), f"-I{INCLUDE}")
    folders = [f"-I{folder}" for folder in include]
    target = cache_directory() / f"{_key(compiler, source, name, *flags, *folders)}.so"
    if target.exists():
        return target
    first, last, prelude = engine_object(compiler, "zone"), engine_object(compiler), _prelude(compiler, flags)
    with tempfile.TemporaryDirectory() as work:
        kernel, compiled = Path(work) / name, Path(work) / "kernel.o"
        kernel.write_text(source, encoding="utf-8")
        try:
            command = [*compiler.command, *flags, *folders, "-include", str(prelude), "-c", "-x", "c++"]
            run_compiler([*command, str(kernel), "-o", str(compiled)], timeout=timeout)
        except CompileError as error:
            raise type(error)(str(error).replace(f"{work}/", "")) from None
        # The engine needs nothing of the C++ library, which `ziglang` would have to build first.
        libraries = ("-nostdlib++",) if "clang" in compiler.version else ()
        objects = (str(first), str(compiled), str(last))
        _build([*compiler.command, "-shared", "-Wl,-Bsymbolic", *objects, *libraries], target)
    return target
