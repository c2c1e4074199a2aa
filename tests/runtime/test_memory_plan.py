"""Memory plans: values that are alive together never overlap, and memory is used again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.emit_c import workspace_bytes
from runtime.graph import TensorType
from runtime.memory_plan import ALIGNMENT, Lifetime, lower_bound, place, plan
from runtime.network import KernelCall, Network
from tests.strategies.networks import elementwise, networks

blocks_lists = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(size * ALIGNMENT, first, first + length),
        st.integers(1, 9),
        st.integers(0, 9),
        st.integers(0, 5),
    ),
    max_size=12,
)


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
