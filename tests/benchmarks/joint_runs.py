"""Recorded searches of graph and loops: four ways to make a network fast, what each found, and how it is built again.

A run holds all that building needs: the text of the graph that was chosen, and the best record of each of its kernels.
Weights are not kept; they are drawn anew, since times do not depend on them, and errors are recorded.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.network_choice import NetworkChoice
from ansor_mini.record import Record
from ansor_mini.record_lines import LineWriter, read_lines
from runtime.graph import Graph
from runtime.graph_text import parse_graph
from runtime.machine import detect
from runtime.network import Network
from taso_mini.costs import FlopCost
from taso_mini.joint.alternatives import Alternative, Bill
from taso_mini.joint.finals import best_nests, network_of
from taso_mini.joint.prices import KernelPrices
from taso_mini.joint.store import Store
from tests.benchmarks.command import RESULTS

RUNS = RESULTS / "joint-runs.jsonl.gz"
VARIANTS = NEITHER, ANSOR, SEQUENTIAL, JOINT = "neither", "Ansor alone", "TASO, then Ansor", "joint"


@dataclass(frozen=True)
class Run:
    """One variant of one network.

    trials_per_task, tasks: their product was the budget; tasks are those of the graph as given. trials: measured.
    seconds: of the whole search: pricing operators, proposing, tuning, timing of finalists. latency: seconds of one
    inference, taken in turns with the other variants; error: relative to NumPy on the graph as given. bill: label,
    runs, seconds of one run and source of every kernel and copy. records: the best of every tuned kernel, as JSON.
    choice: the programs by their time in the network, as lines of a record file.
    timed: of the finalists of the joint search. prediction_error: see `Joined`.
    """

    network: str
    variant: str
    threads: int
    machine: str
    trials_per_task: int
    tasks: int
    trials: int
    seconds: float
    chosen: str
    graph: str
    rewrites: dict[str, int] = field(default_factory=dict)
    bill: tuple[tuple[str, int, float, str], ...] = ()
    records: tuple[str, ...] = ()
    timed: dict[str, float] = field(default_factory=dict)
    prediction_error: float | None = None
    latency: float | None = None
    error: float | None = None
    choice: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is a run of."""
        return self.network, self.variant, self.threads


def read_runs(path: Path = RUNS) -> dict[tuple[str, str, int], Run]:
    """The recorded runs; a later one of the same variant stands for an earlier one."""
    if not path.exists():
        return {}
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    runs = [Run(**json.loads(line)) for line in text.splitlines() if line]
    return {run.key: run for run in runs}


def write_runs(runs: Iterable[Run], path: Path = RUNS) -> None:
    """Write a compressed file of runs; equal runs are equal files."""
    text = "".join(json.dumps(asdict(run), separators=(",", ":")) + "\n" for run in runs)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def items_of(bill: Bill) -> tuple[tuple[str, int, float, str], ...]:
    """A bill as a run keeps it."""
    return tuple((item.label, item.runs, float(f"{item.price.seconds:.6g}"), item.price.source) for item in bill.items)


def records_of(bill: Bill, store: Store) -> tuple[str, ...]:
    """The best record of every tuned kernel of a bill, as JSON."""
    best = {item.kernel.task: store.best(item.kernel.task) for item in bill.items if item.kernel is not None}
    return tuple(record.to_json() for record in best.values() if record is not None)


def lines_of(choice: NetworkChoice | None) -> tuple[str, ...]:
    """A choice as a run keeps it."""
    return tuple(LineWriter().lines(choice)) if choice is not None else ()


def drawn(text: str) -> Graph:
    """The graph of a text with weights drawn anew: small, so that deep networks stay within floating point."""
    empty = parse_graph(text)
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for name, array in empty.weights.items():
        scale = 1.0 / np.sqrt(max(1, array.size // max(array.shape[-1:] or (1,))))
        weights[name] = rng.normal(0.0, scale, array.shape).astype(array.dtype)
    return empty.replace(weights=weights)


def rebuilt(run: Run, graph: Graph) -> tuple[Network, int]:
    """The network of a run, from its graph with weights and its records; and how many kernels have no record."""
    machine = detect()
    # Records count wherever they were made: what is measured now are the programs.
    records = [Record.from_json(line) for line in run.records]
    with Store(None, machine=machine, threads=run.threads) as store:
        for record in records:
            store.append(_here(record, machine.line))
        for entry in read_lines(run.choice):
            if isinstance(entry, NetworkChoice):
                store.append(entry)
        prices = KernelPrices(store, FlopCost())
        alternative = Alternative(run.chosen, graph)
        kernels = {
            kernel.task
            for part in alternative.parts
            if part.kind == "compute" and (kernel := prices.kernel(part, alternative.constants(part))) is not None
        }
        missing = sum(store.best(task) is None for task in kernels) if run.variant != NEITHER else 0
        return network_of(alternative, best_nests(alternative, prices, machine), run.threads), missing


def _here(record: Record, machine: str) -> Record:
    fields: Mapping[str, Any] = json.loads(record.to_json())
    return Record.from_json(json.dumps({**fields, "machine": machine}))
