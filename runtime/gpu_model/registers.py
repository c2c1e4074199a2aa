"""An estimate of the registers that a compiler gives a thread, from the arrays and operands that a kernel keeps.

A compiler's own report is better; the estimate needs none, so that thousands of programs can be looked at.
"""

from __future__ import annotations

import math

from runtime.expr import ITEM_SIZE, Buffer
from runtime.expr_tree import free_variables, loads
from runtime.gpu_model.sites import IN_REGISTERS, LANES, Kernel, Site

BASE = 16  # pointers, the thread's number, loop counters
PER_ADDRESS = 2  # of every access whose address changes
MOST_OPERANDS = 64  # loaded ahead of their use


def registers(kernel: Kernel) -> int:
    """Registers of a thread, not cut to what the GPU has."""
    kept = sum(copies * _of_thread(buffer) for buffer, copies in kernel.allocated if buffer.scope in IN_REGISTERS)
    operands = max((_operands(site) for site in kernel.sites), default=0)
    addresses = len({load for site in kernel.sites for load in loads(site.store.value)})
    return kept + BASE + min(MOST_OPERANDS, operands) + PER_ADDRESS * min(addresses, 16)


def _of_thread(buffer: Buffer) -> int:
    """Registers of one thread for a buffer; the lanes of a warp share a fragment."""
    if buffer.scope == "fragment":
        return -(-buffer.nbytes // (4 * LANES))
    return buffer.size * max(1, ITEM_SIZE[buffer.dtype] // 4)


def _operands(site: Site) -> int:
    """Values of one step of a group that are loaded from shared or global memory and used more than once."""
    found = 0
    for load in set(loads(site.store.value)):
        if load.buffer.scope in IN_REGISTERS or load.indices == site.store.indices:
            continue
        used = frozenset().union(*map(free_variables, load.indices))
        targets = frozenset().union(*map(free_variables, site.store.indices))
        found += math.prod(count for loop, count in site.grouped if loop.var.name in used & targets)
    return found
