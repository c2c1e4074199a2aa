"""Memory plans: values that are alive together never overlap, and memory is used again."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.emit_c import workspace_bytes
from runtime.graph import TensorType
from runtime.memory_plan import ALIGNMENT, Lifetime, lower_bound, place, plan
from runtime.network import KernelCall, Network
from tests.strategies.networks import elementwise, networks

blocks = st.builds(
    lambda size, first, length: Lifetime(size * ALIGNMENT, first, first + length),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 5),
)
blocks_lists = st.lists(blocks, max_size=12)


def disjoint(a: range, b: range) -> bool:
    return a.stop <= b.start or b.stop <= a.start


@given(blocks_lists)
def test_blocks_that_meet_do_not_overlap(blocks: list[Lifetime]) -> None:
    offsets, total = place(blocks)
    places = [range(offset, offset + block.nbytes) for offset, block in zip(offsets, blocks, strict=True)]
    for number, block in enumerate(blocks):
        assert places[number].start >= 0 and places[number].stop <= total
        assert offsets[number] % ALIGNMENT == 0
        for other in range(number):
            assert not block.meets(blocks[other]) or disjoint(places[number], places[other])
    assert lower_bound(blocks) <= total <= sum(block.nbytes for block in blocks)


def least(blocks: list[Lifetime]) -> int:
    """The best total by brute force: in some order, putting each block as low as it can go is optimal."""
    best = sum(block.nbytes for block in blocks)
    for order in itertools.permutations(blocks):
        placed: list[tuple[int, Lifetime]] = []
        for block in order:
            offset = 0
            for start, other in sorted((item for item in placed if item[1].meets(block)), key=lambda item: item[0]):
                if offset + block.nbytes <= start:
                    break
                offset = max(offset, start + other.nbytes)
            placed.append((offset, block))
        best = min(best, max(offset + block.nbytes for offset, block in placed))
    return best


@settings(max_examples=30)
@given(st.lists(blocks, min_size=1, max_size=6))
def test_small_plans_are_the_best_there_are(small: list[Lifetime]) -> None:
    assert place(small)[1] == least(small)


def attention_layers(count: int) -> list[Lifetime]:
    """Values of one size as in BERT: three branches that wait for one another, a residual, a kernel's workspace."""
    spans = [(0, 5), (1, 2), (2, 7), (3, 4), (4, 7), (5, 6), (6, 9), (7, 8), (8, 9), (9, 10), (10, 11)]
    unit = 64 * ALIGNMENT
    layers = [Lifetime(unit, 11 * n + first, 11 * n + last) for n in range(count) for first, last in spans]
    return [*layers, *(Lifetime(unit + 2 * ALIGNMENT, 11 * n + 8, 11 * n + 8) for n in range(count))]


def test_a_sweep_finds_what_no_order_by_size_does() -> None:
    layers = attention_layers(8)
    assert place(layers)[1] == lower_bound(layers) < place(layers, width=0)[1]


def test_the_same_blocks_are_placed_the_same_way() -> None:
    assert place(attention_layers(3)) == place(attention_layers(3))


@given(networks())
def test_live_values_do_not_overlap(network: Network) -> None:
    """Replays the calls with the bytes of every value marked: what a call reads was not written since."""
    memory = plan(network)
    owner = np.full(memory.total_bytes + 1, -1)
    labels = {value: number for number, value in enumerate(memory.offsets)}

    def region(value: str) -> np.ndarray:
        start = memory.offsets[value]
        return owner[start : start + network.type_of(value).nbytes]

    for number, call in enumerate(network.calls):
        sources = {network.source_of(value) for value in call.inputs} & set(memory.offsets)
        for value in call.outputs:
            if value in memory.offsets:
                region(value)[:] = labels[value]
        scratch = memory.workspaces[number]
        owner[scratch : scratch + workspace_bytes(call.nest)] = -2
        for value in sources | (set(call.outputs) & set(memory.offsets)):
            assert (region(value) == labels[value]).all(), (value, str(call))
    assert set(memory.offsets).isdisjoint(network.homes())
    assert memory.live_lower_bound <= memory.total_bytes


def chain(length: int) -> Network:
    shape = (100,)
    values = ["x", *(f"v{number}" for number in range(length))]
    calls = tuple(
        KernelCall(elementwise("add", shape, 1, 1, False), (before,), (after,))
        for before, after in zip(values, values[1:])
    )
    types = {value: TensorType(shape) for value in values}
    return Network("chain", {"x": types["x"]}, {values[-1]: types[values[-1]]}, {}, types, calls)


def test_a_chain_needs_two_buffers_however_long() -> None:
    memory = plan(chain(50))
    assert memory.total_bytes == memory.live_lower_bound == 2 * 448


def test_a_chain_of_one_needs_none() -> None:
    memory = plan(chain(1))
    assert (memory.total_bytes, dict(memory.offsets)) == (0, {})


def test_an_alias_keeps_its_source_alive() -> None:
    shape, flat = TensorType((3, 4)), TensorType((12,))
    calls = (
        KernelCall(elementwise("a", (3, 4), 1, 0, False), ("x",), ("v",)),
        KernelCall(elementwise("b", (3, 4), 1, 0, False), ("x",), ("u",)),
        KernelCall(elementwise("c", (3, 4), 1, 0, False), ("u",), ("t",)),
        KernelCall(elementwise("d", (12,), 1, 0, False), ("r",), ("y",)),
    )
    values = {"v": shape, "u": shape, "t": shape, "r": flat, "y": flat}
    network = Network("n", {"x": shape}, {"y": flat}, {}, values, calls, {"r": "v"})
    memory = plan(network)
    places = {name: range(memory.offsets[name], memory.offsets[name] + 64) for name in ("v", "u", "t")}
    assert (
        disjoint(places["v"], places["u"]) and disjoint(places["v"], places["t"]) and disjoint(places["u"], places["t"])
    )
