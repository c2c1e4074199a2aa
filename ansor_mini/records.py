"""What was measured, one JSON line per program, so that tuning can stop at any moment and go on later.

Paper: Ansor §6

A record holds the task, the program as its sketch's steps and its annotation, and the result: the seconds of each
repeat, or the kind of failure and its reason. Lines are flushed to disk as they are written; a line cut short by a
crash is skipped when the file is read again.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ansor_mini.holes import Annotation, Value

SCHEMA = 1
OK = "ok"


@dataclass(frozen=True, slots=True)
class Record:
    """One measured program.

    task: key of the workload. steps: the sketch's steps as text. annotation: a value for each hole.
    kind: "ok" or the kind of failure. seconds: time of each repeat (empty when it failed). reason: why it failed.
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

    @property
    def cost(self) -> float:
        """Seconds of the fastest repeat, infinite for a failure; other work on the machine can only add time."""
        return min(self.seconds) if self.kind == OK and self.seconds else math.inf

    def to_json(self) -> str:
        """One line of JSON without its line end."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, separators=(",", ":"))

    @staticmethod
    def from_json(line: str) -> Record:
        """Read a line back.  Raises: ValueError: it is not a record of this schema."""
        try:
            fields = json.loads(line)
            if fields.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            fields["steps"] = tuple(fields["steps"])
            fields["seconds"] = tuple(fields["seconds"])
            fields["annotation"] = {name: _value(value) for name, value in fields["annotation"].items()}
            return Record(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of schema {SCHEMA} ({error}): {line[:80]!r}") from None


def _value(value: int | list[int]) -> Value:
    return tuple(value) if isinstance(value, list) else value


def versions() -> dict[str, str]:
    """The software that a measurement depends on."""
    from importlib import metadata

    try:
        ours = metadata.version("mini-compilers")
    except metadata.PackageNotFoundError:
        ours = "source"
    return {"ansor_mini": ours, "python": platform.python_version()}


def now() -> float:
    """Seconds since 1970, for `Record.time`."""
    return round(time.time(), 3)


class RecordFile:
    """Appends records to a file; each is on the disk when `append` returns.

    Raises: ValueError: the file exists and holds something other than records; OSError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path` for appending, and make its directory when needed."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = False
        if self.path.exists():
            read_records(self.path)
            content = self.path.read_bytes()
            torn = bool(content) and not content.endswith(b"\n")
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on the disk."""
        self._file.write(record.to_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """All records of a file, in the order they were written; lines cut short are skipped with a warning.

    Raises: ValueError: the file has lines and none of them is a record; OSError: it cannot be read.
    """
    text = Path(path).read_bytes().decode("utf-8", errors="replace")
    lines = [line for line in text.split("\n") if line.strip()]
    records, errors = [], []
    for line in lines:
        try:
            records.append(Record.from_json(line))
        except ValueError as error:
            errors.append(str(error))
    if errors and (len(errors) > 1 or not lines[0].startswith("{")) and not records:
        raise ValueError(f"{path} is not a record file: {errors[0]}")
    if errors:
        warnings.warn(f"{path}: skipped {len(errors)} unreadable of {len(lines)} lines", stacklevel=2)
    return records


def best_of(records: Iterable[Record], task: str | None = None, threads: int | None = None) -> Record | None:
    """The fastest correct record, of one task and thread count when given; None when there is none."""
    fitting = [
        record
        for record in records
        if record.kind == OK
        and (task is None or record.task == task)
        and (threads is None or record.threads == threads)
    ]
    return min(fitting, key=lambda record: record.cost, default=None)
