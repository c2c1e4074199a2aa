"""Choose each kernel by its time in the network, not alone.

A kernel is tuned alone, in a loop, with its weights and activations in the caches. In a network the weights come from
memory, and the kernels before leave the caches as they please; what another core has computed comes from that core. So
the few programs of each kernel that are fastest alone, and its default schedules, are timed once more where they will
stand:

1. Variant k of the network has the k-th candidate of every kernel, or the last of one that has fewer.
2. The variants run in turns, with a clock after each step.
3. Each kernel gets the candidate whose steps took least, all its occurrences together. Kernels that store into one
   joined tensor are one step (see `concat_fusion`), so they are chosen together.
4. The network composed of those is timed in turns with the variants that mean something by themselves, such as the
   default schedules, and the fastest stays: tuned kernels never make a network slower than default schedules do.

Not in the papers, where a network is what its kernels take alone (Ansor §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ansor_mini.network import assemble, nests_for
from ansor_mini.partition import Subgraph
from runtime import executor
from runtime.compiled_network import CompiledNetwork
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.network import Network
from runtime.timing import interleaved

CANDIDATES = 3  # of each kernel, the fastest alone; its default schedule comes besides
TURNS, ROUNDS = 9, 3  # turns of each variant, inferences with a clock in each
WHOLE_TURNS, WHOLE_SECONDS = 25, 0.03  # turns of each of the networks that are compared in the end, and their length
FASTEST_ALONE, DEFAULT, COMPOSED = "fastest alone", "default schedules", "chosen in place"
ENDS: Mapping[str, int] = {FASTEST_ALONE: 0, DEFAULT: -1}

Candidates = Mapping[str, Sequence[LoopNest]]  # by subgraph key, the fastest alone first, the default schedule last
Picked = dict[str, int]  # by subgraph key, the number of its candidate
Keys = frozenset[str]


@dataclass(frozen=True)
class InPlace:
    """The candidates that were chosen, and seconds per inference of the whole networks among which that was decided.

    fastest: the name of the network that stays; seconds are empty where there was nothing to choose.
    """

    picked: Picked
    seconds: Mapping[str, float]
    fastest: str


def choose_in_place(
    graph: Graph,
    parts: Sequence[Subgraph],
    candidates: Candidates,
    *,
    threads: int = 1,
    feeds: Mapping[str, Any] | None = None,
    rivals: Mapping[str, int] = ENDS,
) -> InPlace:
    """Choose a loop nest for every compute subgraph of a partitioned graph; see the module.

    feeds: inputs to time on; by default ones. rivals: the variants that are timed as a whole, by name.
    As many networks as a kernel has candidates are in memory at a time, with the weights of each.
    Raises: ValueError: a compute subgraph has no candidate.
    """
    keys = list(dict.fromkeys(part.key for part in parts if part.kind == "compute"))
    if missing := [key for key in keys if not candidates.get(key)]:
        raise ValueError(f"expected a candidate for every kernel, got none for\n{missing[0]}")
    count = max((len(candidates[key]) for key in keys), default=1)
    whole = [{key: min(number, len(candidates[key]) - 1) for key in keys} for number in range(count)]
    if count == 1:
        return InPlace(whole[0], {}, DEFAULT)
    if feeds is None:
        feeds = {name: np.ones(kind.shape, kind.dtype) for name, kind in graph.inputs.items()}

    def network(picked: Picked) -> Network:
        nests = nests_for(parts, lambda part: candidates[part.key][picked[part.key]])
        return assemble(graph, parts, nests, threads=threads)

    built: list[CompiledNetwork] = []
    calls: list[list[Keys]] = []
    for picked in whole:
        variant = network(picked)
        calls.append(keys_of_calls(graph, parts, variant))
        built.append(executor.build(variant, threads=threads))
        del variant  # with the weights that it has packed
    laps = step_seconds(built, feeds)
    fastest = fastest_steps(calls, laps)
    composed = {key: whole[fastest[key]][key] for key in keys}
    chosen = {name: whole[number] for name, number in rivals.items()}
    racing = {name: built[number] for name, number in rivals.items()}
    del built  # the others' weights need not stay in memory
    if composed not in chosen.values():
        chosen[COMPOSED] = composed
        racing[COMPOSED] = executor.build(network(composed), threads=threads)
    programs = {name: rival.bind(feeds) for name, rival in racing.items()}
    seconds = interleaved(programs, rounds=WHOLE_TURNS, min_seconds=WHOLE_SECONDS)
    name = min(seconds, key=seconds.__getitem__)
    return InPlace(chosen[name], seconds, name)


def keys_of_calls(graph: Graph, parts: Sequence[Subgraph], network: Network) -> list[Keys]:
    """For each call of the network that was assembled from parts, the keys of the kernels in it; none in a copy.

    A kernel whose result no call computes has become a part of the concat that reads it.
    """
    number = {value: number for number, call in enumerate(network.calls) for value in call.outputs}
    keys: list[set[str]] = [set() for _ in network.calls]
    for part in parts:
        if part.kind == "compute":
            value = part.outputs[0]
            while value not in number:
                value = graph.users(value)[0].outputs[0]
            keys[number[value]].add(part.key)
    return list(map(frozenset, keys))


def step_seconds(networks: Sequence[CompiledNetwork], feeds: Mapping[str, Any]) -> list[list[float]]:
    """Seconds of each step of each network: medians over turns, so that a slow minute slows all alike."""
    turns: list[list[np.ndarray]] = [[] for _ in networks]
    for turn in range(TURNS):
        for number in np.roll(range(len(networks)), -turn):
            laps = networks[number].profile(feeds, rounds=ROUNDS)
            turns[number].append(np.array([lap.seconds for lap in laps]))
    return [np.median(own, axis=0).tolist() for own in turns]


def fastest_steps(calls: Sequence[Sequence[Keys]], seconds: Sequence[Sequence[float]]) -> Picked:
    """For each key, the variant whose steps with it, or with keys that share a step with it, took least in all.

    calls: for each variant the keys of each call. seconds: for each variant the time of each step; those after the
        calls are copies.

    >>> a, b = frozenset("a"), frozenset("b")
    >>> sorted(fastest_steps([[a, b, a], [a, b, a]], [[1.0, 5.0, 1.0], [1.5, 4.0, 1.5]]).items())
    [('a', 0), ('b', 1)]
    """
    picked: Picked = {}
    for group in joined_groups(keys for variant in calls for keys in variant):
        sums = [sum(lap for keys, lap in zip(variant, laps) if keys & group) for variant, laps in zip(calls, seconds)]
        picked |= dict.fromkeys(sorted(group), sums.index(min(sums)))
    return picked


def joined_groups(sets: Iterable[Keys]) -> list[Keys]:
    """Sets that overlap, directly or by way of others, made one.

    >>> [sorted(group) for group in joined_groups(map(frozenset, ("ab", "c", "", "bd")))]
    [['c'], ['a', 'b', 'd']]
    """
    groups: list[Keys] = []
    for keys in filter(None, sets):
        touching = [group for group in groups if group & keys]
        groups = [group for group in groups if not group & keys] + [keys.union(*touching)]
    return groups
