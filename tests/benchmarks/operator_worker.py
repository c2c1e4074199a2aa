"""A process that holds one library's programs for a case of a suite and runs them when it is told.

Thread pools of several libraries in one process disturb one another: a worker that still spins after its own turn sends
the next program's workers to the core of its main thread, and a 512³ product then takes twice as long in one round and
five times in another. So every library has a process, all of them alive together, and `operators` gives them turns.

    {"load": CASE, "compiled": BOOL} → {"programs": [NAME, ...], "tasks": [TEXT, ...]}, with what takes a library long
        to compile, or without; what each computes, if not simply the case
    {"load": CASE, "finalists": N, "placement": P} → the same of our N fastest records, named by their numbers
    {"turn": NAME, "seconds": S, "warm": W, "calls": C} → {"seconds": per call}
    {"limits": [BYTES, ...]} → {"gflops": G, "gigabytes": [per second, for each size]}, what the machine can do
    {"cores": [C, ...]} → {}, from now on the process runs there
    {"answer": NAME, "file": PATH} → {}, with the answer in the file
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ansor_mini.commands.base import workload_dag
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.measured_programs import program_of
from ansor_mini.record import OK, Record
from ansor_mini.records import best_of, read_records
from runtime.compile_c import aligned_empty, build_library, load_kernel
from runtime.emit_c import emit_library
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase
from tests.benchmarks.limits import Limits
from tests.benchmarks.operator_cases import SUITES, Case, Suite, measured_here, processor
from tests.benchmarks.operator_peers import Peer, peers_of

OURS = "ours"
LINE_BYTES, PAGE_LINES = 64, 64


@dataclass(frozen=True)
class Kernel:
    """A case's best program: its loop nest and inputs, of which constant ones may be packed.

    restore: from its answer to the case's own, whose channels may be in another order. task: what it computes.
    """

    nest: LoopNest
    inputs: list[np.ndarray]
    restore: Callable[[np.ndarray], np.ndarray]
    task: str


def inputs_of(dag: ComputeDAG) -> list[np.ndarray]:
    """The same random inputs in every process."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in dag.inputs]


def best_kernels(suite: Suite, case: Case, records: Sequence[Record], threads: int) -> list[Kernel]:
    """The winner of a case's finals, or without finals its fastest record; elsewhere that of every other processor.

    Raises: ValueError: there is none.
    """
    finals = read_records(suite.finals) if suite.finals.exists() else []
    for known in (measured_here(finals), measured_here(records), finals, records):
        places = {processor(record.machine) for record in known}
        own = [[record for record in known if processor(record.machine) == place] for place in sorted(places)]
        best = [found for of_one in own if (found := best_definition(of_one, case, threads))]
        if best:
            return [kernel_of(record, case) for record in best]
    raise ValueError(no_program(suite, case, threads))


def best_definition(records: Sequence[Record], case: Case, threads: int) -> Record | None:
    """The fastest record of any definition of a case."""
    found = [best for name in case.names if (best := best_of(records, name, threads))]
    return min(found, key=lambda record: record.cost, default=None)


def no_program(suite: Suite, case: Case, threads: int) -> str:
    """What is missing, and what makes it."""
    return f"no correct program for {case.text}, {threads} threads; run {suite.command}"


def finalists(records: Iterable[Record], case: Case, threads: int, count: int) -> list[Record]:
    """The fastest programs of a case, of those tuned for each number of threads up to `threads` equally many."""
    found: list[Record] = []
    for own in range(1, threads + 1):
        correct = [r for r in records if r.task in case.names and r.threads == own and r.kind == OK]
        different: dict[tuple[Any, ...], Record] = {}
        for record in sorted(correct, key=lambda record: record.cost):
            different.setdefault((record.task, record.steps, *sorted(record.annotation.items())), record)
        found += list(different.values())[: count // threads]
    return found


def kernel_of(best: Record, case: Case) -> Kernel:
    """The program of a record, for the same numbers whatever definition of the case it computes."""
    dag = workload_dag(best.task)
    inputs, other = inputs_of(case.dag), case.alternatives.get(best.task)
    if other is not None:
        inputs = [other.arrange[tensor.name](array) for tensor, array in zip(case.dag.inputs, inputs)]
    empty = [np.empty(tensor.shape, tensor.dtype) for tensor in dag.outputs]
    nest, packed = pack_case(program_of(best, dag).lower(), MeasureCase(inputs, empty), case.constants)
    return Kernel(nest, list(packed.inputs), np.asarray if other is None else other.restore, best.task)


def our_program(kernel: Kernel, threads: int, placement: int = 0) -> Peer:
    """The compiled kernel on arrays that start on cache lines; placement: how they lie to one another."""
    compiled = load_kernel(build_library(emit_library([kernel.nest], threads=threads)), kernel.nest)
    lines = (placement * (7 * number + 5) % PAGE_LINES for number in itertools.count())
    arrays = []
    for array in kernel.inputs:
        arrays.append(_shifted(array.shape, str(array.dtype), next(lines)))
        arrays[-1][...] = array
    out = [_shifted(buffer.shape, buffer.dtype, next(lines)) for buffer in kernel.nest.outputs]
    pointers = compiled.pointers(*arrays, *out)

    def run(memory: object = arrays) -> None:  # pointers do not keep what they point to alive
        compiled.run(pointers)

    def result() -> np.ndarray:
        run()
        return kernel.restore(out[0])

    return Peer(OURS, run, result, kernel.task)


def _shifted(shape: Sequence[int], dtype: str, lines: int) -> np.ndarray:
    """An empty array that starts so many cache lines further on."""
    skipped = lines * LINE_BYTES // np.dtype(dtype).itemsize
    return aligned_empty((skipped + math.prod(shape),), dtype)[skipped:].reshape(shape)


def turn(program: Callable[[], Any], seconds: float, warm: float, calls: int) -> float:
    """Seconds per call over a turn of about this length, after so many seconds, and calls at least, of warming up."""
    start = last = time.perf_counter()
    while last - start < warm or calls > 0:
        program()
        now, calls = time.perf_counter(), calls - 1
        last, once = now, now - last
    if once > seconds + warm:
        return once  # it was warm for most of so long a call
    calls = max(1, int(seconds / once))
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls


def fastest(programs: Sequence[Peer]) -> Peer:
    """The one that takes least here, of those that were fastest elsewhere; one alone is not measured."""
    if len(programs) == 1:
        return programs[0]
    return min(programs, key=lambda program: min(turn(program.run, 0.002, 0.005, 1) for _ in range(2)))


def serve(library: str, threads: int, suite: Suite) -> None:
    """Answer requests until the input ends."""
    records = read_records(suite.records) if library == OURS else []
    programs: dict[str, Peer] = {}
    limits = functools.cache(lambda: Limits(threads))
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "load" in request:
            case = suite.cases[request["load"]]
            if "finalists" in request:
                chosen = finalists(measured_here(records), case, threads, request["finalists"])
                made = (our_program(kernel_of(r, case), threads, request["placement"]) for r in chosen)
                found = [replace(peer, name=str(number)) for number, peer in enumerate(made)]
            elif library == OURS:
                found = [fastest([our_program(k, threads) for k in best_kernels(suite, case, records, threads)])]
            else:
                compiled = request.get("compiled", False)
                found = peers_of(library, case.family, case.numbers, inputs_of(case.dag), threads, compiled=compiled)
            programs = {peer.name: peer for peer in found}
            answer |= {"programs": list(programs), "tasks": [peer.task for peer in found]}
        elif "limits" in request:
            answer = {"gflops": limits().gflops, "gigabytes": [limits().gigabytes(size) for size in request["limits"]]}
        elif "cores" in request:
            os.sched_setaffinity(0, request["cores"])
        elif "turn" in request:
            answer["seconds"] = turn(
                programs[request["turn"]].run, request["seconds"], request["warm"], request["calls"]
            )
        else:
            np.save(request["file"], programs[request["answer"]].result())
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), SUITES[sys.argv[3]])
