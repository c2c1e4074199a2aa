"""Whether nvcc takes what the emitter prints: random GPU programs compiled for two architectures, warnings as errors.

Paper: Ansor §4.3

Programs are drawn from all sketches of the paper's operators and subgraphs at their own shapes. No GPU is needed. Eight
kernels share a run of the compiler; when a run fails, each of its programs gets one of its own, so that the table says
which was refused. Registers and spills are what ptxas says of each kernel. Cubins are kept in the cache, so that a run
that was cut off goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ansor_mini.ablations import Search
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.target import GPU_STRUCTURE, target_of
from ansor_mini.workloads import PAPER_OPERATORS, PAPER_SUBGRAPHS, WORKLOADS
from runtime.compile_c import CompileError
from runtime.compile_cuda import NvccNotFound, Resources, compile_cuda, find_nvcc
from runtime.cuda_texts import join_texts
from runtime.emit_cuda import EmitError, emit_cuda
from runtime.gpu import gpu
from runtime.machine import usable_cores
from tests.benchmarks.command import main

ARCHITECTURES = ("sm_80", "sm_90")
GPU = gpu("h100")
PER_WORKLOAD, QUICK_PER_FAMILY, PER_FILE = 5, 2, 8
SEED = 0
ATTEMPTS = 5  # of some computations few random programs fit a GPU
TIMEOUT = 300.0  # a program with a thousand unrolled statements takes long


@dataclass
class Compiled:
    """One program: its workload and text, per architecture its kernels' resources or why there are none."""

    workload: str
    text: str
    resources: dict[str, list[Resources]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def spills(self) -> bool:
        """Whether a kernel spills on one of the architectures."""
        return any(own.spills for kernels in self.resources.values() for own in kernels)

    def of(self, name: str, arch: str) -> int:
        """The largest of a resource over the kernels."""
        return max((getattr(own, name) for own in self.resources.get(arch, ())), default=0)


def draw(quick: bool) -> list[Compiled]:
    """Different programs of all workloads, each with kernels of its own name."""
    found: list[Compiled] = []
    for family in (*PAPER_OPERATORS, *PAPER_SUBGRAPHS):
        shapes = WORKLOADS[family].shapes[: 1 if quick else None]
        for shape in shapes:
            count = QUICK_PER_FAMILY if quick else PER_WORKLOAD
            found += _of_workload(family, shape, count, len(found))
    return found


def _of_workload(family: str, shape: Sequence[int], count: int, first: int) -> list[Compiled]:
    dag = WORKLOADS[family].dag(*shape)
    rules = target_of(GPU).rules(WORKLOADS[family].constants)
    rng = np.random.default_rng((SEED, first))
    search = Search(derive(dag, rules, GPU, structure=GPU_STRUCTURE), target_of(GPU).model(rng), rng, GPU)
    name = f"{family}:{','.join(map(str, shape))}"
    found: dict[str, Compiled] = {}
    seen: set[Program] = set()
    for _ in range(ATTEMPTS):
        if len(found) == count:
            break
        for program in search.random_programs(4 * count):
            if program in seen or len(found) == count:
                continue
            seen.add(program)
            try:
                nest = program.lower()
                text = emit_cuda(replace(nest, name=f"{family}_{first + len(found)}")).text
            except (ScheduleError, EmitError):
                continue
            found.setdefault(str(nest), Compiled(name, text))
    return list(found.values())


def compile_all(programs: Sequence[Compiled]) -> None:
    """Fill in the resources of all programs, several kernels to a run of the compiler."""
    files = [programs[start : start + PER_FILE] for start in range(0, len(programs), PER_FILE)]
    jobs = [(file, arch) for file in files for arch in ARCHITECTURES]
    with ThreadPoolExecutor(usable_cores()) as pool:
        for number, _ in enumerate(pool.map(lambda job: _compile_file(*job), jobs), start=1):
            sys.stderr.write(f"\rcompiled {number} of {len(jobs)} files ")
    sys.stderr.write("\n")


def _compile_file(programs: Sequence[Compiled], arch: str) -> None:
    try:
        kernels = compile_cuda(join_texts([program.text for program in programs]), arch, timeout=TIMEOUT).kernels
    except CompileError as error:
        if len(programs) == 1:
            programs[0].refused[arch] = str(error)
        else:
            for program in programs:
                _compile_file([program], arch)
        return
    for program in programs:
        program.resources[arch] = [own for name, own in kernels.items() if f" {name}(" in program.text]


def benchmark(quick: bool) -> dict[str, Any]:
    """Draw, compile, print the table."""
    try:
        compiler = find_nvcc()
    except NvccNotFound as error:
        raise ValueError(str(error)) from None
    programs = draw(quick)
    compile_all(programs)
    sys.stdout.write(f"{compiler.line}; one line per workload, each figure the largest of its programs\n")
    heads = " ".join(f"{arch + ' ' + name:>15}" for arch in ARCHITECTURES for name in ("registers", "spilled"))
    sys.stdout.write(f"{'workload':32} {'programs':>8} {'compiled':>8} {'shared':>7} {heads}\n")
    for workload in dict.fromkeys(program.workload for program in programs):
        sys.stdout.write(_line(workload, [program for program in programs if program.workload == workload]) + "\n")
    for program in programs:
        for arch, reason in program.refused.items():
            sys.stdout.write(f"refused for {arch}: {program.workload}: {' '.join(reason.split())[:300]}\n")
    registers = [program.of("registers", arch) for program in programs for arch in ARCHITECTURES]
    return {
        "programs": len(programs),
        "compiled": sum(len(program.resources) == len(ARCHITECTURES) for program in programs),
        "spilling": sum(program.spills for program in programs),
        "architectures": list(ARCHITECTURES),
        "compiler": compiler.release,
        "kernels": sum(len(program.resources.get(ARCHITECTURES[0], ())) for program in programs),
        "registers_median": float(np.median(registers)),
        "registers_most": int(max(registers)),
    }


def _line(workload: str, programs: Sequence[Compiled]) -> str:
    done = sum(len(program.resources) == len(ARCHITECTURES) for program in programs)
    shared = max(program.of("shared", ARCHITECTURES[-1]) for program in programs)
    columns = []
    for arch in ARCHITECTURES:
        spilled = max(program.of("spill_stores", arch) for program in programs)
        columns += [f"{max(program.of('registers', arch) for program in programs):15}", f"{spilled:13} B"]
    return f"{workload:32} {len(programs):8} {done:8} {shared:7} {' '.join(columns)}"


if __name__ == "__main__":
    sys.exit(main("cuda_compile", benchmark, (__doc__ or "").splitlines()[0]))
