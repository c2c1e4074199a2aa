"""What tensor loops ask of a multiprocessor: matrix instructions of a warp, and loads and stores of its fragments.

A statement with tensor loops is executed by a warp as a whole: its fragments are spread over the lanes, are loaded
from shared memory 512 bytes a request without conflicts, and multiplied 16 x 8 x 16 numbers an instruction. Copies into
a ring of tiles (`tile[step % stages, ...]`) are asynchronous, so that nobody waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.expr import ITEM_SIZE, Binary, Buffer, Expr
from runtime.expr_tree import free_variables, walk
from runtime.gpu_model.operations import operations
from runtime.gpu_model.requests import Requests
from runtime.gpu_model.sites import Site

INSTRUCTION = 16 * 8 * 16  # multiply-adds
REQUEST, PER_CYCLE = 512, 128  # bytes
SCATTERED = 2  # times the cycles of a store to global memory, whose rows are shorter than lines
SHARE = 0.65  # of the peak, which mma.sync reaches


def multiplies(site: Site) -> bool:
    """Whether a statement is a matrix product of a tensor core."""
    return bool(site.tensor) and site.store.buffer.scope == "fragment" and operations(site.store.value).fused > 0


def multiply_adds(site: Site) -> int:
    """Multiply-adds of a warp in one iteration of the loops around the tensor loops."""
    return math.prod(loop.extent for loop in site.tensor)


def fragment_requests(site: Site, buffer: Buffer, indices: Sequence[Expr]) -> Requests:
    """What a warp's load or store of fragments costs in one group."""
    used = frozenset().union(*map(free_variables, indices))
    loops = [(loop, loop.extent) for loop in site.tensor] + list(site.grouped)
    moved = math.prod(count for loop, count in loops if loop.var.name in used) * ITEM_SIZE[buffer.dtype]
    slow = 1 if buffer.scope == "shared" else SCATTERED
    return Requests(-(-moved // REQUEST), slow * moved / PER_CYCLE, 0.0 if buffer.scope == "shared" else moved)


def is_asynchronous(site: Site) -> bool:
    """Whether a copy fills a ring of tiles ahead of their use."""
    if site.store.buffer.scope != "shared" or not site.store.indices:
        return False
    steps = {loop.var.name for loop in site.sequential}
    ring = (node for node in walk(site.store.indices[0]) if isinstance(node, Binary) and node.op == "%")
    return any(steps & free_variables(node) for node in ring)
