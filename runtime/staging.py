"""Output directories that are never half written: files are made in a hidden folder inside and moved when complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutputError(ValueError):
    """A directory or file that cannot be written; the message says which, why, and what to do."""


def check_writable(directory: Path) -> None:
    """Find out before long work whether a directory could be written; leaves nothing behind.

    Raises: OutputError: it could not.
    """
    with staged(directory):
        pass


@contextmanager
def staged(directory: Path, *, last: str = "") -> Iterator[Path]:
    """Give a folder to write into; when the block ends well its files move to `directory`, `last` last.

    Each file is replaced in one step. A block that raises leaves `directory` as it was, or absent when it was absent.

    Raises: OutputError: the directory cannot be made or written.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with staged(Path(parent) / "new") as folder:
    ...         _ = (folder / "a.txt").write_text("done")
    ...     print((Path(parent) / "new" / "a.txt").read_text())
    done
    """
    directory = Path(directory)
    made: list[Path] = []
    written = False
    try:
        try:
            made = _make(directory)
            folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=directory))
        except OSError as error:
            raise OutputError(_sentence(directory, error)) from None
        try:
            yield folder
            files = sorted(folder.iterdir(), key=lambda path: (path.name == last, path.name))
            try:
                for path in files:
                    os.replace(path, directory / path.name)
                    written = True
            except OSError as error:
                raise OutputError(_sentence(directory, error)) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        for path in reversed([] if written else made):
            path.rmdir()


def _make(directory: Path) -> list[Path]:
    """Make a directory and its parents; returns those that were missing, outer first."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        if not directory.is_dir():
            raise NotADirectoryError(0, "it is a file", str(directory))
    except OSError:
        for path in reversed(made):
            path.rmdir()
        raise
    return made


def _sentence(directory: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"cannot write to {directory} ({reason}); give a directory that can be written"
