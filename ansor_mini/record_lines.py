"""Records as lines of text: what many programs share is written once, as a header line, and each refers to it.

A header holds the task, the sketch's steps, the names of its holes, threads, machine and versions, and where the
seconds come from unless they were measured. Its name is a hash of what it says, so record files can be joined with
`cat`, and two processes may append to one file. The line after a header is small enough that 8,000 measured programs
take less than a megabyte when compressed.

>>> record = Record("t", ("Fuse('C', ('i', 'j'))",), {"C.i": (4, 8), "C.unroll": 16}, "ok", (2e-6, 1e-6), time=3.0)
>>> header, line = LineWriter().lines(record)
>>> line.replace(json.loads(header)["header"], "NAME")
'{"of":"NAME","values":[[4,8],16],"seconds":[2e-06,1e-06],"time":3.0}'
>>> list(read_lines(LineWriter().lines(record))) == [record]
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Union

from ansor_mini.record import MEASURED, OK, Record, hole_value

SCHEMA = 2


@dataclass(frozen=True)
class Unreadable:
    """A line that is no record, and why."""

    line: str
    reason: str


class LineWriter:
    """Turns records into lines; remembers which headers were written."""

    def __init__(self, written: Iterable[str] = ()) -> None:
        """Start; `written` names headers that are in the file already."""
        self.written = set(written)

    def lines(self, record: Record) -> list[str]:
        """The lines to append for one record: its header when it is the first of its kind, and its own."""
        header = {
            "task": record.task,
            "workload": record.workload,
            "steps": record.steps,
            "holes": list(record.annotation),
            "threads": record.threads,
            "machine": record.machine,
            "versions": dict(record.versions),
        }
        if record.source != MEASURED:
            header["source"] = record.source
        name = hashlib.sha256(_json(header).encode()).hexdigest()[:12]
        line: dict[str, Any] = {"of": name, "values": list(record.annotation.values()), "seconds": record.seconds}
        if record.kind != OK or record.reason:
            line |= {"kind": record.kind, "reason": record.reason}
        if record.facts:
            line["facts"] = dict(record.facts)
        lines = [] if name in self.written else [_json({"schema": SCHEMA, "header": name, **header})]
        self.written.add(name)
        return [*lines, _json({**line, "time": record.time})]


class LineReader:
    """Turns lines into records; remembers the headers it has seen."""

    def __init__(self) -> None:
        self.headers: dict[str, dict[str, Any]] = {}

    def read(self, line: str) -> Record | None:
        """The record of a line, None for a header.  Raises: ValueError: it is neither, or its header is missing."""
        if not line.startswith(('{"of":', '{"schema":2,')):
            return Record.from_json(line)
        try:
            fields = json.loads(line)
            if "header" in fields:
                self._header(fields)
                return None
            return self._record(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of schema {SCHEMA} ({error}): {line[:80]!r}") from None

    def _header(self, fields: dict[str, Any]) -> None:
        del fields["schema"]
        name, holes = fields.pop("header"), fields.pop("holes")
        fields["steps"] = tuple(fields["steps"])
        self.headers[name] = {"holes": holes, "shared": fields}

    def _record(self, fields: dict[str, Any]) -> Record:
        header = self.headers.get(fields["of"])
        if header is None:
            raise ValueError(f"its header {fields['of']} is missing")
        holes, values = header["holes"], fields["values"]
        if len(holes) != len(values):
            raise ValueError(f"{len(values)} values for {len(holes)} holes")
        return Record(
            annotation={hole: hole_value(value) for hole, value in zip(holes, values)},
            kind=fields.get("kind", OK),
            seconds=tuple(fields["seconds"]),
            reason=fields.get("reason", ""),
            facts=fields.get("facts", {}),
            time=fields["time"],
            **header["shared"],
        )


def read_lines(lines: Iterable[str], reader: LineReader | None = None) -> Iterator[Union[Record, Unreadable]]:
    """The records of lines of either schema, in order; a line that cannot be read is an `Unreadable`."""
    reader = reader or LineReader()
    for line in lines:
        try:
            record = reader.read(line)
        except ValueError as error:
            yield Unreadable(line, str(error))
        else:
            if record is not None:
                yield record


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
