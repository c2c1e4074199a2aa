"""The rows of the table of whole networks, what is printed of them, and their means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.network_runs import Run
from tests.benchmarks.network_worker import OURS_WINOGRAD
from tests.benchmarks.operator_worker import OURS

WANTED, LEAST = 1.25, 1.0  # geometric mean of best peer / ours, and its least


@dataclass(frozen=True)
class Built:
    """A network compiled with recorded kernels.

    untuned: kernels without a record. seconds: how long it took to compile.
    """

    form: str
    tasks: int
    untuned: int
    seconds: float


def row_of(
    seconds: Mapping[str, float],
    errors: Mapping[str, float],
    built: Built,
    run: Run | None,
    trials: float,
    least: float,
) -> dict[str, Any]:
    """What is reported of a network.  least: its seconds at the machine's limits."""
    peer = min((name for name in seconds if name not in errors), key=seconds.__getitem__, default=OURS)
    row: dict[str, Any] = {
        "ours_ms": round(1e3 * seconds[OURS], 4),
        "best_peer": peer,
        "best_peer_ms": round(1e3 * seconds[peer], 4),
        "ratio": round(seconds[peer] / seconds[OURS], 3),
        "ratio_at_the_limit": round(seconds[peer] / least, 3),
        "all_ms": {name: round(1e3 * value, 4) for name, value in seconds.items()},
        "max_relative_error": errors[OURS],
        "form": built.form,
        "tasks": built.tasks,
        "untuned": built.untuned,
        "trials_per_task": round(trials, 1),
        "tuning_seconds": run.seconds if run is not None else 0.0,
        "compile_seconds": round(built.seconds, 2),
    }
    if OURS_WINOGRAD in seconds:
        row["winograd_ms"] = round(1e3 * seconds[OURS_WINOGRAD], 4)
        row["winograd_ratio"] = round(seconds[peer] / seconds[OURS_WINOGRAD], 3)
        row["winograd_error"] = errors[OURS_WINOGRAD]
    return row


HEAD = f"{'':20}{'ours ms':>10}{'peer ms':>10} {'best peer':20}{'ratio':>7}{'limit':>7}{'error':>10}"
HEAD += f"{'Winograd ms':>13}{'ratio':>7}{'error':>10}{'trials/task':>12}{'tuned s':>9}{'untuned':>8}"


def print_row(name: str, row: Mapping[str, Any]) -> None:
    """One line of the table."""
    winograd = " " * 30
    if "winograd_ms" in row:
        winograd = f"{row['winograd_ms']:13.3f}{row['winograd_ratio']:7.2f}{row['winograd_error']:10.1e}"
    print(
        f"{name:20}{row['ours_ms']:10.3f}{row['best_peer_ms']:10.3f} {row['best_peer']:20}{row['ratio']:7.2f}"
        f"{row.get('ratio_at_the_limit', math.nan):7.2f}{row['max_relative_error']:10.1e}{winograd}"
        f"{row['trials_per_task']:12.1f}{row['tuning_seconds']:9.0f}{row['untuned']:8d}",
        flush=True,
    )


def summary(rows: Sequence[Mapping[str, Any]], group: str, threads: str) -> dict[str, float]:
    """Geometric mean and least of the ratios, without Winograd's definition and with it where it is faster; printed."""
    figures = {}
    plain = [row["ratio"] for row in rows]
    either = [max(row["ratio"], row.get("winograd_ratio", 0.0)) for row in rows]
    for kind, ratios in (("", plain), ("winograd_", either)):
        mean = figures[f"{group}{kind}geomean_{threads}"] = round(statistics.geometric_mean(ratios), 3)
        least = figures[f"{group}{kind}min_{threads}"] = min(ratios)
        label = "with Winograd where it is faster: " if kind else ""
        print(f"{label}geometric mean {mean} (wanted: {WANTED}), least {least} (wanted: {LEAST})")
    return figures
