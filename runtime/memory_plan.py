"""Places for a network's intermediate values in one piece of memory, reused as soon as a value is dead.

A value is alive from the call that computes it to the last call that reads it, both included, since a kernel may not
read what it overwrites. Values that are alive together get disjoint places; aliases share one. A kernel's own workspace
is alive during its call. Network inputs, outputs and weights have memory of their own.

Method: each block in turn at the lowest free place among the blocks alive with it, in three orders (largest first,
longest alive first, largest size times life first). Where the best needs more than the bytes alive at one moment, which
no plan can undercut, the calls are swept once more in the order they run, keeping the best few plans so far: in BERT,
whose values are all of one size, what counts is not which goes first but which lane each takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.emit_c import workspace_bytes
from runtime.network import Network

ALIGNMENT = 64
WIDTH = 32  # partial plans kept by a sweep


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
    total_bytes: what the whole needs; live_lower_bound: what any plan needs, the most bytes alive at one moment;
    sum_bytes: what it would be without reuse.
    """

    offsets: Mapping[str, int]
    workspaces: tuple[int, ...]
    total_bytes: int
    live_lower_bound: int
    sum_bytes: int

    def __str__(self) -> str:
        bound = self.total_bytes / max(1, self.live_lower_bound)
        return (
            f"{self.total_bytes} bytes for values of {self.sum_bytes} bytes;"
            f" {self.live_lower_bound} are alive at one moment ({bound:.3f} x)"
        )


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
    return MemoryPlan(offsets, workspaces, total, lower_bound(blocks), sum(block.nbytes for block in blocks))


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


def place(blocks: Sequence[Lifetime], width: int = WIDTH) -> tuple[list[int], int]:
    """An offset for each block, and the total; blocks that meet do not overlap.

    width: partial plans that a sweep keeps; 0 sweeps not at all.

    >>> place([Lifetime(64, 0, 1), Lifetime(128, 1, 2), Lifetime(64, 2, 3)])
    ([128, 0, 128], 192)
    """
    neighbours = [[n for n, other in enumerate(blocks) if other.meets(block)] for block in blocks]
    orders = [sorted(range(len(blocks)), key=lambda number: order(blocks[number])) for order in ORDERS]
    plans = [_place_in_order(blocks, neighbours, order) for order in orders]

    def total(offsets: Sequence[int]) -> int:
        return max((offset + block.nbytes for offset, block in zip(offsets, blocks)), default=0)

    if width and min(map(total, plans)) > lower_bound(blocks):
        plans.append(_sweep(blocks, width))
    best = min(plans, key=total)
    return best, total(best)


def _place_in_order(blocks: Sequence[Lifetime], neighbours: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Each block at the lowest place that those before it and alive with it leave free; `neighbours` meet."""
    offsets = [-1] * len(blocks)
    for number in order:
        size, offset = blocks[number].nbytes, 0
        for start, other in sorted((offsets[other], other) for other in neighbours[number] if offsets[other] >= 0):
            if offset + size <= start:
                break
            offset = max(offset, start + blocks[other].nbytes)
        offsets[number] = offset
    return offsets


Placed = tuple[int, int, int]  # offset, bytes, last call
Path = tuple[Any, ...]  # (path of the blocks before, block, its offset), so that plans share their beginnings


def _sweep(blocks: Sequence[Lifetime], width: int) -> list[int]:
    """Place blocks in the order they are born, keeping the `width` best plans that differ in what is alive.

    A block is tried at both ends of every gap among the blocks alive, and just below the lower bound.
    """
    bound = lower_bound(blocks)
    plans: dict[tuple[Placed, ...], tuple[int, Path]] = {(): (0, ())}
    for number in sorted(range(len(blocks)), key=lambda n: (blocks[n].first, -blocks[n].nbytes)):
        block = blocks[number]
        longer: dict[tuple[Placed, ...], tuple[int, Path]] = {}
        for everything, (total, path) in plans.items():
            alive = tuple(placed for placed in everything if placed[2] >= block.first)
            for offset in _choices(alive, block.nbytes, bound):
                key = tuple(sorted((*alive, (offset, block.nbytes, block.last))))
                needed = max(total, offset + block.nbytes)
                if key not in longer or needed < longer[key][0]:
                    longer[key] = needed, (path, number, offset)
        ranked = sorted(longer, key=lambda key: (max(longer[key][0], bound), sum(offset for offset, _, _ in key), key))
        plans = {key: longer[key] for key in ranked[:width]}
    offsets = [0] * len(blocks)
    _, path = min(plans.values(), key=lambda plan: plan[0])
    while path:
        path, number, offsets[number] = path
    return offsets


def _choices(alive: Sequence[Placed], size: int, bound: int) -> list[int]:
    """Where a new block may go: free places that touch a neighbour, the bottom or the bound."""
    places = {0, max(0, bound - size)}
    places |= {offset + length for offset, length, _ in alive}
    places |= {offset - size for offset, _, _ in alive if offset >= size}
    return [
        place
        for place in sorted(places)
        if all(place + size <= offset or offset + length <= place for offset, length, _ in alive)
    ]
