"""Records survive a crash in the middle of a line, and a file of something else is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.records import Record, RecordFile, best_of, read_records

_VALUES = st.one_of(st.integers(0, 512), st.lists(st.integers(1, 64), max_size=3).map(tuple))
_RECORDS = st.builds(
    Record,
    task=st.text(max_size=8),
    steps=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    annotation=st.dictionaries(st.text(max_size=5), _VALUES, max_size=4),
    kind=st.sampled_from(("ok", "crash")),
    seconds=st.lists(st.floats(1e-9, 10), max_size=3).map(tuple),
    reason=st.text(max_size=20),
    threads=st.integers(1, 64),
    machine=st.text(max_size=8),
    versions=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    time=st.floats(0, 1e10),
)


def _record(task: str = "t", kind: str = "ok", seconds: tuple[float, ...] = (1.0,), threads: int = 1) -> Record:
    return Record(task, ("step",), {"a": 1, "b": (2, 4)}, kind, seconds, threads=threads)


@given(_RECORDS)
def test_json_round_trip(record: Record) -> None:
    line = record.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == record


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new directory" / "records.jsonl"
    with RecordFile(path) as file:
        file.append(_record("first"))
        assert read_records(path) == [_record("first")]
    with RecordFile(path) as file:
        file.append(_record("second"))
    assert [record.task for record in read_records(path)] == ["first", "second"]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_torn_last_line_loses_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as file:
        file.append(_record("first"))
        file.append(_record("torn"))
    path.write_bytes(path.read_bytes()[:-cut])
    if cut > 1:
        with pytest.warns(UserWarning, match="skipped 1 unreadable of 2"):
            assert [record.task for record in read_records(path)] == ["first"]
        with pytest.warns(UserWarning), RecordFile(path) as file:
            file.append(_record("next"))
        with pytest.warns(UserWarning):
            assert [record.task for record in read_records(path)] == ["first", "next"]
    else:
        assert [record.task for record in read_records(path)] == ["first", "torn"]


def test_other_files_are_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader,\nthis is not JSON.\n")
    with pytest.raises(ValueError, match="not a record file"):
        read_records(path)
    with pytest.raises(ValueError, match="not a record file"):
        RecordFile(path)
    assert path.read_text().startswith("Dear reader")


def test_record_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        Record.from_json(_record().to_json().replace('"schema":1', '"schema":99'))


def test_best_of_ignores_failures_and_other_tasks() -> None:
    records = [
        _record(seconds=(3.0, 2.5, 4.0)),
        _record(kind="wrong_answer", seconds=()),
        _record("other", seconds=(0.1,)),
        _record(seconds=(2.0,), threads=2),
    ]
    assert best_of(records, "t", threads=1) == records[0]
    assert best_of(records, "t") == records[3]
    assert best_of(records) == records[2]
    assert best_of([], "t") is None
    assert records[1].cost == math.inf
