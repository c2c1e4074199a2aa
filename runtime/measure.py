"""Compiles and times kernels: built side by side, then run one at a time in an isolated process.

1. Builders lower, emit and compile the programs, several to a C file; when a file fails, each of its programs gets a
   file of its own, so that a bad one does not take its neighbours down. They work in an `Executor`.
2. When all compilers are done, so that none disturbs a timing, a `Runner` checks each program's outputs and only then
   takes its time: the fastest of several groups of calls, each long enough for the clock.

Whatever a program does wrong is a `MeasureResult` with a kind and a reason; nothing here raises for it.

Paper: Ansor §3
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

from runtime.c_text.prelude import prelude
from runtime.compile_c import LINK_FLAGS, CompileError, find_compiler
from runtime.compiler_process import CompileTimeout, built_side_by_side, run_compiler
from runtime.emit_c import emit_kernel, workspace_bytes
from runtime.loop_nest import LoopNest
from runtime.machine import detect, usable_cores
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.runner import BuiltKernel, Runner
from runtime.scratch import scratch_folder

# What can be measured: a loop nest, or a function that lowers one (called in the builder, so that lowering is shared
# out as well; it must be picklable when the executor uses processes).
Measurable = Union[LoopNest, Callable[[], LoopNest]]
Built = Union[BuiltKernel, MeasureResult]
OnResult = Callable[[int, MeasureResult], None]

# Starting a compiler costs about as much as compiling a small kernel, so several share a file: four take 50 to 80 % of
# the time of four files, eight a few per cent less. Two files per core keep all of them busy until the end.
KERNELS_PER_FILE, FILES_PER_CORE, FILE_CHARACTERS = 8, 2, 32 << 10
FLUSH = 2  # times the largest cache that is written to between calls with cold caches


@dataclass(frozen=True)
class KernelSource:
    """C text with a function `void name(pointer, ...)` of `arguments` arrays and a workspace."""

    source: str
    name: str
    arguments: int
    workspace_bytes: int = 0


def measure(
    programs: Sequence[Measurable],
    case: MeasureCase | Sequence[MeasureCase],
    *,
    threads: int = 1,
    executor: Executor | None = None,
    runner: Runner | None = None,
    build_timeout: float = 15.0,
    run_timeout: float = 10.0,
    min_repeat_seconds: float = 0.002,
    repeats: int = 10,
    cold_caches: bool = False,
    on_result: OnResult | None = None,
) -> list[MeasureResult]:
    """Measure programs that all compute `case`; one result each, in order.

    Args:
        programs: loop nests, or functions that return one.
        case: inputs and the outputs they must give; a sequence has one for each program.
        threads: cores that a kernel's parallel loops use.
        executor: runs the builders; by default threads of this process, one per core.
        runner: a running one to use again; by default one is started and closed, which takes a few tenths of a second.
        build_timeout: seconds one compiler may take.
        run_timeout: seconds one program's checks and timing may take together.
        min_repeat_seconds: calls are grouped until a group lasts this long.
        repeats: groups that are timed; a slow program is content with fewer.
        cold_caches: write to more memory than the caches hold before every call, and time each call alone; a group of
            calls finds its data where the call before has left it.
        on_result: called with each program's number and result as soon as it is known.

    Raises: CompilerNotFound: there is no C compiler. OSError: the disk is full. ValueError: a number that cannot be.
    """
    timing = _timing(run_timeout, min_repeat_seconds, repeats, cold_caches)
    cases = [case] * len(programs) if isinstance(case, MeasureCase) else list(case)
    signatures = [tuple((array.shape, str(array.dtype)) for array in (*own.inputs, *own.expected)) for own in cases]
    size = max(1, min(KERNELS_PER_FILE, -(-len(programs) // (FILES_PER_CORE * usable_cores()))))
    numbered = list(zip(range(len(programs)), programs, signatures, strict=True))
    with scratch_folder("build") as folder:
        jobs = [
            (_build_programs, (numbered[start : start + size], threads, folder, build_timeout))
            for start in range(0, len(programs), size)
        ]
        built = _run_jobs(jobs, executor)
        return _run_built(built, cases, runner, timing, on_result)


def measure_sources(
    sources: Sequence[KernelSource],
    case: MeasureCase,
    *,
    executor: Executor | None = None,
    runner: Runner | None = None,
    build_timeout: float = 15.0,
    run_timeout: float = 10.0,
    min_repeat_seconds: float = 0.002,
    repeats: int = 10,
    cold_caches: bool = False,
    on_result: OnResult | None = None,
) -> list[MeasureResult]:
    """Measure kernels given as C text; otherwise like `measure`."""
    with scratch_folder("build") as folder:
        jobs = [
            (_build_source, (source, folder / f"source{number}", build_timeout))
            for number, source in enumerate(sources)
        ]
        built = _run_jobs(jobs, executor)
        timing = _timing(run_timeout, min_repeat_seconds, repeats, cold_caches)
        return _run_built(built, [case] * len(sources), runner, timing, on_result)


def repeat_function(name: str, arguments: int) -> str:
    """C text of `NAME_repeat`, which calls a kernel many times, so that the timing loop is not Python's.

    The volatile pointer keeps the compiler from inlining the kernel and then computing its loops only once.

    >>> print(repeat_function("copy", 2))
    void copy_repeat(void *const *a, long calls) {
      void (*volatile kernel)(void *, void *, void *) = (void (*)(void *, void *, void *))copy;
      for (long call = 0; call < calls; ++call) kernel(a[0], a[1], a[2]);
    }
    """
    passed = ", ".join(f"a[{number}]" for number in range(arguments + 1))
    types = ", ".join(["void *"] * (arguments + 1))
    return (
        f"void {name}_repeat(void *const *a, long calls) {{\n"
        f"  void (*volatile kernel)({types}) = (void (*)({types})){name};\n"
        f"  for (long call = 0; call < calls; ++call) kernel({passed});\n"
        "}"
    )


def _run_jobs(jobs: Sequence[tuple[Callable[..., list[Built]], tuple]], executor: Executor | None) -> list[Built]:
    """Run the builders, and leave no compiler behind when interrupted."""
    find_compiler()  # its search is remembered: once here, not once in every builder
    groups = built_side_by_side(jobs, executor, usable_cores())
    return [built for group in groups for built in group]


def _timing(run_timeout: float, min_repeat_seconds: float, repeats: int, cold_caches: bool) -> dict[str, Any]:
    """What `Runner.run` is told.  Raises: ValueError: a number that cannot be."""
    for name, value in (("run_timeout", run_timeout), ("repeats", repeats)):
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    if not min_repeat_seconds >= 0:
        raise ValueError(f"min_repeat_seconds must not be negative, got {min_repeat_seconds}")
    machine = detect()
    flush = FLUSH * max(machine.l1_bytes, machine.l2_bytes, machine.l3_bytes) if cold_caches else 0
    return {
        "run_timeout": run_timeout,
        "min_repeat_seconds": min_repeat_seconds,
        "repeats": repeats,
        "flush_bytes": flush,
    }


def _run_built(
    built: Sequence[Built],
    cases: Sequence[MeasureCase],
    runner: Runner | None,
    timing: Mapping[str, Any],
    on_result: OnResult | None,
) -> list[MeasureResult]:
    results = []
    with ExitStack() as stack:
        for number, (item, case) in enumerate(zip(built, cases, strict=True)):
            result = item
            if isinstance(item, BuiltKernel):
                runner = runner or stack.enter_context(Runner())
                runner.load(case)
                result = runner.run(item, **timing)
            assert isinstance(result, MeasureResult)
            results.append(result)
            if on_result is not None:
                on_result(number, result)
    return results


def _build_programs(
    programs: Sequence[tuple[int, Measurable, tuple]], threads: int, folder: Path, timeout: float
) -> list[Built]:
    """Build programs (with their numbers and signatures)."""
    kernels = [_emit(*program, threads) for program in programs]
    good = [kernel for kernel in kernels if isinstance(kernel, KernelSource)]
    built = iter([built for file in _files(good) for built in _build_file(file, folder, timeout)])
    return [next(built) if isinstance(kernel, KernelSource) else kernel for kernel in kernels]


def _files(kernels: Sequence[KernelSource]) -> list[list[KernelSource]]:
    """Adjacent kernels together while their text is short: what compiles slowly must not use up others' time."""
    files: list[list[KernelSource]] = []
    for kernel in kernels:
        if files and sum(len(k.source) for k in (*files[-1], kernel)) <= FILE_CHARACTERS:
            files[-1].append(kernel)
        else:
            files.append([kernel])
    return files


def _build_file(kernels: Sequence[KernelSource], folder: Path, timeout: float) -> list[Built]:
    """Build kernels into one library; when that fails, each into its own."""
    together = _build_kernels(kernels, folder, timeout)
    if len(kernels) == 1 or isinstance(together[0], BuiltKernel):
        return together
    return [built for kernel in kernels for built in _build_kernels([kernel], folder, timeout)]


def _emit(number: int, program: Measurable, signature: tuple, threads: int) -> KernelSource | MeasureResult:
    """The program's C (without the prelude) under a name of its own, or why it cannot be measured on this case."""
    try:
        nest = program if isinstance(program, LoopNest) else program()
        expected = tuple((buffer.shape, buffer.dtype) for buffer in (*nest.inputs, *nest.outputs))
        if expected != signature:
            raise ValueError(f"it is declared for {expected}, the case holds {signature}")
        nest = replace(nest, name=f"{nest.name}_{number}")
        text = emit_kernel(nest, threads=threads)
    except Exception as error:  # whatever goes wrong in a schedule is the program's failure, not ours
        return MeasureResult("lowering_error", (), _reason(error))
    return KernelSource(text, nest.name, len(signature), workspace_bytes(nest))


def _build_kernels(kernels: Sequence[KernelSource], folder: Path, timeout: float) -> list[Built]:
    body = "\n".join(kernel.source for kernel in kernels)
    stem = folder / f"{kernels[0].name}_{len(kernels)}"
    return _build_library(f"{prelude(body)}\n{body}", kernels, stem, timeout)


def _build_source(source: KernelSource, stem: Path, timeout: float) -> list[Built]:
    return _build_library(source.source, [source], stem, timeout)


def _build_library(text: str, kernels: Sequence[KernelSource], stem: Path, timeout: float) -> list[Built]:
    """Compile one C file; every kernel shares its fate."""
    compiler = find_compiler()
    openmp = ["-fopenmp"] if compiler.openmp and "#pragma omp" in text else []
    repeats = [repeat_function(kernel.name, kernel.arguments) for kernel in kernels]
    source, library = stem.with_suffix(".c"), stem.with_suffix(".so")
    source.write_text("\n".join([text, *repeats]) + "\n")
    command = [*compiler.command, *compiler.flags, *openmp, str(source), "-o", str(library), *LINK_FLAGS]
    try:
        run_compiler(command, timeout=timeout)
    except CompileTimeout as error:
        return [MeasureResult("build_timeout", (), _reason(error))] * len(kernels)
    except CompileError as error:
        if os.strerror(errno.ENOSPC) in str(error):  # the disk's failure, not the program's
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(stem.parent)) from None
        return [MeasureResult("compile_error", (), _reason(error))] * len(kernels)
    return [BuiltKernel(library, kernel.name, kernel.workspace_bytes) for kernel in kernels]


def _reason(error: Exception) -> str:
    """What went wrong, in at most a few lines."""
    lines = str(error).strip().splitlines()[:5] or [type(error).__name__]
    return "\n".join(line[:300] for line in lines)


__all__ = ["KernelSource", "MeasureCase", "MeasureResult", "measure", "measure_sources", "repeat_function"]
