"""Rows of the one command's report: raw numbers for the file, a short table for people."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.measure_case import MeasureResult

SCHEMA = 1


@dataclass
class Row:
    """One thing that was run. seconds: each group's, per call.  reference: the peer's, with its name.

    flops, nbytes: the work of one call.  copy_rate: bytes per second of a copy, where memory is the limit.
    status: `ok`, or why there is no time.
    """

    section: str
    name: str
    status: str = "ok"
    seconds: list[float] = field(default_factory=list)
    flops: float = 0.0
    nbytes: float = 0.0
    peer: str = ""
    peer_seconds: list[float] = field(default_factory=list)
    copy_rate: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Seconds per call."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> str:
        """What it reaches."""
        if not self.seconds:
            return ""
        if self.flops:
            return f"{self.flops / self.median / 1e12:.4g} TFLOPS"
        if not self.nbytes:
            return ""
        rate = self.nbytes / self.median
        share = f", {100 * rate / self.copy_rate:.1f} % of a copy" if self.copy_rate else ""
        return f"{rate / 1e9:.4g} GB/s{share}"

    @property
    def share(self) -> float | None:
        """The peer's time divided by ours: above 1 is faster than the peer."""
        if not self.seconds or not self.peer_seconds:
            return None
        return statistics.median(self.peer_seconds) / self.median

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        share = self.share
        peer = f"{100 * share:.1f} % of {self.peer}" if share is not None else ""
        time = f"{self.median * 1e6:.5g} us" if self.seconds else ""
        status = "" if self.status == "ok" else self.status.splitlines()[0][:100]
        return self.name, time, self.rate, peer, status


def row_of(section: str, name: str, result: MeasureResult, **work: Any) -> Row:
    """A row from a measurement."""
    status = "ok" if result.ok else f"{result.kind}: {result.reason}"
    return Row(section, name, status, list(result.seconds) if result.ok else [], facts=dict(result.facts), **work)


def table(rows: Sequence[Row]) -> str:
    """Aligned lines, a heading per section.

    >>> print(table([Row("copy", "a", seconds=[1e-6], nbytes=1e3, peer="b", peer_seconds=[1e-6])]))
    copy
      a  1 us  1 GB/s  100.0 % of b
    """
    widths = [max(len(row.cells[column]) for row in rows) for column in range(5)] if rows else []
    lines, section = [], ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines.append(section)
        cells = (f"{cell:<{width}}" for cell, width in zip(row.cells, widths) if width)
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def write(path: Path | None, environment: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Write everything that is known so far, in one step; returns what was written."""
    results = {"schema": SCHEMA, "environment": environment, "rows": [_dictionary(row) for row in rows]}
    if path is not None:
        partial = path.with_name(path.name + ".part")
        partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    return results


def _dictionary(row: Row) -> dict[str, Any]:
    return asdict(row) | {"share": row.share}
