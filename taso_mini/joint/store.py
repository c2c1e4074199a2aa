"""All that has been measured so far, by task: earlier files, and one that what is measured now goes to.

A search asks for the best record of a task hundreds of times, and networks share tasks; so records are indexed as they
come. Those of another machine or another number of threads, and what a model said, are left alone. Choices of whole
networks' programs are kept among them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ansor_mini.network_choice import NetworkChoice, choice_for
from ansor_mini.partition import Subgraph
from ansor_mini.record import MEASURED
from ansor_mini.record_lines import Entry
from ansor_mini.records import OK, Record, RecordFiles, read_choices, read_records
from runtime.machine import Machine


class Store:
    """Records of one machine and thread count; takes new ones as a `RecordSink`.

    >>> from runtime.machine import detect
    >>> with Store(None, machine=detect()) as store:
    ...     for seconds in (3e-6, 2e-6):
    ...         store.append(Record("task", (), {}, "ok", (seconds,), machine=detect().line))
    ...     print(len(store.records), store.best("task").cost, store.best("another"))
    2 2e-06 None
    """

    def __init__(self, path: Path | None, *, machine: Machine, threads: int = 1, earlier: Sequence[Path] = (),
                 resume: bool = True, also: Path | None = None) -> None:  # fmt: skip
        """Read the files.

        path: where new records go, which need not exist yet; None keeps them in memory. resume: read it too. earlier:
            files to read. also: another file that new records go to.
        Raises: ValueError: a file holds something other than records; OSError: it cannot be read or written.
        """
        self.machine, self.threads = machine, threads
        self.records: list[Record] = []
        self.choices: list[NetworkChoice] = []
        self._by_task: dict[str, list[Record]] = {}
        self._best: dict[str, Record] = {}
        self._tried: dict[str, set[str]] = {}
        for file in (*earlier, *([path] if resume and path is not None and path.exists() else [])):
            for record in read_records(file):
                self._index(record)
            self.choices += read_choices(file)
        self._files = RecordFiles(file for file in (path, also) if file is not None)

    def append(self, entry: Entry) -> None:
        """Keep one record or choice; on the disk first."""
        self._files.append(entry)
        if isinstance(entry, NetworkChoice):
            self.choices.append(entry)
        else:
            self._index(entry)

    def choice(self, parts: Sequence[Subgraph]) -> NetworkChoice | None:
        """The last choice of the programs of a partitioned graph; None when there is none."""
        return choice_for(self.choices, parts, self.threads, self.machine.line)

    def best(self, task: str) -> Record | None:
        """The fastest correct record of a task; None when there is none."""
        return self._best.get(task)

    def of(self, task: str) -> list[Record]:
        """All records of a task."""
        return list(self._by_task.get(task, ()))

    def seconds(self, task: str, steps: tuple[str, ...]) -> float:
        """The least seconds recorded of one sketch of a task; infinite without any."""
        costs = [record.cost for record in self.of(task) if record.steps == steps]
        return min(costs, default=math.inf)

    def failures(self, task: str) -> Counter[str]:
        """Records of a task that failed, by kind."""
        return Counter(record.kind for record in self.of(task) if record.kind != OK)

    def tried(self, task: str) -> int:
        """How many different programs of a task have been measured."""
        return len(self._tried.get(task, ()))

    @property
    def total(self) -> int:
        """How many different programs have been measured, of all tasks."""
        return sum(map(len, self._tried.values()))

    def _index(self, record: Record) -> None:
        if (record.machine, record.threads, record.source) != (self.machine.line, self.threads, MEASURED):
            return
        self.records.append(record)
        self._by_task.setdefault(record.task, []).append(record)
        self._tried.setdefault(record.task, set()).add(f"{record.steps} {record.annotation}")
        best = self._best.get(record.task)
        if record.kind == OK and (best is None or record.cost < best.cost):
            self._best[record.task] = record

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
