"""Says what will be used on this machine and what will not: `python -m runtime doctor`.

It looks for the machine's properties, a C compiler and the optional packages, and compiles, runs and checks one small
parallel kernel, in the isolated process that also runs measured programs.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass

import numpy as np

from runtime.compile_c import CompilerNotFound, cache_directory, find_compiler
from runtime.compile_cuda import NvccNotFound, find_nvcc
from runtime.cuda_library import NoGpu
from runtime.expr import Buffer, Var
from runtime.gpu_detection import device_lines
from runtime.loop_nest import BLOCK, PARALLEL, THREAD, VECTORIZE, For, LoopNest, Store
from runtime.machine import Machine, detect
from runtime.measure import MeasureCase, measure
from runtime.measure_cuda import measure_cuda

# Distribution → what is missing without it.
OPTIONAL = {
    "onnx": "importing ONNX files",
    "onnxruntime": "comparing with ONNX Runtime",
    "matplotlib": "plots",
    "rich": "progress bars",
    "distributed": "spreading work over a cluster",
    "ziglang": "a C compiler where the system has none",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `good` is False when something that everybody needs does not work."""

    subject: str
    text: str
    good: bool = True


def examine() -> list[Finding]:
    """Look at everything; never raises."""
    machine = detect()
    findings = [
        Finding("machine", machine.line),
        Finding("python", f"{platform.python_version()} on {platform.system()}, NumPy {np.__version__}"),
        *_compiler_findings(machine),
        Finding("cache", _cache_text()),
        *_gpu_findings(),
    ]
    return findings + [Finding(name, _package_text(name, use)) for name, use in OPTIONAL.items()]


def _compiler_findings(machine: Machine) -> list[Finding]:
    try:
        compiler = find_compiler()
    except CompilerNotFound as error:
        return [Finding("compiler", str(error), False), Finding("kernel", "not tried, there is no compiler", False)]
    threads = f"up to {machine.cores} (OpenMP)" if compiler.openmp else "1: the compiler has no OpenMP"
    return [
        Finding("compiler", f"{' '.join(compiler.command)}: {compiler.version}"),
        Finding("flags", " ".join(compiler.flags)),
        Finding("threads", threads),
        _kernel_finding(machine),
    ]


def _gpu_findings() -> list[Finding]:
    """A GPU and its compiler; nobody needs one, since everything else runs without."""
    try:
        compiler = Finding("nvcc", find_nvcc().line)
    except NvccNotFound as missing:
        compiler = Finding("nvcc", str(missing))
    try:
        device = [Finding(subject, text) for subject, text in device_lines()]
        return [*device, compiler, Finding("gpu kernel", _gpu_kernel_text())]
    except (NoGpu, CompilerNotFound) as missing:
        return [Finding("gpu", f"{missing}; kernels for GPUs are predicted, and checked on the CPU"), compiler]


def _gpu_kernel_text() -> str:
    """Build and run b = a + 1 on the GPU."""
    source, target = Buffer("a", (1024,)), Buffer("b", (1024,))
    block, thread = Var("i"), Var("j")
    index = block * 256 + thread
    body = For(block, 4, BLOCK, For(thread, 256, THREAD, Store(target, (index,), source[index] + 1)))
    values = np.arange(1024, dtype=np.float32)
    result = measure_cuda([LoopNest("doctor", (source,), (target,), body)], MeasureCase([values], [values + 1]))[0]
    if result.ok:
        return f"a test kernel compiles, runs ({result.cost * 1e6:.3g} us) and answers rightly"
    return f"a test kernel fails with {result}"


def _kernel_finding(machine: Machine) -> Finding:
    """Build and run b = a + 1, one row per core."""
    source, target = Buffer("a", (machine.cores, 1024)), Buffer("b", (machine.cores, 1024))
    row, column = Var("i"), Var("j")
    body = Store(target, (row, column), source[row, column] + 1)
    loops = For(row, machine.cores, PARALLEL, For(column, 1024, VECTORIZE, body))
    values = np.arange(machine.cores * 1024, dtype=np.float32).reshape(source.shape)
    case = MeasureCase([values], [values + 1])
    result = measure([LoopNest("doctor", (source,), (target,), loops)], case, threads=machine.cores)[0]
    if result.ok:
        return Finding("kernel", f"a test kernel compiles, runs ({result.cost * 1e6:.3g} us) and answers rightly")
    return Finding("kernel", f"a test kernel fails with {result}", False)


def _cache_text() -> str:
    directory = cache_directory()
    existing = next((folder for folder in (directory, *directory.parents) if folder.exists()), directory)
    writable = os.access(existing, os.W_OK)
    return f"{directory}" + ("" if writable else " cannot be written; set MINI_CACHE to a directory that can")


def _package_text(name: str, use: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed: no {use}" if name != "ziglang" else f"not installed; it would be {use}"


def show(findings: list[Finding]) -> str:
    """The report as aligned lines; what does not work is marked in words.

    >>> print(show([Finding("cache", "/tmp"), Finding("compiler", "none", False)]))
    cache     /tmp
    compiler  PROBLEM: none
    """
    width = max(len(finding.subject) for finding in findings) + 2
    return "\n".join(
        f"{finding.subject:<{width}}{'' if finding.good else 'PROBLEM: '}{finding.text}" for finding in findings
    )
