"""Measure the fastest recorded programs of each operator case against one another, and keep the winners.

The least of hundreds of measurements is partly luck: of the moment, and of how the arrays lay in memory. The finalists
run in turns, on arrays that lie to one another in several ways, and the slowest way counts. With several threads those
tuned for fewer compete as well: a short kernel is not worth a team. The winners go to
`results/operators-finals.jsonl.gz`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ansor_mini.record import Record
from ansor_mini.records import read_records, write_records
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import build_library
from runtime.emit_c import emit_library
from runtime.machine import usable_cores
from tests.benchmarks.operator_cases import CASES, FINALS, RECORDS, Case
from tests.benchmarks.operator_worker import OURS, finalists, kernel_of
from tests.benchmarks.operators import SPREAD, THREADS, Worker

COUNT = 12  # finalists of a case
PLACEMENTS, ROUNDS, TURN_SECONDS = 3, 3, 0.01


def play(worker: Worker, records: Sequence[Record], number: int, threads: int) -> Record:
    """The winner of one case: the least of the slowest medians over rounds in which all have their turn."""
    case = CASES[number]
    chosen = finalists(records, case, threads, COUNT)
    if not chosen:
        raise ValueError(f"no correct program for {case.text}, {threads} threads; run tests.benchmarks.tune_operators")
    _build(chosen, case, threads)
    short = min(record.cost for record in chosen) < 0.01  # long kernels do not mind where their arrays are
    slowest: dict[str, float] = {}
    for placement in range(PLACEMENTS if short else 1):
        names = worker.ask(load=number, finalists=COUNT, placement=placement)["programs"]
        for name, seconds in _medians(worker, names, SPREAD if threads > 1 else 0.002).items():
            slowest[name] = max(seconds, slowest.get(name, 0.0))
    winner = min(slowest, key=lambda name: slowest[name])
    return replace(chosen[int(winner)], threads=threads, seconds=(slowest[winner],))


def _medians(worker: Worker, names: list[str], warm: float) -> dict[str, float]:
    """Seconds per call of the worker's programs."""
    turns: dict[str, list[float]] = {name: [] for name in names}
    for first in range(ROUNDS):
        for name in names[first:] + names[:first]:
            turns[name].append(worker.ask(turn=name, seconds=TURN_SECONDS, warm=warm, calls=1)["seconds"])
    return {name: statistics.median(measured) for name, measured in turns.items()}


def _build(chosen: Sequence[Record], case: Case, threads: int) -> None:
    """Compile side by side; the worker finds the libraries built."""

    def build(record: Record) -> None:
        build_library(emit_library([kernel_of(record, case).nest], threads=threads))

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(build, chosen))


def play_all() -> None:
    """The finals of all cases."""
    records = read_records(RECORDS)
    winners = []
    for threads in THREADS:
        with Worker(OURS, threads) as worker:
            for number, case in enumerate(CASES):
                winners.append(play(worker, records, number, threads))
                text = f"{case.text:34} {threads}t {winners[-1].cost * 1e6:9.1f} us"
                print(text, file=sys.stderr, flush=True)
    write_records(FINALS, winners)


def main() -> int:
    """The command."""
    Parser(
        prog="python -m tests.benchmarks.operator_finals",
        description=__doc__ or "",
        example="python -m tests.benchmarks.operator_finals",
    ).parse_args()

    def run() -> int:
        play_all()
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
