"""The end of a joint search: the graphs that are left, with programs chosen in each, timed in turns; the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ansor_mini.default_schedule import default_nest
from ansor_mini.measured_programs import program_of
from ansor_mini.network import assemble, nests_for
from ansor_mini.network_choice import NetworkChoice
from ansor_mini.partition import Subgraph
from ansor_mini.recorded_kernels import choose_programs, chosen_nests
from runtime import executor
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from runtime.network import Network
from runtime.timing import interleaved
from taso_mini.joint.alternatives import Alternative, Bill
from taso_mini.joint.prices import KernelPrices


@dataclass(frozen=True)
class Round:
    """What one round knew and did: the graphs with their bills before tuning, and their chances after it."""

    bills: Mapping[str, Bill]
    chances: Mapping[str, float]
    trials: int


@dataclass(frozen=True, eq=False)
class Joined:
    """The result: the chosen graph, its kernels, what it costs, and how it was found.

    bills: of the graphs that were left, in the end. timed: seconds per inference of those that were built.
    choice: of the programs by their time in the chosen graph; None when they are the fastest alone.
    seconds: of proposing, tuning and timing. prediction_error: of the latency model in the end, the median |log ratio|
    of foretold over tuned seconds, of kernels it has not seen; None when it has seen too little to say anything.
    """

    chosen: Alternative
    nests: Mapping[str, LoopNest]
    bills: Mapping[str, Bill]
    timed: Mapping[str, float]
    rounds: tuple[Round, ...]
    trials: int
    seconds: float
    stopped: str
    prediction_error: float | None = None
    choice: NetworkChoice | None = None

    def __str__(self) -> str:
        """Return a line for every graph that was left: its bill, its measured latency, and which was chosen."""
        lines = []
        for name, own in sorted(self.bills.items(), key=lambda entry: entry[1].seconds):
            timed = f", runs in {self.timed[name] * 1e3:.3f} ms" if name in self.timed else ""
            lines.append(f"{'->' if name == self.chosen.name else '  '} {name:22} {own}{timed}")
        return "\n".join(lines)


def choose_and_keep(
    alternative: Alternative, prices: KernelPrices, machine: Machine, feeds: Mapping[str, np.ndarray]
) -> NetworkChoice:
    """Choose the programs of a graph by their time in it, and keep the choice with the records."""
    store, parts = prices.store, alternative.parts
    choice = choose_programs(
        alternative.graph, parts, store.records, machine=machine, threads=store.threads, feeds=feeds
    )
    store.append(choice)
    return choice


def best_nests(alternative: Alternative, prices: KernelPrices, machine: Machine) -> dict[str, LoopNest]:
    """The program of every kernel as chosen in the graph, else the fastest recorded one, lowered; the default schedule
    of what has no records.
    """
    chosen = chosen_nests(alternative.parts, prices.store.choices, prices.store.threads)

    def best(part: Subgraph) -> LoopNest:
        if chosen is not None:
            return chosen[part.key]
        kernel = prices.kernel(part, alternative.constants(part))
        record = prices.store.best(kernel.task) if kernel is not None else None
        if kernel is None or record is None:
            return default_nest(part, machine, prices.store.threads)
        return program_of(record, kernel.dag).lower()

    return nests_for(alternative.parts, best)


def network_of(alternative: Alternative, nests: Mapping[str, LoopNest], threads: int) -> Network:
    """The whole network of a graph and its kernels."""
    return assemble(alternative.graph, alternative.parts, nests, threads=threads)


def time_networks(networks: Mapping[str, Network], feeds: Mapping[str, np.ndarray], threads: int) -> dict[str, float]:
    """Seconds per inference of networks of the same inputs, built and run in turns."""
    built = {name: executor.build(network, threads=threads) for name, network in networks.items()}
    return interleaved({name: network.bind(feeds) for name, network in built.items()})
