"""The machine that programs are compiled for: cores, vector width and caches, as far as the system tells.

`detect()` asks the operating system once; every number can be overridden (`detect(cores=4)`) so that a search can be
repeated as if on another machine. Nothing here fails: what the system does not say takes a common value.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from runtime.expr import ITEM_SIZE

_CACHE_DIRECTORY = Path("/sys/devices/system/cpu/cpu0/cache")
# What to believe about a machine that says nothing; vector registers of 16 bytes exist on every 64-bit CPU.
_COMMON = {"vector_bytes": 16, "l1_bytes": 32 << 10, "l2_bytes": 512 << 10, "l3_bytes": 8 << 20, "cache_line": 64}


@dataclass(frozen=True)
class Machine:
    """What a schedule may depend on; sizes in bytes, l1 and l2 per core, l3 shared (0: there is none)."""

    cpu: str
    cores: int
    vector_bytes: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cache_line: int

    @property
    def lanes(self) -> int:
        """float32 elements in one vector register."""
        return self.lanes_of("float32")

    def lanes_of(self, dtype: str) -> int:
        """Elements of `dtype` in one vector register."""
        return self.vector_bytes // ITEM_SIZE[dtype]

    @property
    def line(self) -> str:
        """One line for reports and records.

        >>> Machine("a CPU", 2, 32, 32768, 1048576, 0, 64).line
        'a CPU, 2 cores, 32-byte vectors, L1 32 KiB, L2 1 MiB, L3 none'
        """
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        caches = f"L1 {size_text(self.l1_bytes)}, L2 {size_text(self.l2_bytes)}, L3 {size_text(self.l3_bytes)}"
        return f"{self.cpu}, {cores}, {self.vector_bytes}-byte vectors, {caches}"

    def as_dict(self) -> dict[str, int | str]:
        """The fields, for JSON."""
        return asdict(self)


def size_text(size: int) -> str:
    """A number of bytes as people write it.

    >>> size_text(49152), size_text(1 << 25), size_text(100), size_text(0)
    ('48 KiB', '32 MiB', '100 B', 'none')
    """
    if size == 0:
        return "none"
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"


def detect(**overrides: int | str) -> Machine:
    """Describe this machine, with the given fields replaced.

    Raises: ValueError: an override that is not a field of `Machine`, or not a positive number (`l3_bytes` may be 0).

    >>> detect(cores=4).cores
    4
    """
    known = {field.name for field in fields(Machine)}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(f"{name} is not a property of a machine; there are {', '.join(sorted(known))}")
        if name != "cpu" and (not isinstance(value, int) or value < (0 if name == "l3_bytes" else 1)):
            raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return replace(_detected(), **overrides)  # type: ignore[arg-type]


@functools.cache
def _detected() -> Machine:
    facts: dict[str, int | str] = {"cpu": platform.processor() or platform.machine() or "unknown CPU", **_COMMON}
    if platform.system() == "Darwin":
        facts.update(_darwin_facts())
    else:
        facts.update(_cpuinfo_facts(_read(Path("/proc/cpuinfo"))))
        facts.update(_sysfs_caches(_CACHE_DIRECTORY))
    return Machine(cores=usable_cores(), **facts)  # type: ignore[arg-type]


def usable_cores() -> int:
    """Cores this process may use: its affinity mask, cut by a container's CPU quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, -(-int(quota[0]) // int(quota[1]))))
    return max(1, cores)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _cpuinfo_facts(text: str) -> dict[str, int | str]:
    r"""Name and vector width from the text of /proc/cpuinfo.

    >>> _cpuinfo_facts("model name\t: Some CPU @ 2 GHz\nflags\t\t: sse avx avx2\n")
    {'cpu': 'Some CPU @ 2 GHz', 'vector_bytes': 32}
    """
    facts: dict[str, int | str] = {}
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    if name:
        facts["cpu"] = name.group(1).strip()
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    if flags:
        facts["vector_bytes"] = vector_bytes_of(flags.group(1).split())
    return facts


def vector_bytes_of(flags: list[str]) -> int:
    """Width of a vector register of the CPU with these flags; 32-byte registers need fused multiply-add's AVX2.

    >>> vector_bytes_of(["avx2", "avx512f", "avx512vl"]), vector_bytes_of(["avx"]), vector_bytes_of(["asimd"])
    (64, 16, 16)
    """
    if {"avx512f", "avx512vl"} <= set(flags):
        return 64
    return 32 if "avx2" in flags else 16


@functools.cache
def instruction_sets() -> frozenset[str]:
    """The vector extensions that the processor has, as /proc/cpuinfo names them; empty where there is no such file."""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return frozenset(re.findall(r"\b(?:s?sse|avx|fma|f16c|bmi|amx|sve|asimd)\w*", flags.group(1) if flags else ""))


def _sysfs_caches(directory: Path) -> dict[str, int]:
    """Data caches of the first core, as Linux describes them: one folder `index*` per cache."""
    facts: dict[str, int] = {}
    found: dict[int, int] = {}
    for entry in sorted(directory.glob("index*")):
        size = re.match(r"(\d+)([KM]?)", _read(entry / "size"))
        level = _read(entry / "level").strip()
        if not size or not level.isdigit() or _read(entry / "type").strip() == "Instruction":
            continue
        found[int(level)] = int(size.group(1)) * {"": 1, "K": 1 << 10, "M": 1 << 20}[size.group(2)]
        line = _read(entry / "coherency_line_size").strip()
        if line.isdigit() and int(line):
            facts["cache_line"] = int(line)
    if found:
        facts.update({f"l{level}_bytes": found.get(level, 0) for level in (1, 2, 3) if level == 3 or found.get(level)})
    return facts


def _darwin_facts() -> dict[str, int | str]:
    """What `sysctl` says on macOS; the performance cores' caches where there are two kinds of core."""
    keys: Mapping[str, tuple[str, ...]] = {
        "cpu": ("machdep.cpu.brand_string",),
        "l1_bytes": ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
        "l2_bytes": ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
        "l3_bytes": ("hw.l3cachesize",),
        "cache_line": ("hw.cachelinesize",),
    }
    facts: dict[str, int | str] = {"l3_bytes": 0}
    for fact, names in keys.items():
        values = [value for name in names if (value := _sysctl(name))]
        if values:
            facts[fact] = values[0] if fact == "cpu" else int(values[0])
    if _sysctl("hw.optional.avx512f") == "1":
        facts["vector_bytes"] = 64
    elif _sysctl("hw.optional.avx2_0") == "1":
        facts["vector_bytes"] = 32
    return facts


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
