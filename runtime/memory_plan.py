"""Places for a network's intermediate values in one piece of memory, reused as soon as a value is dead.

A value is alive from the call that computes it to the last call that reads it, both included, since a kernel may not
read what it overwrites. Values that are alive together get disjoint places; aliases share one. A kernel's own workspace
is alive during its call. Network inputs, outputs and weights have memory of their own.

Method: greedy, the largest block first, each at the lowest free place among the blocks alive with it; two more orders,
longest alive first and largest size times life first, are tried as well and the smallest result taken. No plan can need
less than the bytes alive at one moment, which `live_lower_bound` reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runtime.emit_c import workspace_bytes
from runtime.network import Network

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A block of memory: bytes (a multiple of ALIGNMENT), and the first and last call that need it."""

    nbytes: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Some call needs both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Where values live.

    offsets: computed value that is no network output → its first byte (an alias lives where its source does).
    workspaces: one entry per call, the first byte of its kernel's workspace (0 when it needs none).
    total_bytes: what the whole needs; live_lower_bound: what any plan needs.
    """

    offsets: Mapping[str, int]
    workspaces: tuple[int, ...]
    total_bytes: int
    live_lower_bound: int


# In ResNet-50 the residual values live longest and, placed last, would leave holes; elsewhere the largest go first.
ORDERS: tuple[Callable[[Lifetime], tuple[int, ...]], ...] = (
    lambda block: (-block.nbytes, block.first),
    lambda block: (block.first - block.last, -block.nbytes),
    lambda block: (-block.nbytes * (block.last - block.first + 1), block.first),
)


def plan(network: Network) -> MemoryPlan:
    """Give every computed value and every kernel's workspace a place."""
    values = lifetimes(network)
    scratch = {
        call: Lifetime(aligned(size), call, call)
        for call, kernel in enumerate(network.calls)
        if (size := workspace_bytes(kernel.nest))
    }
    blocks = [*values.values(), *scratch.values()]
    places, total = place(blocks)
    offsets = dict(zip(values, places))
    found = dict(zip(scratch, places[len(values) :]))
    workspaces = tuple(found.get(call, 0) for call in range(len(network.calls)))
    return MemoryPlan(offsets, workspaces, total, lower_bound(blocks))


def lifetimes(network: Network) -> dict[str, Lifetime]:
    """When each computed value that is no network output is alive, with its size."""
    homes = network.homes()
    first = {value: number for number, call in enumerate(network.calls) for value in call.outputs if value not in homes}
    last = dict(first)
    for number, call in enumerate(network.calls):
        for value in call.inputs:
            source = network.source_of(value)
            if source in first:
                last[source] = number
    return {
        value: Lifetime(aligned(network.type_of(value).nbytes), start, last[value]) for value, start in first.items()
    }


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT.

    >>> aligned(1), aligned(64), aligned(65)
    (64, 64, 128)
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


def lower_bound(blocks: Sequence[Lifetime]) -> int:
    """The most bytes that any call needs at once.

    >>> lower_bound([Lifetime(64, 0, 1), Lifetime(128, 1, 2), Lifetime(64, 2, 3)])
    192
    """
    moments = {block.first for block in blocks}
    return max((sum(b.nbytes for b in blocks if b.first <= now <= b.last) for now in moments), default=0)


def place(blocks: Sequence[Lifetime]) -> tuple[list[int], int]:
    """An offset for each block, and the total; blocks that meet do not overlap.

    >>> place([Lifetime(64, 0, 1), Lifetime(128, 1, 2), Lifetime(64, 2, 3)])
    ([128, 0, 128], 192)
    """
    return min((_place_in_order(blocks, order) for order in ORDERS), key=lambda result: result[1])


def _place_in_order(blocks: Sequence[Lifetime], order: Callable[[Lifetime], tuple[int, ...]]) -> tuple[list[int], int]:
    offsets: dict[int, int] = {}
    for number in sorted(range(len(blocks)), key=lambda number: order(blocks[number])):
        block = blocks[number]
        others = sorted((offsets[other], blocks[other].nbytes) for other in offsets if blocks[other].meets(block))
        offset = 0
        for start, size in others:
            if offset + block.nbytes <= start:
                break
            offset = max(offset, start + size)
        offsets[number] = offset
    total = max((offset + blocks[number].nbytes for number, offset in offsets.items()), default=0)
    return [offsets[number] for number in range(len(blocks))], total
