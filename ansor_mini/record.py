"""One measured program as a value: the task, the program, and its seconds or the reason why it has none.

Paper: Ansor §3
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache

from ansor_mini.holes import Annotation, Value
from runtime.compile_c import CompilerNotFound, find_compiler

SCHEMA = 1
OK = "ok"

# Where a record's seconds come from. A model's are never mixed with measured ones; "rehearsed" ones were taken on a
# stand-in for a GPU and mean nothing.
MEASURED, MODEL, REHEARSED = "measured", "model", "rehearsed"
SOURCES = (MEASURED, MODEL, REHEARSED)


@dataclass(frozen=True, slots=True)
class Record:
    """One measured program.

    task: key of the workload. steps: the sketch's steps as text. annotation: a value for each hole.
    kind: "ok" or the kind of failure. seconds: time of each repeat (empty when it failed). reason: why it failed.
    workload: the text that builds the computation, such as "matmul:512,512,512", when it has one.
    source: one of SOURCES; records of before there were models are measured.
    facts: what the compiler said about the program, such as the registers of a GPU kernel.
    """

    task: str
    steps: tuple[str, ...]
    annotation: Annotation
    kind: str
    seconds: tuple[float, ...] = ()
    reason: str = ""
    threads: int = 1
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    time: float = 0.0
    workload: str = ""
    source: str = MEASURED
    facts: Mapping[str, int] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Seconds of the fastest repeat, infinite for a failure; other work on the machine can only add time."""
        return min(self.seconds) if self.kind == OK and self.seconds else math.inf

    def to_json(self) -> str:
        """One line of JSON that needs no other line, without its line end."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, separators=(",", ":"))

    @staticmethod
    def from_json(line: str) -> Record:
        """Read such a line back.  Raises: ValueError: it is not a record of this schema."""
        try:
            fields = json.loads(line)
            if fields.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            fields["steps"] = tuple(fields["steps"])
            fields["seconds"] = tuple(fields["seconds"])
            fields["annotation"] = {name: hole_value(value) for name, value in fields["annotation"].items()}
            return Record(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of schema {SCHEMA} ({error}): {line[:80]!r}") from None


def hole_value(value: int | list[int]) -> Value:
    """A hole's value as JSON holds it, as the search holds it."""
    return tuple(value) if isinstance(value, list) else value


def versions() -> dict[str, str]:
    """The software that a measurement depends on."""
    return dict(_versions())


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    from importlib import metadata

    try:
        ours = metadata.version("mini-compilers")
    except metadata.PackageNotFoundError:
        ours = "source"
    found = [("ansor_mini", ours), ("python", platform.python_version())]
    with contextlib.suppress(CompilerNotFound):
        found.append(("compiler", find_compiler().version))
    return tuple(found)


def now() -> float:
    """Seconds since 1970, for `Record.time`."""
    return round(time.time(), 3)


def best_of(
    records: Iterable[Record], task: str | None = None, threads: int | None = None, source: str = MEASURED
) -> Record | None:
    """The fastest correct record of one source, of one task and thread count when given; None when there is none."""
    fitting = [
        record
        for record in records
        if record.kind == OK
        and record.source == source
        and (task is None or record.task == task)
        and (threads is None or record.threads == threads)
    ]
    return min(fitting, key=lambda record: record.cost, default=None)
