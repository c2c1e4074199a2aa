"""A schedule for a GPU for any compute DAG without search, so that every kernel has one.

Every stage that is a plain function of others is inlined, and so is padding. Of every other stage each thread computes
one element, neighbouring threads neighbouring ones, so that their loads and stores are coalesced; a reduction is
computed in a register of the thread that needs it. Where there are fewer results than threads and much to add up for
each, a block computes one result and its threads share the reduction.

Paper: Ansor §4.3

>>> from ansor_mini.schedule_examples import matmul, replay
>>> from ansor_mini.lowering import lower
>>> from runtime.gpu import gpu
>>> dag = matmul(256, 512, 16)
>>> print(lower(replay(dag, default_gpu_steps(dag, gpu("h100")))))
def kernel(A: float32[256, 16], B: float32[16, 512]) -> (C: float32[256, 512]):
    for i_j0 in block(512):
        for i_j1 in thread(256):
            with local(float32[1, 1]) as C_local:
                C_local[0, 0] = 0.0
                for k in range(16):
                    C_local[0, 0] = C_local[0, 0] + A[i_j0 // 2, k] * B[k, i_j0 % 2 * 256 + i_j1]
                C[i_j0 // 2, i_j0 % 2 * 256 + i_j1] = C_local[0, 0]
"""

from __future__ import annotations

import math

from ansor_mini import dag_analysis as facts
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import is_inlined
from ansor_mini.gpu_steps import Bind
from ansor_mini.schedule import Step
from ansor_mini.steps import CacheWrite, ComputeAt, ComputeInline, Fuse, Reorder, Split
from ansor_mini.tensor_expression import Tensor
from runtime.gpu import Gpu
from runtime.loop_nest import BLOCK, THREAD

MOST_THREADS = 256
LONG_REDUCTION = 64  # numbers to add up from which threads share them, if they have nothing else to do


def default_gpu_steps(dag: ComputeDAG, gpu: Gpu) -> tuple[Step, ...]:
    """The steps of the default schedule of a DAG for a GPU."""
    inlined = {op.name for op in dag.ops if not dag.is_output(op) and is_inlined(dag, op)}
    steps: list[Step] = [ComputeInline(name) for name in sorted(inlined)]
    reductions = [op for op in dag.ops if op.reduce_axes]
    consumers = {op.name: facts.fusible_consumer(dag, op.name) for op in reductions}
    consumers = {name: None if consumer in inlined else consumer for name, consumer in consumers.items()}
    for op in dag.ops:
        if op.name in consumers:
            steps += _reduced(op, consumers[op.name], dag, gpu)
        elif op.name not in inlined and op.name not in consumers.values():
            steps += _spread(op, gpu)
    return tuple(steps)


def _reduced(op: Tensor, consumer: str | None, dag: ComputeDAG, gpu: Gpu) -> list[Step]:
    """A reduction in registers of the threads, or of the block, that compute its consumer or its copy-out."""
    points = math.prod(axis.extent for axis in op.reduce_axes)
    shared = op.size <= gpu.multiprocessors * gpu.warp and points >= LONG_REDUCTION
    if not op.axes:
        return _together(op.name, op, points) if shared else []
    inner, outer = op.name, consumer
    steps: list[Step] = []
    if outer is None:
        steps, inner, outer = [CacheWrite(op.name)], f"{op.name}.local", op.name
    target = dag[outer]
    if not shared:
        return [*steps, *_spread(target, gpu), ComputeAt(inner, outer, _fused(target) + ".1")]
    steps += [*_fuse(target), Bind(outer, _fused(target), BLOCK), ComputeAt(inner, outer, _fused(target))]
    return steps + _together(inner, op, points)


def _together(stage: str, op: Tensor, points: int) -> list[Step]:
    """The threads of a block share the reduction of a stage: each adds up every so many numbers."""
    names = [axis.name for axis in op.reduce_axes]
    fused = "@".join(names)
    steps: list[Step] = [Fuse(stage, tuple(names))] if len(names) > 1 else []
    steps.append(Split(stage, fused, (min(MOST_THREADS, _power_of_two(points)),)))
    steps.append(Reorder(stage, (*(axis.name for axis in op.axes), f"{fused}.1", f"{fused}.0")))
    return [*steps, Bind(stage, f"{fused}.1", THREAD)]


def _spread(op: Tensor, gpu: Gpu) -> list[Step]:
    """One element a thread, along all axes together."""
    if not op.axes:
        return []
    fused, threads = _fused(op), threads_for(op.size, gpu)
    split = Split(op.name, fused, (threads,))
    return [*_fuse(op), split, Bind(op.name, f"{fused}.0", BLOCK), Bind(op.name, f"{fused}.1", THREAD)]


def threads_for(elements: int, gpu: Gpu) -> int:
    """Threads of a block: many, unless multiprocessors would have nothing to do.

    >>> from runtime.gpu import gpu
    >>> [threads_for(elements, gpu("h100")) for elements in (1 << 20, 10_000, 7)]
    [256, 64, 32]
    """
    threads = MOST_THREADS
    while threads > gpu.warp and elements < threads * gpu.multiprocessors:
        threads //= 2
    return threads


def _fuse(op: Tensor) -> list[Step]:
    names = tuple(axis.name for axis in op.axes)
    return [Fuse(op.name, names)] if len(names) > 1 else []


def _fused(op: Tensor) -> str:
    return "@".join(axis.name for axis in op.axes)


def _power_of_two(number: int) -> int:
    """The largest power of two that is no larger.

    >>> _power_of_two(100)
    64
    """
    return 1 << (number.bit_length() - 1)
