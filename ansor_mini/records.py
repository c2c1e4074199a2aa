"""What was measured, one JSON line per program, so that tuning can stop at any moment and go on later.

Paper: Ansor §6

1. `RecordFile` appends: a record is on the disk when `append` returns. A disk that is full is an OSError that names
   the file, and takes back what was written of the last line.
2. `read_records` reads: plain or compressed (.gz), old lines and new ones; a line cut short by a crash is skipped.
   `read_choices` reads the lines that say which programs a network uses.
3. `write_records` writes a whole file at once, and rounds times to what the clock can tell.

How a record becomes a line is `record_lines`.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from ansor_mini.network_choice import NetworkChoice
from ansor_mini.record import MEASURED, MODEL, OK, REHEARSED, Record, best_of, now, versions
from ansor_mini.record_lines import CHOICE, HEADER, Entry, LineReader, LineWriter, Unreadable, read_lines

DIGITS = 6  # significant ones of a time in `write_records`

__all__ = [
    "MEASURED", "MODEL", "OK", "REHEARSED", "Record", "RecordFile", "best_of", "now", "read_choices", "read_records",
    "versions", "write_records",
]  # fmt: skip


class RecordFile:
    """Appends records to a file; each is on the disk when `append` returns.

    Raises: ValueError: the file exists and holds something other than records, or is compressed; OSError: it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], *, workload: str = "") -> None:
        """Open `path` for appending, and make its directory when needed.

        workload: the text that builds the computation, noted in records that name none.
        """
        self.path, self.workload = Path(path), workload
        if self.path.suffix == ".gz":
            raise ValueError(f"{self.path} is compressed, and records are appended to plain files only")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        reader, torn = LineReader(), False
        if self.path.is_file():
            _read(self.path, reader)
            content = self.path.read_bytes()
            torn = bool(content) and not content.endswith(b"\n")
        self._writer = LineWriter(reader.headers)
        self._file = self.path.open("ab", buffering=0)
        if torn:
            self._write(b"\n")

    def append(self, entry: Entry) -> None:
        """Write one record or choice and wait until it is on the disk."""
        if self.workload and isinstance(entry, Record) and not entry.workload:
            entry = replace(entry, workload=self.workload)
        before = set(self._writer.written)
        lines = self._writer.lines(entry)
        try:
            self._write("".join(f"{line}\n" for line in lines).encode())
        except OSError:
            self._writer.written = before
            raise

    def _write(self, data: bytes) -> None:
        """Write all of it and wait for the disk, or take back what was written."""
        start = os.fstat(self._file.fileno()).st_size
        done = 0
        try:
            while done < len(data):
                done += self._file.write(data[done:])
            _sync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                if os.fstat(self._file.fileno()).st_size == start + done:
                    self._file.truncate(start)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RecordFiles:
    """Appends every record to several files; otherwise like `RecordFile`."""

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Open each path once.  Raises: as `RecordFile`."""
        self._files: list[RecordFile] = []
        try:
            for path in dict.fromkeys(Path(path).absolute() for path in paths):
                self._files.append(RecordFile(path))
        except BaseException:
            self.close()
            raise

    def append(self, entry: Entry) -> None:
        """Write one record or choice to every file and wait until it is on the disk."""
        for file in self._files:
            file.append(entry)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> RecordFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """All records of a file, in the order they were written; lines cut short are skipped with a warning.

    Raises: ValueError: the file has lines and none of them is a record; OSError: it cannot be read.
    """
    return [entry for entry in _read(Path(path), LineReader()) if isinstance(entry, Record)]


def read_choices(path: str | os.PathLike[str]) -> list[NetworkChoice]:
    """All choices of a file of records, in the order they were made; other lines are not looked at.

    Raises: ValueError: it is called .gz and is no such file; OSError: it cannot be read.
    """
    entries = _read(Path(path), LineReader(), only=(HEADER, CHOICE))
    return [entry for entry in entries if isinstance(entry, NetworkChoice)]


def write_records(path: str | os.PathLike[str], entries: Iterable[Entry], *, digits: int = DIGITS) -> int:
    """Write a new file of records and choices, compressed when its name ends in .gz; returns their number.

    digits: significant ones that are kept of every time. The file appears when it is complete.
    Raises: ValueError: digits below 1.
    """
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
    path, writer, lines, count = Path(path), LineWriter(), [], 0
    for entry in entries:
        if isinstance(entry, Record):
            entry = replace(entry, seconds=tuple(float(f"{s:.{digits}g}") for s in entry.seconds))
        lines += writer.lines(entry)
        count += 1
    data = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # No time stamp inside, so that equal records are equal files.
        partial.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _read(path: Path, reader: LineReader, only: tuple[str, ...] = ("",)) -> list[Entry]:
    """What the lines of a file say that begin with one of these."""
    text = _content(path).decode("utf-8", errors="replace")
    lines = [line for line in text.split("\n") if line.strip() and line.startswith(only)]
    entries: list[Entry] = []
    errors: list[str] = []
    for found in read_lines(lines, reader):
        if isinstance(found, Unreadable):
            errors.append(found.reason)
        else:
            entries.append(found)
    alien = errors and not entries and not reader.headers
    if alien and (len(errors) > 1 or not lines[0].startswith("{")):
        raise ValueError(f"{path} is not a record file: {errors[0]}")
    if errors:
        warnings.warn(f"{path}: skipped {len(errors)} unreadable of {len(lines)} lines", stacklevel=3)
    return entries


def _content(path: Path) -> bytes:
    """The bytes of a file; of a compressed one that was cut short, what can be had."""
    if path.suffix != ".gz":
        return path.read_bytes()
    parts: list[bytes] = []
    with gzip.open(path, "rb") as file, contextlib.suppress(EOFError):
        try:
            while part := file.read1(1 << 20):
                parts.append(part)
        except (gzip.BadGzipFile, zlib.error) as error:
            if not parts:
                raise ValueError(f"{path} is not a record file: {error}") from None
    return b"".join(parts)


def _sync(descriptor: int) -> None:
    """Wait until a file is on the disk; a pipe or a device has none."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
