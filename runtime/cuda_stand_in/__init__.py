"""A stand-in for the CUDA driver: its functions over malloc and kernels run on the CPU, to test what launches kernels.

Nothing that runs on it is a measurement: its events read the host's clock. `use()` builds the library and sets
`$MINI_CUDA_DRIVER`, which child processes inherit. `$MINI_STAND_IN` makes it fail as a GPU may (see `driver.cpp`).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.compile_c import cache_directory, find_compiler
from runtime.compiler_process import run_compiler

SOURCE = Path(__file__).with_name("driver.cpp")
FLAGS = ("-x", "c++", "-O1", "-shared", "-fPIC", "-fno-exceptions", "-fno-rtti")
SHIM = Path(__file__).parent.parent / "cuda_on_cpu" / "engine"
NAME = "stand-in on a CPU"  # what the device says its name is


def build() -> Path:
    """The library; built once.  Raises: CompilerNotFound: there is no C compiler."""
    compiler, text = find_compiler(), SOURCE.read_bytes() + (SHIM / "interface.h").read_bytes()
    key = hashlib.sha256(text + "\0".join((compiler.version, *FLAGS)).encode()).hexdigest()[:32]
    target = cache_directory() / f"{key}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = Path(folder) / "driver.so"
            run_compiler([*compiler.command, *FLAGS, f"-I{SHIM}", str(SOURCE), "-o", str(built), "-ldl"], timeout=60.0)
            built.replace(target)
    return target


@contextmanager
def use(failure: str = "") -> Iterator[Path]:
    """Let this process and its children find the stand-in in place of the driver while a block runs.

    failure: how it is to fail, such as `no_device` or `fault=KERNEL`.
    """
    changed = {"MINI_CUDA_DRIVER": str(build()), "MINI_STAND_IN": failure}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield Path(changed["MINI_CUDA_DRIVER"])
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
