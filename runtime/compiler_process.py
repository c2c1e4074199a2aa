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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from runtime.compile_c import CompileError

Built = TypeVar("Built")

_running: set[subprocess.Popen[bytes]] = set()
_stopped: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


class CompileTimeout(CompileError):
    """The compiler was stopped because it took too long."""


class CompilerStopped(RuntimeError):
    """The compiler was stopped because the result is no longer wanted; says nothing about the program."""


def run_compiler(command: Sequence[str], *, timeout: float | None = None) -> str:
    """Run a compiler command to its end and return what it said.

    Args: timeout: seconds it may take.
    Raises: CompileTimeout: it took longer. CompileError: it failed; the message is the compiler's. CompilerStopped:
        another thread called `stop_compilers`.
    """
    with _lock:  # around the start as well, so that `stop_compilers` misses none
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(process)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise CompileTimeout(f"{command[0]} was still compiling after {timeout:g} s") from None
    finally:
        with _lock:
            _running.discard(process)
            stopped = process in _stopped
            _stopped.discard(process)
        _bury(process)
    if stopped:
        raise CompilerStopped(f"{command[0]} was stopped")
    if process.returncode != 0:
        raise CompileError(said.decode(errors="replace").strip() or f"exit status {process.returncode}")
    return said.decode(errors="replace")


def stop_compilers() -> None:
    """End every command under way in this process; the threads waiting for them get a CompilerStopped."""
    with _lock:
        processes = list(_running)
        _stopped.update(processes)
    for process in processes:
        _signal_group(process, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _bury(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a command that was given up; nothing is left of one that ended."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)  # lets the driver remove its temporary files
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        _signal_group(process, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def built_side_by_side(
    jobs: Iterable[tuple[Callable[..., Built], tuple[Any, ...]]], executor: Executor | None, workers: int
) -> Iterator[Built]:
    """The results of jobs that run compilers, in order; no compiler is left behind when interrupted.

    jobs: functions and their arguments. executor: runs them; by default so many threads of this process.
    """
    pool = executor or ThreadPoolExecutor(workers, thread_name_prefix="builder")
    futures: list[Future[Built]] = []
    try:
        for function, arguments in jobs:
            futures.append(pool.submit(function, *arguments))
        for future in futures:
            yield future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        # A builder may just be between two compilers, so ask until every one has ended.
        while wait([future for future in futures if not future.cancelled()], timeout=0.05).not_done:
            stop_compilers()
        raise
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
