"""Kernels chosen where they stand: what each step is, which candidate wins, and that results stay the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ansor_mini import in_place
from ansor_mini.default_schedule import default_nest
from ansor_mini.in_place import COMPOSED, DEFAULT, FASTEST_ALONE, choose_in_place, fastest_steps, keys_of_calls
from ansor_mini.network import assemble, nests_for, plain_nest
from ansor_mini.partition import partition
from runtime import executor
from runtime.graph import Graph, GraphBuilder
from runtime.loop_nest import LoopNest
from runtime.machine import detect


def two_branches() -> Graph:
    """Two kernels that write into one tensor, then a third that reads it."""
    build, rng = GraphBuilder("two"), np.random.default_rng(0)
    x = build.input("x", (4, 8))
    weights = [
        build.weight(f"w{i}", rng.integers(-2, 3, shape).astype(np.float32))
        for i, shape in enumerate([(8, 8), (8, 24), (32, 16)])
    ]
    branches = [build.add("relu", build.add("matmul", x, weight)) for weight in weights[:2]]
    return build.finish(build.add("matmul", build.add("concat", *branches, axis=1), weights[2]))


GRAPH = two_branches()
PARTS = partition(GRAPH)
LEFT, RIGHT, LAST = (part.key for part in PARTS if part.kind == "compute")


def candidates(*counts: int) -> dict[str, list[LoopNest]]:
    """So many candidates for each of the three kernels: plain loops, and at last the default schedule."""
    machine = detect()
    kernels = [part for part in PARTS if part.kind == "compute"]
    return {
        part.key: [*[plain_nest(part)] * (count - 1), default_nest(part, machine, 1)]
        for part, count in zip(kernels, counts)
    }


def test_kernels_that_write_into_one_tensor_are_one_step() -> None:
    nests = nests_for(PARTS, plain_nest)
    assert keys_of_calls(GRAPH, PARTS, assemble(GRAPH, PARTS, nests)) == [{LEFT, RIGHT}, {LAST}]
    apart = assemble(GRAPH, PARTS, nests, optimize=False)
    assert keys_of_calls(GRAPH, PARTS, apart) == [{LEFT}, {RIGHT}, set(), {LAST}]


def test_kernels_that_share_a_step_anywhere_are_chosen_together() -> None:
    a, b, ab = frozenset("a"), frozenset("b"), frozenset("ab")
    assert fastest_steps([[a, b], [a, b]], [[1.0, 3.0], [2.0, 1.0]]) == {"a": 0, "b": 1}
    assert fastest_steps([[a, ab], [a, ab]], [[1.0, 3.0], [2.0, 1.0]]) == {"a": 1, "b": 1}
    assert fastest_steps([[a, frozenset(), a]], [[1.0, 2.0, 3.0, 4.0]]) == {"a": 0}


class Stub:
    """In place of a compiled network: knows what it was built of."""

    def __init__(self, network) -> None:
        self.nests = [call.nest for call in network.calls]

    def bind(self, feeds: object) -> Stub:
        return self


def chosen(monkeypatch: pytest.MonkeyPatch, own: Mapping[str, list[LoopNest]], laps, whole) -> in_place.InPlace:
    """The choice when the variants' steps and the whole networks take so long."""
    monkeypatch.setattr(executor, "build", lambda network, threads: Stub(network))
    monkeypatch.setattr(in_place, "step_seconds", lambda built, feeds: laps[: len(built)])
    monkeypatch.setattr(in_place, "interleaved", lambda programs, **_: {name: whole[name] for name in programs})
    return choose_in_place(GRAPH, PARTS, own)


def test_each_group_gets_the_variant_whose_steps_took_least(monkeypatch: pytest.MonkeyPatch) -> None:
    laps = [[5.0, 3.0], [4.0, 4.0], [6.0, 2.0]]
    whole = {FASTEST_ALONE: 8.0, DEFAULT: 8.0, COMPOSED: 6.0}
    found = chosen(monkeypatch, candidates(3, 3, 3), laps, whole)
    assert found.picked == {LEFT: 1, RIGHT: 1, LAST: 2} and found.fastest == COMPOSED and found.seconds == whole
    found = chosen(monkeypatch, candidates(3, 2, 1), laps, whole)
    assert found.picked == {LEFT: 1, RIGHT: 1, LAST: 0}, "where a kernel has fewer candidates, its last one stood"


@pytest.mark.parametrize(("fastest", "number"), [(FASTEST_ALONE, 0), (DEFAULT, 1)])
def test_the_composed_network_stays_only_if_it_is_the_fastest(fastest, number, monkeypatch) -> None:
    whole = {FASTEST_ALONE: 8.0, DEFAULT: 8.0, COMPOSED: 7.0, fastest: 6.0}
    found = chosen(monkeypatch, candidates(2, 2, 2), [[5.0, 3.0], [4.0, 4.0]], whole)
    assert found.fastest == fastest and set(found.picked.values()) == {number}


def test_what_is_composed_of_one_variant_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, candidates(2, 2, 2), [[5.0, 3.0], [4.0, 2.0]], {FASTEST_ALONE: 8.0, DEFAULT: 6.0})
    assert set(found.seconds) == {FASTEST_ALONE, DEFAULT} and found.fastest == DEFAULT


def test_nothing_is_measured_where_there_is_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, candidates(1, 1, 1), None, None)
    assert found.picked == {LEFT: 0, RIGHT: 0, LAST: 0} and not found.seconds
    with pytest.raises(ValueError, match="expected a candidate for every kernel"):
        choose_in_place(GRAPH, PARTS, candidates(1, 1))


@pytest.mark.cc
@pytest.mark.usefixtures("hasty_choices")
def test_whichever_is_chosen_computes_the_same() -> None:
    own = candidates(3, 2, 2)
    found = choose_in_place(GRAPH, PARTS, own)
    assert {FASTEST_ALONE, DEFAULT} <= set(found.seconds) and found.seconds[found.fastest] == min(
        found.seconds.values()
    )
    assert all(0 <= number < len(own[key]) for key, number in found.picked.items())
    nests = nests_for(PARTS, lambda part: own[part.key][found.picked[part.key]])
    x = np.random.default_rng(1).integers(-2, 3, (4, 8)).astype(np.float32)
    result = executor.build(assemble(GRAPH, PARTS, nests))(x)
    assert np.array_equal(result, GRAPH.evaluate({"x": x})[GRAPH.outputs[0]])
