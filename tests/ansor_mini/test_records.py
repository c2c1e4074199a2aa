"""Records survive a crash in the middle of a line and a full disk, and a file of something else is refused."""

from __future__ import annotations

import errno
import gzip
import math
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.record_lines import LineReader, LineWriter
from ansor_mini.records import Record, RecordFile, best_of, read_records, write_records

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
    workload=st.text(max_size=8),
)


def _record(task: str = "t", kind: str = "ok", seconds: tuple[float, ...] = (1.0,), threads: int = 1) -> Record:
    return Record(task, ("step",), {"a": 1, "b": (2, 4)}, kind, seconds, threads=threads)


@given(_RECORDS)
def test_json_round_trip(record: Record) -> None:
    line = record.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == record


@given(st.lists(_RECORDS, max_size=4))
def test_compact_round_trip(records: list[Record]) -> None:
    writer, reader = LineWriter(), LineReader()
    lines = [line for record in [*records, *records] for line in writer.lines(record)]
    assert not any("\n" in line for line in lines)
    assert [record for record in map(reader.read, lines) if record is not None] == [*records, *records]
    assert len(lines) <= 3 * len(records)


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new directory" / "records.jsonl"
    with RecordFile(path) as file:
        file.append(_record("first"))
        assert read_records(path) == [_record("first")]
    with RecordFile(path) as file:
        file.append(_record("second"))
    assert [record.task for record in read_records(path)] == ["first", "second"]


def test_what_programs_share_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for number in range(3):
        with RecordFile(path) as file:
            file.append(replace(_record(), time=float(number)))
    assert path.read_text().count('"steps"') == 1
    assert [record.time for record in read_records(path)] == [0.0, 1.0, 2.0]


def test_old_lines_new_lines_and_joined_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(_record("old").to_json() + "\n")
    with RecordFile(path, workload="matmul:8,8,8") as file:
        file.append(_record("new"))
    path.write_text(path.read_text() * 2)
    found = read_records(path)
    assert [(record.task, record.workload) for record in found] == [("old", ""), ("new", "matmul:8,8,8")] * 2


@pytest.mark.parametrize("cut", [1, 10, 40, 90])
def test_torn_last_line_loses_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as file:
        file.append(_record("first"))
        file.append(_record("torn"))
    path.write_bytes(path.read_bytes()[:-cut])
    if cut > 1:
        with pytest.warns(UserWarning, match="skipped 1 unreadable of"):
            assert [record.task for record in read_records(path)] == ["first"]
        with pytest.warns(UserWarning), RecordFile(path) as file:
            file.append(_record("torn"))
        with pytest.warns(UserWarning):
            assert [record.task for record in read_records(path)] == ["first", "torn"]
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
    (tmp_path / "letter.gz").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="not a record file"):
        read_records(tmp_path / "letter.gz")


def test_record_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        Record.from_json(_record().to_json().replace('"schema":1', '"schema":99'))


def test_a_record_without_its_header_is_refused() -> None:
    lines = LineWriter().lines(_record())
    with pytest.raises(ValueError, match="header .* is missing"):
        LineReader().read(lines[1])


def test_compressed_files_are_written_whole_and_read_as_far_as_they_go(tmp_path: Path) -> None:
    path, rng = tmp_path / "records.jsonl.gz", np.random.default_rng(0)
    records = [_record(seconds=tuple(rng.uniform(1, 2, 10))) for _ in range(2000)]
    assert write_records(path, records, digits=17) == 2000
    assert read_records(path) == records
    write_records(path, records)
    assert [record.cost for record in read_records(path)] == [float(f"{r.cost:.6g}") for r in records]
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match="skipped 1"):
        assert 1000 < len(read_records(path)) < 2000
    with pytest.raises(ValueError, match="compressed"):
        RecordFile(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_eight_thousand_records_are_less_than_a_megabyte(tmp_path: Path) -> None:
    """As many holes and as much noise as the records of a convolution have."""
    rng = np.random.default_rng(0)
    steps = tuple(f"Split(stage='Y.local', iterator='{i}', lengths=Hole(name='Y.local.{i}'))" for i in range(20))
    sizes = (1, 2, 4, 7, 8, 14, 16, 32)

    def record(number: int) -> Record:
        tiles = {f"Y.local.{axis}": tuple(map(int, rng.choice(sizes, 3))) for axis in "nhwcrsk"}
        others = {f"stage{i}.parallel": int(rng.integers(4)) for i in range(8)}
        seconds = 10 ** rng.uniform(-6, -2) * (1 + 0.05 * rng.random(10))
        return Record("task", steps, {**tiles, **others}, "ok", tuple(seconds), time=1.8e9 + round(0.1 * number, 3))

    write_records(tmp_path / "records.jsonl.gz", map(record, range(1000)))
    assert (tmp_path / "records.jsonl.gz").stat().st_size < 125_000
    assert len(gzip.open(tmp_path / "records.jsonl.gz").readlines()) == 1001


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_clear_error() -> None:
    with RecordFile("/dev/full") as file, pytest.raises(OSError, match="/dev/full") as caught:
        file.append(_record())
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another system")
def test_a_disk_that_fills_up_loses_nothing_before_it(tmp_path: Path) -> None:
    """In a child process, the file may grow to a size in the middle of a record; later there is room again."""
    path = tmp_path / "records.jsonl"
    child = os.fork()
    if not child:  # pragma: no cover
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        kept = 0
        try:
            with RecordFile(path) as file:
                for number in range(100):
                    file.append(replace(_record(), time=float(number)))
                    kept += 1
        except OSError as error:
            os._exit(kept if error.filename == str(path) else 0)
        os._exit(0)
    kept = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 5 < kept < 50
    assert [record.time for record in read_records(path)] == list(range(kept))
    with RecordFile(path) as file:
        file.append(replace(_record(), time=-1.0))
    assert [record.time for record in read_records(path)] == [*range(kept), -1]


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
