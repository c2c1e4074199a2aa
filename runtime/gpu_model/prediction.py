"""A GPU kernel's time from arithmetic: a model that is never called a measurement.

1. Split the nest into launches, and each launch into stores with their loops (`sites`).
2. Count what one block asks of its multiprocessor: multiply-adds, instructions, cycles of the load/store unit
   (`requests`), and what all blocks ask of L2 and memory (`traffic`).
3. Registers, shared memory and threads say how many blocks run at a time (`occupancy`), and refuse the rest.
4. Each unit's time is a limit; the prediction is a little more than the largest, since units that are nearly as busy
   get in its way: the limits' p-norm.

What was fitted: BLEND, with the seven kernels of `tests.benchmarks.gpu_model` in view, as were the rules for requests.
Of tensor cores (`tensor_cores`) nothing was fitted: the first kernels measured took two thirds of what it predicts.
Reading: Hong & Kim ISCA 2009; Zhang & Owens HPCA 2011; Ernst et al. arXiv 2204.14242; Pruner, ASPLOS 2025.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.expr import Binary, Buffer, Expr
from runtime.expr_tree import free_variables, loads, walk
from runtime.gpu import Gpu
from runtime.gpu_model.occupancy import SCHEDULERS, infeasible, resident_blocks
from runtime.gpu_model.operations import INTEGER_DIVISION, operations
from runtime.gpu_model.registers import registers
from runtime.gpu_model.requests import WARP, warp_requests
from runtime.gpu_model.sites import IN_REGISTERS, Kernel, Site, kernels
from runtime.gpu_model.tensor_cores import (
    INSTRUCTION,
    SHARE,
    fragment_requests,
    is_asynchronous,
    multiplies,
    multiply_adds,
)
from runtime.gpu_model.traffic import Access, block_bytes, memory_bytes
from runtime.loop_nest import LoopNest, Store, walk_stmts

LAUNCH = 3e-6  # seconds
BLEND = 2.0  # the p of the p-norm
LATENCY = {"shared": 29, "l1": 40, "l2": 260, "memory": 570}  # cycles
ARITHMETIC_LATENCY = 4
BARRIER = 30  # cycles
L2_BYTES_PER_CYCLE = 64  # that one multiprocessor takes at most
SPECIAL_PER_CYCLE = 0.5  # warp instructions
L1_SHARE = 0.5  # of what shared memory leaves, since caches are not perfect
SHUFFLES = 10  # instructions that add up a value over the lanes of a warp
LOOP_INSTRUCTIONS = 3


@dataclass(frozen=True)
class Prediction:
    """What the model says of a nest.

    seconds: infinite when it cannot be launched, and then `reason` says why. limits: seconds that each unit alone would
    take, summed over the launches. occupancy: warps that are resident, of the most that can be, in the launch that
    takes longest.
    """

    seconds: float
    limits: Mapping[str, float] = field(default_factory=dict)
    occupancy: float = 0.0
    reason: str = ""

    @property
    def limit(self) -> str:
        """The unit that is busiest.

        >>> Prediction(3.0, {"fma": 1.0, "memory": 2.0}).limit
        'memory'
        """
        return max(self.limits, key=self.limits.__getitem__, default="")


def predict(nest: LoopNest, gpu: Gpu, registers_of: Sequence[int] = ()) -> Prediction:
    """Predict the time of a nest on a GPU: a model, never a measurement.

    registers_of: registers of each launch as a compiler reports them; estimated when not given.

    >>> from runtime.gpu import gpu
    >>> from runtime.loop_nest_text import parse
    >>> body = "for b in block(4096):\\n    for t in thread(256):\\n      C[b * 256 + t] = A[b * 256 + t] * 2.0"
    >>> nest = parse(f"def scale(A: float32[1048576]) -> (C: float32[1048576]):\\n  {body}")
    >>> found = predict(nest, gpu("h100"))
    >>> 4e-6 < found.seconds < 2e-5, found.occupancy
    (True, 1.0)
    """
    found = []
    for number, kernel in enumerate(kernels(nest)):
        known = registers_of[number] if number < len(registers_of) else None
        one = _predict_kernel(kernel, gpu, known)
        if one.reason:
            return one
        found.append(one)
    names = dict.fromkeys(name for one in found for name in one.limits)
    limits = {name: sum(one.limits.get(name, 0.0) for one in found) for name in names}
    slowest = max(found, key=lambda one: one.seconds)
    return Prediction(sum(one.seconds for one in found), limits, slowest.occupancy)


def refusal(nest: LoopNest, gpu: Gpu) -> str:
    """Why a nest cannot be launched on a GPU; empty when it can.  Quicker than a prediction."""
    return next(filter(None, (_resources(kernel, gpu, None)[2] for kernel in kernels(nest))), "")


def _resources(kernel: Kernel, gpu: Gpu, known: int | None) -> tuple[int, int, str]:
    """Registers that a thread gets, those that it lacks, and why the kernel cannot be launched."""
    wanted = known if known is not None else registers(kernel)
    warps = -(-kernel.threads // WARP)
    most = min(gpu.registers_per_thread, gpu.registers_per_multiprocessor // (warps * WARP) // 8 * 8)
    used = min(wanted, most)
    dynamic = any(site.tensor for site in kernel.sites)
    return used, wanted - used, infeasible(gpu, kernel.threads, used, kernel.shared_bytes, dynamic=dynamic)


@dataclass
class _Work:
    """What one block asks of its multiprocessor, in cycles where nothing else is said; latency is that of one warp."""

    fused: float = 0.0  # warp instructions
    issued: float = 0.0  # warp instructions
    special: float = 0.0  # warp instructions
    memory_unit: float = 0.0
    latency: float = 0.0
    chain: float = 0.0  # of dependent arithmetic
    tensor_flops: float = 0.0


def _predict_kernel(kernel: Kernel, gpu: Gpu, known: int | None) -> Prediction:
    used, spilled, reason = _resources(kernel, gpu, known)
    if reason:
        return Prediction(math.inf, reason=reason)
    warps = -(-kernel.threads // WARP)
    resident = resident_blocks(gpu, kernel.threads, used, kernel.shared_bytes)
    at_once = min(resident, -(-kernel.grid // gpu.multiprocessors))
    accesses, work = _work(kernel, spilled)
    limits = _limits(kernel, gpu, work, accesses, at_once)
    seconds = LAUNCH + norm(limits.values(), BLEND)
    return Prediction(seconds, limits, at_once * warps * WARP / gpu.threads_per_multiprocessor)


def norm(limits: Iterable[float], p: float) -> float:
    """The p-norm: a little more than the largest, the more the nearer the others come.

    >>> norm([3.0, 4.0], 2.0), norm([0.0, 4.0], 2.0)
    (5.0, 4.0)
    """
    largest = max(limits := list(limits), default=0.0)
    return largest and largest * sum((limit / largest) ** p for limit in limits) ** (1 / p)


def _limits(kernel: Kernel, gpu: Gpu, work: _Work, accesses: Sequence[Access], at_once: int) -> dict[str, float]:
    """Seconds that each unit needs for all blocks."""
    wave = at_once * gpu.multiprocessors
    # The multiprocessor with the most to do: whole waves, and its share of what is left.
    blocks = kernel.grid // wave * at_once + -(-(kernel.grid % wave) // gpu.multiprocessors)
    waves = -(-kernel.grid // wave)
    active = min(kernel.grid, gpu.multiprocessors)
    cycle = 1 / gpu.clock_hz
    lanes = gpu.flops / (2 * gpu.clock_hz * gpu.multiprocessors * WARP)
    room = L1_SHARE * max(0, gpu.shared_per_multiprocessor - at_once * kernel.shared_bytes) / at_once
    mine = room / max(1, len(accesses))
    l2_bytes = kernel.grid * sum(block_bytes(access, mine) for access in accesses)
    from_memory = memory_bytes(kernel, accesses, at_once, gpu)
    limits = {
        "fma": blocks * work.fused / lanes * cycle,
        "issue": blocks * work.issued / SCHEDULERS * cycle,
        "special": blocks * work.special / SPECIAL_PER_CYCLE * cycle,
        "load/store": blocks * work.memory_unit * cycle,
        "l2": l2_bytes / min(gpu.l2_bytes_per_second, active * L2_BYTES_PER_CYCLE * gpu.clock_hz),
        "memory": from_memory / min(gpu.memory_bytes_per_second, active * L2_BYTES_PER_CYCLE * gpu.clock_hz),
        "tensor": blocks * work.tensor_flops / (SHARE * gpu.tensor_flops / gpu.multiprocessors),
    }
    busiest = max(work.fused / lanes, work.issued / SCHEDULERS, work.memory_unit, work.chain)
    # Copies of data that other blocks have read come out of L2, the first ones out of memory.
    cold = min(1.0, from_memory / l2_bytes) if l2_bytes else 0.0
    far = LATENCY["l2"] + cold * (LATENCY["memory"] - LATENCY["l2"])
    limits["latency"] = waves * (work.latency * 1.0 + busiest + far) * cycle
    return {name: seconds for name, seconds in limits.items() if seconds > 0}


def _work(kernel: Kernel, spilled: int) -> tuple[list[Access], _Work]:
    """The accesses to global memory, and what one block asks of its multiprocessor."""
    work = _Work()
    accesses: list[Access] = []
    warps = -(-kernel.threads // WARP)
    for site in kernel.sites:
        active = _warps(site, kernel)
        done = operations(site.store.value)
        instances = site.points * site.repeats * active
        if multiplies(site):
            work.tensor_flops += 2 * instances * multiply_adds(site)
            work.issued += instances * multiply_adds(site) / INSTRUCTION
        else:
            instances *= max(1, multiply_adds(site) // WARP)  # the lanes of a warp share the elements of a fragment
            work.fused += done.fused * instances
            work.issued += (done.fused + done.other) * instances
            work.special += done.special * instances
        work.issued += LOOP_INSTRUCTIONS * site.repeats * active * bool(site.outer)
        if site.collective:
            work.issued += SHUFFLES * active
            work.latency += SHUFFLES * LATENCY["shared"] + 2 * BARRIER
        _add_accesses(kernel, site, active, work, accesses)
        work.chain += _chain(site)
    if spilled:
        repeats = max((site.repeats for site in kernel.sites), default=1)
        work.memory_unit += 2 * spilled * repeats * warps
        work.issued += 2 * spilled * repeats * warps
    return accesses, work


def _warps(site: Site, kernel: Kernel) -> int:
    """Warps of a block that run a statement: all that its thread loop has, all for a thread's own, else the first."""
    if site.thread is not None or site.warp is not None:
        return -(-site.threads // WARP)
    return -(-kernel.threads // WARP) if site.store.buffer.scope in IN_REGISTERS else 1


def _add_accesses(kernel: Kernel, site: Site, active: int, work: _Work, accesses: list[Access]) -> None:
    store = site.store
    own = _times(kernel, site, store.indices, None)
    wanted = [(load.buffer, load.indices, False) for load in dict.fromkeys(loads(store.value))]
    wanted.append((store.buffer, store.indices, True))
    waiting: dict[str, float] = {}
    for buffer, indices, writes in wanted:
        if buffer.scope in IN_REGISTERS:
            continue
        element = (buffer.name, indices) == (store.buffer.name, store.indices)
        groups = own if element else _times(kernel, site, indices, buffer)
        requests = (fragment_requests if site.tensor else warp_requests)(site, buffer, indices)
        work.memory_unit += requests.cycles * groups * active
        work.issued += (requests.count + 1 + _index_divisions(site, indices)) * groups * active
        if is_asynchronous(site):
            pass  # nobody waits for it
        elif not writes:
            waiting[buffer.scope] = max(waiting.get(buffer.scope, 0.0), groups)
        elif buffer.scope == "shared":
            work.latency += (LATENCY["shared"] + 2 * BARRIER) * groups
        if buffer.scope == "global":
            accesses.append(Access(site, buffer, indices, writes, requests, groups))
    work.latency += sum(LATENCY["shared" if scope == "shared" else "l2"] * groups for scope, groups in waiting.items())


def _times(kernel: Kernel, site: Site, indices: Sequence[Expr], buffer: Buffer | None) -> float:
    """Groups in which a thread really accesses an element: what does not change in the inner loops moves out of them.

    buffer: that may be written meanwhile; None for a sum that is kept in a register until its loops are done.
    """
    used = frozenset().union(*map(free_variables, indices)) if indices else frozenset()
    outer = list(site.outer)
    while outer and outer[-1][0].var.name not in used:
        if buffer is not None and _writes(outer[-1][0], buffer):
            break
        outer.pop()
    return float(math.prod(count for _, count in outer))


def _writes(loop: object, buffer: Buffer) -> bool:
    return any(isinstance(stmt, Store) and stmt.buffer.name == buffer.name for stmt in walk_stmts(loop.body))  # type: ignore[attr-defined]


def _index_divisions(site: Site, indices: Sequence[Expr]) -> int:
    """Instructions for divisions that change from one group to the next."""
    changing = {loop.var.name for loop, _ in site.outer}
    found = 0
    for index in indices:
        for node in walk(index):
            if isinstance(node, Binary) and node.op in ("//", "%") and changing & free_variables(node):
                found += INTEGER_DIVISION
    return found


def _chain(site: Site) -> float:
    """Cycles of one thread's dependent additions: those that go into one element follow each other."""
    own = {(load.buffer.name, load.indices) for load in loads(site.store.value)}
    steps = site.points * site.repeats
    if (site.store.buffer.name, site.store.indices) not in own:
        return float(steps)
    used = frozenset().union(*map(free_variables, site.store.indices)) if site.store.indices else frozenset()
    sums = math.prod(count for loop, count in site.grouped if loop.var.name in used)
    return steps * max(1.0, ARITHMETIC_LATENCY / sums)
