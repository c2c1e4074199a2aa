"""The end of a network's tuning: programs chosen by their time in each form of it, and the forms against each other."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from ansor_mini.default_schedule import default_nest
from ansor_mini.network import assemble, nests_for
from ansor_mini.partition import Subgraph, partition
from ansor_mini.recorded_kernels import choose_programs, dags_of, nests_of_choice
from ansor_mini.records import Record, RecordFile
from runtime import executor
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.timing import interleaved
from taso_mini.load_model import sample_inputs
from tests.benchmarks.network_cases import WINOGRAD

CLOSE = 1.02  # times the fastest form's seconds: such forms may be the fastest once programs are chosen in them
ROUNDS = 9

Nests = Mapping[str, LoopNest]


def nests_of(parts: Sequence[Subgraph], known: Nests, threads: int) -> dict[str, LoopNest]:
    """The loop nest of every kernel: the tuned one, or the default schedule where there is none."""
    machine = detect()
    return nests_for(parts, lambda part: known.get(part.key) or default_nest(part, machine, threads))


def race(found: Mapping[str, Graph], known: Mapping[str, Nests], threads: int) -> dict[str, float]:
    """Seconds of one inference of each form with its known kernels, taken in turns."""
    networks = {}
    for name, form in found.items():
        parts = partition(form)
        network = assemble(form, parts, nests_of(parts, known[name], threads), threads=threads)
        networks[name] = executor.build(network, threads=threads)
    feeds = sample_inputs(next(iter(found.values())), 0)
    return interleaved({name: network.bind(feeds) for name, network in networks.items()}, rounds=ROUNDS)


def contenders(latencies: Mapping[str, float]) -> list[str]:
    """The forms that are close to the fastest; Winograd's, whose kernels gain most by being chosen in place, always.

    >>> contenders({"a": 2.0, "b": 2.02, "c": 2.3, "winograd": 2.2})
    ['a', 'b', 'winograd']
    """
    limit = CLOSE * min(seconds for name, seconds in latencies.items() if name != WINOGRAD)
    return [name for name, seconds in latencies.items() if name == WINOGRAD or seconds <= limit]


def choose_in_forms(
    found: Mapping[str, Graph], records: Sequence[Record], sink: RecordFile, threads: int
) -> dict[str, dict[str, LoopNest]]:
    """Choose the programs of each form in it; they are recorded, and returned as loop nests."""
    nests = {}
    for name, form in found.items():
        parts = partition(form)
        choice = choose_programs(form, parts, records, machine=detect(), threads=threads, feeds=sample_inputs(form, 0))
        sink.append(choice)
        nests[name] = nests_of_choice(choice, dags_of(parts))
        print(f"  {form.name} {threads}t {name}: {choice}", file=sys.stderr, flush=True)
    return nests
