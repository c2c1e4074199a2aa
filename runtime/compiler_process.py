"""Runs compiler commands so that none outlives its time-out, a Ctrl-C or this process.

A compiler is a driver with children of its own (gcc starts cc1, as and ld), and killing the driver leaves those
running. So each command is the leader of a process group, and the group is what gets killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

from runtime.compile_c import CompileError

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


class CompileTimeout(CompileError):
    """The compiler was stopped because it took too long."""


def run_compiler(command: Sequence[str], *, timeout: float | None = None) -> None:
    """Run a compiler command to its end.

    Args: timeout: seconds it may take.
    Raises: CompileTimeout: it took longer. CompileError: it failed; the message is the compiler's.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with _lock:
        _running.add(process)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise CompileTimeout(f"{command[0]} was still compiling after {timeout:g} s") from None
    finally:
        with _lock:
            _running.discard(process)
        _kill_group(process)
    if process.returncode != 0:
        raise CompileError(said.decode(errors="replace").strip() or f"exit status {process.returncode}")


def stop_compilers() -> None:
    """Kill every command under way in this process; the threads waiting for them get a CompileError."""
    with _lock:
        processes = list(_running)
    for process in processes:
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group; the members of a group that is gone were all waited for."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
