"""How long it takes to enumerate the published operators up to candidate rules, and how many there are.

Paper: TASO §2.2, §4, Table 3

The published generator, in C++, needs 100 CPU-seconds and 7.1 GB for three operators, and fails at four with 128 GB. By
default two searches are made: one whose integers behave as the published generator's, whose counts must be met, and
one that makes no false equation. `--operators 4` and `5` search deeper, `--representatives` builds only upon the
first term of each value, `--folder` keeps finished parts so that an interrupted search goes on, `--workers` shares the
work between processes, `--dask` between local Dask workers. Five operators are meant with `--representatives` and
`--surrogates sound`. The last table has a line for every size on record.

Seconds are CPU seconds of this process and its children, from enumeration to pruned candidates.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from taso_mini.candidates import TermReader
from taso_mini.coverage import missing
from taso_mini.derivation import Identity
from taso_mini.enumeration.forms import LocalPairs, Pairs, by_value, normal_forms
from taso_mini.enumeration.graph_sets import equal_pairs, every_graph, ordered_graphs, sinks
from taso_mini.enumeration.growth import grow
from taso_mini.enumeration.last_level import Plan, parents, smaller_terms
from taso_mini.enumeration.search import Candidates, search
from taso_mini.enumeration.space import published
from taso_mini.enumeration.term_table import PAD, TermTable
from taso_mini.published_rules import read_protobuf
from taso_mini.verdicts import judge
from tests.benchmarks.command import RESULTS, main

PUBLISHED_RULES = Path(__file__).parents[1] / "data" / "taso_generated_3op_619.pb"
PAPER_FACTOR = 39  # the paper's Table 3: 28,744 -> 17,346 -> 743
STEPS = (
    "equal pairs",
    "different up to renaming",
    "different, shapes ignored",
    "no common output operator",
    "no union of rules",
    "no instance of another",
)


def cpu_seconds() -> float:
    """CPU seconds of this process and of those of its children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_gib() -> float:
    """The most memory that this process held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def workers(options: argparse.Namespace) -> Iterator[Executor | None]:
    """The executor that the options ask for, or None."""
    if options.dask:
        from distributed import Client

        with Client(n_workers=options.workers or 2, threads_per_worker=1, dashboard_address=None) as client:
            yield client.get_executor()
    elif options.workers:
        with ProcessPoolExecutor(options.workers) as pool:
            yield pool
    else:
        yield None


def count_graphs(plan: Plan) -> tuple[dict[int, int], dict[int, int], list[int]]:
    """Count all graphs of a space, as sets with inputs in order and as Algorithm 1 visits them.

    Up to three operators also all pairs of equal graphs, before and after renaming: the paper's order of pruning.
    """
    operators = plan.operators
    table = TermTable(plan.space, plan.seed, operators)
    for size in range(1, operators + 1):
        grow(table, size, last=size == operators, keep_values=size < operators)
    sets, ordered = ({size: 0 for size in range(1, operators + 1)} for _ in range(2))
    kept = []
    for size, rows in every_graph(table):
        for low in range(0, len(rows), 1 << 18):
            part = rows[low : low + (1 << 18)]
            sets[size] += len(part)
            ordered[size] += ordered_graphs(table, part)
        kept += [rows] if operators <= 3 else []
    if not kept:
        return sets, ordered, []
    rows = np.concatenate(kept)
    outputs = sinks(table, rows)
    i, j = equal_pairs(table, rows, outputs)
    most = int((outputs != PAD).sum(axis=1).max())
    pairs = Pairs(rows[i], rows[j], by_value(table, outputs[i], most), by_value(table, outputs[j], most))
    forms = normal_forms(LocalPairs(table, pairs), aware=True)
    return sets, ordered, [len(pairs), len(np.unique(forms))]


def laws(found: Candidates) -> list[Identity]:
    """The candidates, and the terms that equal a part of themselves, as undirected equations."""
    reader, rules = TermReader(found.table), []
    for outputs, results in zip(found.pairs.outputs, found.pairs.results):
        sides = [tuple(reader.term(int(t)) for t in side[side != PAD]) for side in (outputs, results)]
        rules.append(Identity(f"candidate-{len(rules)}", sides[0], sides[1]))
    return rules


def describe(found: Candidates, seconds: float, wall: float) -> None:
    """Print the funnel of one search."""
    print(f"\n{found.table.space.name}, up to {found.counts['operators']} operators: {seconds:.2f} CPU-s, {wall:.1f} s")
    for name, count in found.counts.items():
        factor = f"{found.counts[STEPS[0]] / count:8.1f} x" if name in STEPS and count else ""
        print(f"  {count:12,}  {name:32}{factor}")
    print(f"  {len(found.reductions):12,}  terms that equal a part of themselves")


def show_sizes(now: Mapping[str, Any], recorded: Path = RESULTS) -> None:
    """Print a line for every recorded search and for this one, by number of operators."""
    searches = [now]
    for path in sorted(recorded.glob("generate*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        if any(one[name] != now[name] for name in ("operators", "surrogates", "representatives")):
            searches.append(one)
    print(
        "\n  operators               terms       values         graphs   that hang together"
        "   pairs up to renaming    rules   CPU-s    GiB"
    )
    for one in sorted(searches, key=lambda one: (one["operators"], one["representatives"], one["surrogates"])):
        whole = one["graphs"] if "graph_sets" in one else None
        together = one.get("connected_graphs", None if whole else one["graphs"])
        shown = [
            f"{number:,}" if number else "-"
            for number in (
                one["terms"],
                one["classes"],
                whole,
                together,
                one["candidates"],
                one["after_renaming"],
                one["rules"],
            )
        ]
        kind = "representatives" if one["representatives"] else one["surrogates"]
        print(
            "  {} {:15}{:>13}{:>13}{:>15}{:>21}".format(one["operators"], kind, *shown[:4])
            + "{:>10}{:>13}{:>9}".format(*shown[4:])
            + f"{one['cpu_seconds']:8.1f}{one['peak_gib']:7.2f}"
        )


class Progress:
    """Says on standard error what is being done: when a step ends, and every few seconds in between."""

    def __init__(self, every: float = 5.0) -> None:
        """Start the clock."""
        self.every, self.last = every, 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Print CPU seconds, step and counts."""
        now = time.monotonic()
        if done >= total or now >= self.last + self.every:
            self.last = now
            sys.stderr.write(f"{cpu_seconds():8.1f} CPU-s  {step}: {done:,} of {total:,}\n")


def benchmark(quick: bool, options: argparse.Namespace) -> Mapping[str, Any]:
    """Search, count, and compare with the published rules."""
    operators = options.operators
    started = cpu_seconds()
    plan = Plan(
        published(options.variables, surrogates=options.surrogates), operators, options.representatives, options.seed
    )
    with workers(options) as executor:
        wall = time.monotonic()
        found = search(plan, executor=executor, folder=options.folder, progress=Progress())
        elapsed = time.monotonic() - wall
    seconds = cpu_seconds() - started
    figures = {
        "operators": operators,
        "surrogates": options.surrogates,
        "representatives": options.representatives,
        "terms": found.counts["terms"],
        "classes": found.counts["classes"],
        "candidates": found.counts[STEPS[0]],
        "after_renaming": found.counts[STEPS[1]],
        "rules": found.counts[STEPS[-1]],
        "cpu_seconds": round(seconds, 2),
        "seconds": round(elapsed, 2),
        "peak_gib": round(peak_gib(), 3),
    }
    describe(found, seconds, elapsed)
    if (options.workers or options.dask) and operators < 5:  # alone, five take too long to compare with
        smaller_terms.cache_clear()
        parents.cache_clear()
        wall = time.monotonic()
        alone = search(plan)
        same = all(
            np.array_equal(getattr(alone.pairs, name), getattr(found.pairs, name))
            for name in ("source", "target", "outputs", "results")
        )
        taken = time.monotonic() - wall
        worker_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        figures |= {
            "same_alone": same,
            "seconds_alone": round(taken, 2),
            "time_ratio": round(taken / elapsed, 2),
            "peak_gib_of_a_worker": round(worker_gib, 3),
        }
        print(f"  alone: {figures['seconds_alone']} s, {figures['time_ratio']} times as long; the same rules: {same}")
    figures["graphs"] = figures["connected_graphs"] = found.counts["graphs"]
    if operators <= 3 or options.count:
        sets, ordered, funnel = count_graphs(plan)
        print("\n  operators   graphs as sets   as Algorithm 1 visits them")
        for size in sets:
            print(f"  {size:9}{sets[size]:17,}{ordered[size]:29,}")
        figures |= {"graphs": sum(ordered.values()), "graph_sets": sum(sets.values())}
        if funnel:
            funnel.append(figures["rules"])
            figures["funnel"] = funnel
            print(
                "\n  initial {:,} -> renaming {:,} -> common subgraph {:,}".format(*funnel)
                + f": {funnel[0] / max(funnel[2], 1):.1f} x (the paper: {PAPER_FACTOR} x)"
            )
    show_sizes(figures)
    if operators == 3 and not options.no_coverage and PUBLISHED_RULES.exists():
        lost = missing(read_protobuf(PUBLISHED_RULES), laws(found))
        judged = [judge(rule) for rule in lost]
        figures["published_missing"] = len(lost)
        figures["published_wrong"] = sum(one.kind == "refuted" for one in judged)
        print(
            f"\n  rules of {PUBLISHED_RULES.name} that are not among ours and do not follow: {len(lost)}, "
            f"of which wrong: {figures['published_wrong']}"
        )
        for one in judged[:20]:
            print(f"    {one.rule}\n{one.test}")
    return figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's own options."""
    parser.add_argument("--operators", type=int, default=3, help="operators on each side (default 3)")
    parser.add_argument("--variables", type=int, default=3, help="inputs of each shape (default 3, as published)")
    parser.add_argument(
        "--surrogates",
        default="published",
        choices=("published", "sound"),
        help="how relu and pools are computed on integers (default: as published)",
    )
    parser.add_argument("--representatives", action="store_true", help="build upon one term of each value only")
    parser.add_argument("--count", action="store_true", help="count all graphs beyond three operators too (minutes)")
    parser.add_argument("--no-coverage", action="store_true", help="do not compare with the published rules")
    parser.add_argument("--folder", type=Path, help="keep finished parts here and go on from them")
    parser.add_argument("--workers", type=int, default=0, help="share the work between so many processes")
    parser.add_argument("--dask", action="store_true", help="share it between local Dask workers (extra `cluster`)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs' values")


if __name__ == "__main__":
    sys.exit(main("generate", benchmark, "time and memory of the generator", add_arguments))
