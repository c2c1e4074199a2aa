"""Commands that only read records: `best-of`, `diff`, and `pack`, which compresses them."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ansor_mini.commands.base import add_json, add_selection, by_task, choose, say_json, table
from ansor_mini.curve import curve_of, draw_curves, save_plot, time_text
from ansor_mini.records import DIGITS, OK, Record, best_of, read_choices, read_records, write_records
from runtime.command_line import DONE, NOTHING_FOUND, Command


def add_best_of_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `best-of`."""
    parser.add_argument("records", type=Path, nargs="+", help="record files")
    add_selection(parser)
    parser.add_argument("--out", type=Path, help="write the best record of every task to this new file")
    parser.add_argument("--curve", action="store_true", help="draw the best so far of every task")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save those curves as one picture")
    add_json(parser)


def run_best_of(arguments: Namespace) -> int:
    """The fastest correct record of every task and thread count."""
    groups = by_task(choose(arguments.records, arguments))
    found = {key: best for key, records in groups.items() if (best := _best(records)) is not None}
    if arguments.json:
        for key, best in found.items():
            counts = {"records": len(groups[key]), "failed": sum(record.kind != OK for record in groups[key])}
            say_json({"task": key[0], "threads": key[1], "seconds": best.cost, "program": best.annotation, **counts})
    else:
        rows = [(*_task(key), *_counts(groups[key]), time_text(best.cost)) for key, best in found.items()]
        print(table(("task", "threads", "measured", "failed", "best"), rows))
        for (task, _), records in groups.items() if arguments.curve else ():
            print(f"\n{task}\n{draw_curves({'best so far': curve_of(records)}, len(records))}")
    if arguments.plot is not None:
        curves = {" ".join(_task(key)): curve_of(records) for key, records in groups.items() if key in found}
        save_plot(arguments.plot, curves, max(map(len, groups.values())))
    if arguments.out is not None:
        write_records(arguments.out, found.values(), digits=17)
    return DONE if found else NOTHING_FOUND


def add_diff_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `diff`."""
    parser.add_argument("before", type=Path, help="record file")
    parser.add_argument("after", type=Path, help="record file")
    add_selection(parser)
    parser.add_argument("--trials", type=int, help="compare the best of so many first records of a task")
    add_json(parser)


def run_diff(arguments: Namespace) -> int:
    """How much faster or slower the best of each task is in the second file; status 1 when no task is in both."""
    before, after = (by_task(choose([path], arguments)) for path in (arguments.before, arguments.after))
    rows, ratios = [], []
    for key in dict.fromkeys([*before, *after]):
        old, new = (_best_seconds(records.get(key, [])[: arguments.trials]) for records in (before, after))
        ratio = old / new if math.isfinite(old) and math.isfinite(new) else None
        ratios += [] if ratio is None else [ratio]
        if arguments.json:
            seconds = {"before": old if math.isfinite(old) else None, "after": new if math.isfinite(new) else None}
            say_json({"task": key[0], "threads": key[1], **seconds, "speedup": ratio})
        rows.append((*_task(key), _or_none(old), _or_none(new), f"{ratio:.3f}" if ratio else "-"))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    if arguments.json:
        say_json({"tasks": len(ratios), "geomean_speedup": mean})
    else:
        print(table(("task", "threads", "before", "after", "speedup"), rows))
        print(f"geometric mean over {len(ratios)} tasks in both: " + (f"{mean:.3f}" if mean else "none"))
    return DONE if ratios else NOTHING_FOUND


def add_pack_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `pack`."""
    parser.add_argument("records", type=Path, nargs="+", help="record files, old or new, plain or compressed")
    parser.add_argument("--out", type=Path, required=True, help="new file; compressed when its name ends in .gz")
    parser.add_argument("--digits", type=int, default=DIGITS, help=f"kept of every time (default: {DIGITS})")


def run_pack(arguments: Namespace) -> int:
    """Write the records of all files into a new one, and behind them what was chosen among them for networks."""
    entries = (entry for read in (read_records, read_choices) for path in arguments.records for entry in read(path))
    count = write_records(arguments.out, entries, digits=arguments.digits)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {count} records, {size} bytes, {size / max(count, 1):.0f} each")
    return DONE if count else NOTHING_FOUND


def _task(key: tuple[str, int]) -> tuple[str, str]:
    return key[0], str(key[1])


def _counts(records: list[Record]) -> tuple[str, str]:
    return str(len(records)), str(sum(record.kind != OK for record in records))


def _best(records: list[Record]) -> Record | None:
    """The fastest of records that were chosen together, so that one source is behind all of them."""
    return best_of(records, source=records[0].source) if records else None


def _best_seconds(records: list[Record]) -> float:
    best = _best(records)
    return math.inf if best is None else best.cost


def _or_none(seconds: float) -> str:
    return time_text(seconds) if math.isfinite(seconds) else "-"


COMMANDS = (
    Command(
        "best-of",
        "the fastest correct program of every task in record files",
        "python -m ansor_mini best-of records.jsonl --curve",
        add_best_of_arguments,
        run_best_of,
    ),
    Command(
        "diff",
        "compare the best programs of two record files",
        "python -m ansor_mini diff before.jsonl after.jsonl",
        add_diff_arguments,
        run_diff,
    ),
    Command(
        "pack",
        "join and compress record files",
        "python -m ansor_mini pack records.jsonl --out records.jsonl.gz",
        add_pack_arguments,
        run_pack,
    ),
)
