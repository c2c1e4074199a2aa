"""Measure the fastest recorded programs of each case of a suite against one another, and keep the winners.

The least of hundreds of measurements is partly luck: of the moment, and of how the arrays lay in memory. The finalists
run in turns, on arrays that lie to one another in several ways, and the slowest way counts. With several threads those
tuned for fewer compete as well: a short kernel is not worth a team. The winners go to
`results/SUITE-finals.jsonl.gz`, beside those of other processors; cases that were not tuned here with so many threads
are left out.
"""

from __future__ import annotations

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
from tests.benchmarks.operator_cases import OPERATORS, SUITES, Case, Suite, measured_here
from tests.benchmarks.operator_worker import OURS, finalists, kernel_of, no_program
from tests.benchmarks.operators import THREADS
from tests.benchmarks.turns import SPREAD, Worker, calm_medians

COUNT = 12  # finalists of a case
PLACEMENTS, ROUNDS, TURN_SECONDS = 3, 2, 0.01


def play(suite: Suite, worker: Worker, records: Sequence[Record], number: int, threads: int) -> Record:
    """The winner of one case: the least of the slowest medians over rounds in which all have their turn."""
    case = suite.cases[number]
    chosen = finalists(records, case, threads, COUNT)
    if not chosen:
        raise ValueError(no_program(suite, case, threads))
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

    def take_turns(first: int) -> dict[str, float]:
        order = names[first % len(names) :] + names[: first % len(names)]
        asked = {"seconds": TURN_SECONDS, "warm": warm, "calls": 1}
        return {name: worker.ask(turn=name, **asked)["seconds"] for name in order}

    return calm_medians([take_turns(number) for number in range(2 * ROUNDS)])


def _build(chosen: Sequence[Record], case: Case, threads: int) -> None:
    """Compile side by side; the worker finds the libraries built."""

    def build(record: Record) -> None:
        build_library(emit_library([kernel_of(record, case).nest], threads=threads))

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(build, chosen))


def play_all(suite: Suite, numbers_of_threads: Sequence[int] = THREADS) -> None:
    """The finals of all cases recorded here; winners with other numbers of threads, or elsewhere, are kept."""
    records = measured_here(read_records(suite.records))
    earlier = read_records(suite.finals) if suite.finals.exists() else []
    replaced = [record for record in measured_here(earlier) if record.threads in numbers_of_threads]
    winners = [record for record in earlier if record not in replaced]
    for threads in numbers_of_threads:
        with Worker(OURS, threads, arguments=(suite.name,)) as worker:
            for case in suite.recorded(records, threads):
                winners.append(play(suite, worker, records, suite.cases.index(case), threads))
                text = f"{case.text:34} {threads}t {winners[-1].cost * 1e6:9.1f} us"
                print(text, file=sys.stderr, flush=True)
    write_records(suite.finals, winners)


def main() -> int:
    """The command."""
    parser = Parser(
        prog="python -m tests.benchmarks.operator_finals",
        description=__doc__ or "",
        example="python -m tests.benchmarks.operator_finals --suite subgraphs --threads 1",
    )
    parser.add_argument("--suite", choices=SUITES, default=OPERATORS.name, help="which cases (default: operators)")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), help="numbers of threads to play with")
    options = parser.parse_args()

    def run() -> int:
        play_all(SUITES[options.suite], options.threads)
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
