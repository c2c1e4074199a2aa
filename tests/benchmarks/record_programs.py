"""Measure random programs of ten operators, one shape each: what a cost model can learn from when nothing was searched.

A search keeps to fast programs, which differ little. These are drawn as in the paper, every choice uniformly, so that
slow ones are there too. Stopping at any moment keeps what was measured; starting again goes on. When all are there,
they go to `results/random-records.jsonl.gz`.

Paper: Ansor §7.5
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ansor_mini.admission import not_worth_building
from ansor_mini.annotation import uniform_tiles
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.feasibility import Feasibility
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.measured_programs import record_of
from ansor_mini.population_annotation import sample_populations
from ansor_mini.records import RecordFile, read_records, write_records
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import cache_directory
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from tests.benchmarks.command import RESULTS
from tests.benchmarks.operator_cases import CASES, Case

RANDOM_RECORDS = RESULTS / "random-records.jsonl.gz"
TASKS = (
    "C1D:256", "C2D:14", "C2D:56", "matmul:512,512", "GRP:14", "DIL:14", "DEP:14", "T2D:8", "CAP:8,8,32", "matmul:128"
)  # fmt: skip
EACH = 520
BATCH, REPEATS = 40, 4


def draw(case: Case, count: int, rng: np.random.Generator) -> list[tuple[Program, LoopNest]]:
    """Random programs that can be built."""
    dag, machine = case.dag, detect()
    sketches, feasible = derive(dag, extended_rules(case.constants), machine), Feasibility(borders=1)
    found: dict[Program, LoopNest] = {}
    while len(found) < count:
        for population in sample_populations(sketches, 4 * count, rng, machine, tiles=uniform_tiles):
            legal = population.take(feasible.of_population(population))
            for program in legal.take(rng.permutation(len(legal))[: -(-count // len(sketches))]).programs():
                try:
                    nest = program.lower()
                except ScheduleError:
                    continue
                if not not_worth_building(nest):
                    found[program] = nest
    order = rng.permutation(len(found))[:count]
    pairs = list(found.items())
    return [pairs[i] for i in order]


def record(case: Case, count: int, sink: RecordFile, seed: int) -> None:
    """Measure so many more programs of a case, in one thread."""
    dag, rng = case.dag, np.random.default_rng(seed)
    with LocalMeasurer(dag, rng=np.random.default_rng(0), constants=case.constants, repeats=REPEATS) as measurer:
        for start in range(0, count, BATCH):
            pairs = draw(case, min(BATCH, count - start), rng)
            results = measurer([nest for _, nest in pairs], lambda number, result: None)
            for (program, _), result in zip(pairs, results):
                sink.append(record_of(program, result, case.text, threads=1, machine=detect().line))


def record_all(each: int, working: Path, target: Path) -> None:
    """Measure what is missing of every task."""
    for text in TASKS:
        case = next(case for case in CASES if case.text.startswith(text))
        earlier = read_records(working) if working.exists() else []
        done = sum(record.task == case.text for record in earlier)
        if done < each:
            with RecordFile(working) as sink:
                record(case, each - done, sink, seed=done)
            print(f"{case.text}: {each} programs", file=sys.stderr, flush=True)
    write_records(target, read_records(working))


def main() -> int:
    """The command."""
    parser = Parser(
        prog="python -m tests.benchmarks.record_programs",
        description=__doc__ or "",
        example="python -m tests.benchmarks.record_programs --each 520",
    )
    parser.add_argument("--each", type=int, default=EACH, help="programs of each task")
    parser.add_argument("--records", type=Path, help="working file (default: in the cache directory)")
    parser.add_argument("--target", type=Path, default=RANDOM_RECORDS, help="where all records go in the end")
    options = parser.parse_args()

    def run() -> int:
        working = options.records or cache_directory() / "random-records.jsonl"
        record_all(options.each, working, options.target)
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
