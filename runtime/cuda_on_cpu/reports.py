"""What the checks found, in words: kind, line of the kernel, block, thread, and what the other access was."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# In the order of the engine's CudaOnCpuKind.
KINDS = (
    "out-of-bounds",
    "misaligned",
    "shared-race",
    "global-race",
    "uninitialised-shared",
    "uninitialised-global",
    "divergent-barrier",
    "wrong-mask",
    "undefined-arithmetic",
    "write-to-constant",
    "wrong-operand",
    "crash",
    "time-limit",
    "assertion",
)
STATIC_SHARED, DYNAMIC_SHARED, LIBRARY = -2, -3, -4
ANYWHERE = (0, 1 << 62)


@dataclass(frozen=True)
class Report:
    """One mistake of a kernel.

    line: of the kernel's text; None when it cannot be told. block, thread: whose doing it is (x, y, z).
    times: how often it happened; the message is about the first.
    """

    kind: str
    message: str
    line: int | None
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    times: int = 1

    def __str__(self) -> str:
        """As a compiler's message; the caller puts a file's name before it.

        >>> print(Report("shared-race", "write of `tile[0]`", 12, (0, 0, 0), (5, 0, 0)))
        12: shared-race: write of `tile[0]`, by thread (5,0,0) of block (0,0,0)
        """
        where = f"{'?' if self.line is None else self.line}: {self.kind}: {self.message}"
        if self.kind in ("crash", "time-limit"):
            return where
        more = f" ({self.times} times)" if self.times > 1 else ""
        return f"{where}, by thread {_triple(self.thread)} of block {_triple(self.block)}{more}"


@dataclass(frozen=True)
class Variable:
    """A shared array: its name, where it begins in the section, its bytes."""

    name: str
    begin: int
    bytes: int


def _triple(index: Sequence[int]) -> str:
    return f"({index[0]},{index[1]},{index[2]})"


def make_reports(
    raw: Sequence[Any],
    library: Path,
    file: str,
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    shared: tuple[int, int],
) -> tuple[Report, ...]:
    """Reports from the engine's records.

    Args: names, sizes: of the buffers, sizes as (bytes, bytes of an element). shared: where the library's static shared
        memory begins, counted from its own beginning, and its bytes.
    """
    offsets = {place.pc for record in raw for place in (record.here, record.other) if place.pc and not place.line}
    lines = _lines(library, file, sorted(offsets))
    places = {STATIC_SHARED: shared, LIBRARY: ANYWHERE}
    variables = {
        kind: _variables(library, place) if any(record.buffer == kind for record in raw) else []
        for kind, place in places.items()
    }
    return tuple(_report(record, lines, names, sizes, variables.get(record.buffer, [])) for record in raw)


def _report(
    record: Any,
    lines: dict[int, int],
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    variables: Sequence[Variable],
) -> Report:
    kind = KINDS[record.kind]
    message = record.text
    if record.buffer != -1:
        place = _place(record, names, sizes, variables)
        message = f"{'write' if record.here.write else 'read'} of {record.size} bytes at {place}"
        if record.text:
            message += f": {record.text}"
    elif kind == "out-of-bounds" and not message.startswith(("index", "a null")):
        message = f"{'write' if record.here.write else 'read'} of {record.size} bytes at no memory of the device"
        message += f": {record.text}" if record.text else ""
    if kind.endswith("race"):
        message += _conflict(record, lines)
    if kind == "divergent-barrier":
        message = f"__syncthreads() that not all threads reach: {message}"
    return Report(
        kind, message, _line(record.here, lines), tuple(record.here.block), tuple(record.here.thread), record.times
    )


def _conflict(record: Any, lines: dict[int, int]) -> str:
    """The other access of a race."""
    line = _line(record.other, lines)
    doing = "written" if record.other.write else "read"
    where = f" at line {line}" if line else ""
    other = f"thread {_triple(record.other.thread)}"
    if list(record.other.block) != list(record.here.block):
        return f", which {other} of block {_triple(record.other.block)} has {doing}{where}: blocks have no order"
    return f", which {other} has {doing}{where} with no barrier between"


def _place(record: Any, names: Sequence[str], sizes: Sequence[tuple[int, int]], variables: Sequence[Variable]) -> str:
    """The memory of an access, as an element of a named array."""
    if record.buffer == DYNAMIC_SHARED:
        return f"byte {record.offset} of the dynamic shared memory"
    if record.buffer in (STATIC_SHARED, LIBRARY):
        kind = "shared" if record.buffer == STATIC_SHARED else "device variable"
        near = [variable for variable in variables if variable.begin <= record.offset]
        if not near:
            return f"byte {record.offset} of the {'shared memory' if kind == 'shared' else 'library'}"
        variable = max(near, key=lambda candidate: candidate.begin)
        return f"byte {record.offset - variable.begin} of the {kind} `{variable.name}` of {variable.bytes} bytes"
    total, element = sizes[record.buffer]
    index = record.offset // element if record.offset % element == 0 else record.offset / element
    return f"`{names[record.buffer]}[{index}]` of {total // element} elements"


def _line(place: Any, lines: dict[int, int]) -> int | None:
    return place.line or lines.get(place.pc)


def _lines(library: Path, file: str, offsets: Sequence[int]) -> dict[int, int]:
    """Lines of the kernel's text for offsets in the library, of the innermost inlined function that is in that text."""
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    if not offsets or tool is None:
        return {}
    command = [tool, "-a", "-i", "-e", str(library), *(hex(offset) for offset in offsets)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    found: dict[int, int] = {}
    offset = 0
    for text in said.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", text):
            offset = int(text, 16)
            continue
        place = re.match(r"(.*):(\d+)", text)
        if place and offset not in found and Path(place[1]).name == Path(file).name:
            found[offset] = int(place[2])
    return found


def _variables(library: Path, place: tuple[int, int]) -> list[Variable]:
    """The variables from a place in the library on, for so many bytes, by the library's symbols."""
    tool = shutil.which("nm") or shutil.which("llvm-nm")
    if tool is None:
        return []
    command = [tool, "-S", "-C", "--defined-only", str(library)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    variables = []
    for text in said.splitlines():
        found = re.match(r"([0-9a-f]+) ([0-9a-f]+) \w (.*)", text)
        if found and place[0] <= int(found[1], 16) < place[0] + place[1]:
            name = re.sub(r"\.\d+$", "", found[3].rsplit("::", 1)[-1])
            variables.append(Variable(name, int(found[1], 16) - place[0], int(found[2], 16)))
    return variables
