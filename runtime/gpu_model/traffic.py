"""Bytes that a kernel's accesses to global memory move: from the L2 cache into multiprocessors, and from memory.

A footprint is the box of elements that an access reaches while some loops run and the others stand still. Data read
again are still in the L1 cache when everything read since fits into it, in L2 when one wave of blocks does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runtime.expr import ITEM_SIZE, Buffer, Expr
from runtime.expr_tree import free_variables
from runtime.gpu import Gpu
from runtime.gpu_model.requests import SECTOR, Requests
from runtime.gpu_model.sites import Kernel, Site
from runtime.indices.affine import Ranges, interval

KEPT = 0.8  # share of the L2 cache that holds what will be read again


@dataclass(frozen=True)
class Access:
    """One load or store of global memory in a site; requests: of one group and warp; groups: that one thread runs."""

    site: Site
    buffer: Buffer
    indices: tuple[Expr, ...]
    writes: bool
    requests: Requests
    groups: float


def footprint(access: Access, ranges: Ranges) -> int:
    """Bytes of the sectors that an access reaches while its variables run through `ranges`; the others are 0.

    At most as many elements along a dimension as the variables of its index have values together.
    """
    elements, run = 1, 1
    for index, extent in zip(access.indices, access.buffer.shape):
        names = free_variables(index)
        low, high = interval(index, {name: ranges.get(name, (0, 0)) for name in names})
        values = math.prod(ranges[name][1] - ranges[name][0] + 1 for name in names if name in ranges)
        run = int(min(high - low + 1, values, extent)) if math.isfinite(high - low) else min(values, extent)
        elements *= run
    # The last dimension is contiguous; what is left of a sector is moved too.
    item = ITEM_SIZE[access.buffer.dtype]
    return elements // max(1, run) * -(-run * item // SECTOR) * SECTOR


def _full(loops: Collection[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    return {name: (0, extent - 1) for name, extent in loops}


def block_bytes(access: Access, room: float) -> float:
    """Bytes that one block moves between L2 and its multiprocessor; room: bytes of L1 cache for this access."""
    site = access.site
    requested = access.requests.sector_bytes * access.groups * -(-site.threads // 32)
    if access.writes:
        return requested
    inside = [(loop.var.name, count) for loop, count in site.grouped]
    inside += [(loop.var.name, loop.extent) for loop in site.workers]
    moved = footprint(access, _full(inside))
    for loop, count in reversed(site.outer):
        inside = [entry for entry in inside if entry[0] != loop.var.name] + [(loop.var.name, loop.extent)]
        wider = footprint(access, _full(inside))
        moved = wider if wider <= room else moved * count
    return min(requested, moved)


def memory_bytes(kernel: Kernel, accesses: Sequence[Access], resident: int, gpu: Gpu) -> float:
    """Bytes that a kernel moves between L2 and memory; resident: blocks of a multiprocessor at a time."""
    whole = {id(access): _reached(access, kernel.grid) for access in accesses}
    buffers: dict[tuple[str, bool], int] = {}
    for access in accesses:
        key = (access.buffer.name, access.writes)
        buffers[key] = max(buffers.get(key, 0), min(whole[id(access)], access.buffer.nbytes))
    compulsory = sum(buffers.values())
    room = KEPT * gpu.l2_bytes
    wave = resident * gpu.multiprocessors
    if compulsory <= room or kernel.grid <= wave:
        return compulsory
    waves = kernel.grid / wave
    moved = 0.0
    for (name, writes), size in buffers.items():
        mine = [access for access in accesses if (access.buffer.name, access.writes) == (name, writes)]
        of_wave = max(min(_reached(access, wave), size) for access in mine)
        moved += size if writes or size <= room / 4 else max(size, waves * of_wave)
    return moved


def _reached(access: Access, blocks: int) -> int:
    """The footprint of the first blocks of the grid."""
    site = access.site
    loops = [(loop.var.name, loop.extent) for loop in (*site.sequential, *site.virtual, *site.workers)]
    if access.site.block is not None:
        loops.append((access.site.block.var.name, min(blocks, access.site.block.extent)))
    return footprint(access, _full(loops))
