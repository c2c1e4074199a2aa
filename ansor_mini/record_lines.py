"""Records as lines of text: what many programs share is written once, as a header line, and each refers to it.

A header holds the task, the sketch's steps, the names of its holes, threads, machine and versions, and where the
seconds come from unless they were measured. Its name is a hash of what it says, so record files can be joined with
`cat`, and two processes may append to one file. The line after a header is small enough that 8,000 measured programs
take less than a megabyte when compressed. A line of another kind says which programs a network uses.

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

from ansor_mini.network_choice import NetworkChoice
from ansor_mini.record import MEASURED, OK, Record, hole_value

SCHEMA = 2
HEADER, CHOICE = '{"schema":2,', '{"choice":'  # how such lines begin

Entry = Union[Record, NetworkChoice]


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

    def lines(self, entry: Entry) -> list[str]:
        """The lines to append for one record or choice: headers that are the first of their kind, and its own."""
        if isinstance(entry, NetworkChoice):
            return self._choice(entry)
        lines, line = self._program(entry)
        line["seconds"] = entry.seconds
        if entry.kind != OK or entry.reason:
            line |= {"kind": entry.kind, "reason": entry.reason}
        if entry.facts:
            line["facts"] = dict(entry.facts)
        return [*lines, _json({**line, "time": entry.time})]

    def _choice(self, choice: NetworkChoice) -> list[str]:
        lines: list[str] = []
        programs: dict[str, Any] = {}
        for task, record in choice.programs.items():
            header, programs[task] = self._program(record)
            lines += header
        fields = {"choice": choice.network, "kernels": choice.kernels, "threads": choice.threads}
        fields |= {"machine": choice.machine, "programs": programs, "seconds": dict(choice.seconds)}
        return [*lines, _json({**fields, "fastest": choice.fastest, "time": choice.time})]

    def _program(self, record: Record) -> tuple[list[str], dict[str, Any]]:
        """A list of the program's header, empty if that is written already; and the program as a line has it."""
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
        lines = [] if name in self.written else [_json({"schema": SCHEMA, "header": name, **header})]
        self.written.add(name)
        return lines, {"of": name, "values": list(record.annotation.values())}


class LineReader:
    """Turns lines into records and choices; remembers the headers it has seen."""

    def __init__(self) -> None:
        self.headers: dict[str, dict[str, Any]] = {}

    def read(self, line: str) -> Entry | None:
        """What a line says, None for a header.  Raises: ValueError: it cannot be read, or its header is missing."""
        if not line.startswith(('{"of":', HEADER, CHOICE)):
            return Record.from_json(line)
        try:
            fields = json.loads(line)
            if "header" in fields:
                self._header(fields)
                return None
            return self._choice(fields) if "choice" in fields else self._record(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of schema {SCHEMA} ({error}): {line[:80]!r}") from None

    def _header(self, fields: dict[str, Any]) -> None:
        del fields["schema"]
        name, holes = fields.pop("header"), fields.pop("holes")
        fields["steps"] = tuple(fields["steps"])
        self.headers[name] = {"holes": holes, "shared": fields}

    def _choice(self, fields: dict[str, Any]) -> NetworkChoice:
        bare = {"seconds": (), "time": 0.0}
        programs = {task: self._record({**program, **bare}) for task, program in fields["programs"].items()}
        seconds = {name: float(value) for name, value in fields["seconds"].items()}
        return NetworkChoice(
            network=fields["choice"],
            kernels=fields["kernels"],
            threads=fields["threads"],
            machine=fields["machine"],
            programs=programs,
            seconds=seconds,
            fastest=fields["fastest"],
            time=float(fields["time"]),
        )

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


def read_lines(lines: Iterable[str], reader: LineReader | None = None) -> Iterator[Union[Entry, Unreadable]]:
    """What lines of either schema say, in order; a line that cannot be read is an `Unreadable`."""
    reader = reader or LineReader()
    for line in lines:
        try:
            entry = reader.read(line)
        except ValueError as error:
            yield Unreadable(line, str(error))
        else:
            if entry is not None:
                yield entry


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
