"""Tune the cases of a suite, the forty operators or the subgraphs, and keep every measured program.

Each case is tuned with one thread first; with more threads the best programs of one thread are measured first, since
what fits the registers and caches of one core fits those of the next. So are those that were best on other processors;
their times say nothing here. Stopping at any moment keeps what was measured; starting again goes on. When all cases are
done, the records go to `results/SUITE-records.jsonl.gz`, beside those of other processors.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.measured_programs import program_of
from ansor_mini.record import OK, Record
from ansor_mini.records import RecordFile, read_records, write_records
from ansor_mini.sketch import Program, derive
from ansor_mini.task import SearchOptions, Task
from ansor_mini.transfer import with_threads
from ansor_mini.tuner import tune
from runtime.command_line import DONE, Parser, exit_status
from runtime.compile_c import cache_directory
from runtime.machine import detect
from tests.benchmarks.operator_cases import OPERATORS, SUITES, Case, Suite, measured_here, processor

TRIALS = {1: 128, 2: 64}  # measured programs per case, by number of threads
FINALISTS = 12  # programs of fewer threads, and of another processor, that are measured first


def tune_case(case: Case, threads: int, trials: int, sink: RecordFile, earlier: Sequence[Record], seed: int = 0) -> str:
    """Tune one case to `trials` programs measured here, those in `earlier` included; what was found, for people."""
    dag = case.dag
    task = Task(case.text, dag, threads=threads, constants=case.constants)
    here = measured_here(earlier)
    start = time.monotonic()
    rng = np.random.default_rng(seed)
    with LocalMeasurer(dag, threads=threads, rng=rng, constants=case.constants) as measurer:
        result = tune(
            task,
            trials=trials,
            rng=rng,
            measurer=measurer,
            records=sink,
            resume=here,
            seeds=_seeds(case, threads, earlier),
            options=SearchOptions(),
        )
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
    found = f"{result.best_seconds * 1e6:9.1f} us {result.gflops:7.1f} GFLOP/s" if result.best else "nothing correct"
    spent = f"{result.trials} trials {time.monotonic() - start:5.1f} s {dict(result.failures)}"
    return f"{case.text:34} {threads}t {found} {spent}"


def _seeds(case: Case, threads: int, earlier: Sequence[Record]) -> list[Program]:
    """The best programs of one thread, with their outer loops fused for more, and the best of other processors."""
    dag, machine, here = case.dag, detect(), processor(detect().line)
    known = {sketch.key: sketch for sketch in derive(dag, extended_rules(case.constants), machine)}
    good = [r for r in earlier if r.task == case.text and r.kind == OK and r.steps in known]
    alone = [record for record in good if record.threads == 1 < threads and processor(record.machine) == here]
    seeds = dict.fromkeys(with_threads(alone, dag, known, threads, machine.lanes, FINALISTS))
    for other in sorted({processor(record.machine) for record in good} - {here}):
        there = [record for record in good if record.threads == threads and processor(record.machine) == other]
        for record in sorted(there, key=lambda record: record.cost)[:FINALISTS]:
            seeds[program_of(record, dag, known)] = None
    return list(seeds)


def tune_all(
    suite: Suite,
    trials: Mapping[int, int],
    *,
    target: Path | None = None,
    only: Collection[str] = (),
    batches: Collection[int] = (),
    working: Path | None = None,
) -> None:
    """Tune every case with each number of threads in `trials`, or those that `chosen` says."""
    working = working or cache_directory() / f"{suite.name}-records.jsonl"
    for threads, wanted in trials.items():
        for case in chosen(suite, only, batches):
            earlier = read_records(working) if working.exists() else []
            done = [r for r in measured_here(earlier) if r.task == case.text and r.threads == threads]
            if len(done) >= wanted:
                continue
            with RecordFile(working) as sink:
                print(tune_case(case, threads, wanted, sink, earlier), file=sys.stderr, flush=True)
    write_records(target or suite.records, read_records(working))


def chosen(suite: Suite, only: Collection[str], batches: Collection[int]) -> list[Case]:
    """The cases whose names start with one of `only` and whose batch is one of `batches`; nothing given excludes none.

    Other definitions of a case are cases of their own here.
    Raises: ValueError: there are none.
    """
    every = [definition for case in suite.cases for definition in case.definitions]
    cases = [case for case in every if not only or case.text.startswith(tuple(only))]
    cases = [case for case in cases if not batches or case.batch in batches]
    if not cases:
        raise ValueError(f"no case of {suite.name} starts with {' or '.join(only) or 'anything'} and has that batch")
    return cases


def main() -> int:
    """The command."""
    parser = Parser(
        prog="python -m tests.benchmarks.tune_operators",
        description=__doc__ or "",
        example="python -m tests.benchmarks.tune_operators --suite subgraphs --threads 1 --trials 96",
    )
    parser.add_argument("--suite", choices=SUITES, default=OPERATORS.name, help="which cases (default: operators)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads to tune for")
    parser.add_argument("--trials", type=int, help=f"measured programs per case (default, by threads: {TRIALS})")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="beginnings of case names, e.g. C2D")
    parser.add_argument("--batch", type=int, nargs="+", default=[], help="only cases of these batches")
    parser.add_argument("--records", type=Path, help="working file (default: in the cache directory)")
    parser.add_argument("--target", type=Path, help="where all records go in the end (default: in results/)")
    options = parser.parse_args()

    def run() -> int:
        trials = {threads: options.trials or TRIALS.get(threads, 64) for threads in options.threads}
        tune_all(
            SUITES[options.suite],
            trials,
            target=options.target,
            only=options.only,
            batches=options.batch,
            working=options.records,
        )
        return DONE

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
