"""Runs measured kernels in one isolated, persistent child process, and survives whatever they do to it.

The child (`runtime.runner_child`) is started once and given kernels one after the other; when one crashes or runs out
of time the child is gone, the outcome is a result with its reason, and the next kernel gets a fresh child. The case
(inputs and expected outputs) is shared through files that the child maps, written once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from runtime.measure_case import MeasureCase, MeasureResult
from runtime.scratch import ScratchFolder

# Libraries stay loaded (unloading one that uses OpenMP crashes), so a child is replaced before they pile up.
KERNELS_PER_CHILD = 400
# The child ends itself at the time-out; should even that fail, the parent ends it this many seconds later. It covers
# the child's start and the mapping of the case.
GRACE_SECONDS = 30.0
CHILD_MODULE = "runtime.runner_child"


@dataclass(frozen=True)
class BuiltKernel:
    """A shared library with `void NAME_repeat(void *const *arguments, long calls)`, as `measure.build` makes them.

    arguments: addresses of the inputs, the outputs and a workspace of `workspace_bytes`.
    """

    library: Path
    name: str
    workspace_bytes: int


class _Child:
    """The process, its end of the pipe, and how many kernels it has run."""

    def __init__(self, errors: Path, module: str) -> None:
        ours, theirs = Pipe()
        package_parent = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))
        # NumPy only compares here: its thread pool would take cores away from the kernel.
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_DYNAMIC": "false"}
        try:
            with errors.open("wb") as stderr:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", module, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    cwd=errors.parent,
                    env=environment,
                    start_new_session=True,  # a Ctrl-C at the terminal goes to the parent alone
                )
        finally:
            theirs.close()
        self.connection: Connection = ours
        self.served = 0

    def stop(self) -> None:
        """End the process now, whatever it does, and wait until it is gone."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class _State:
    """What has to be released, held apart from the Runner so that its finalizer can hold it."""

    def __init__(self) -> None:
        self.scratch = ScratchFolder("runner")
        self.child: _Child | None = None

    @property
    def folder(self) -> Path:
        """Where the cases and the child's last words are."""
        return self.scratch.path

    def stop_child(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def release(self) -> None:
        self.stop_child()
        self.scratch.remove()


class Runner:
    """Measures built kernels one at a time; use it as a context manager, from one thread at a time.

    It holds one child process and a temporary folder with the case, both released by `close` or at exit.
    """

    def __init__(self, module: str = CHILD_MODULE) -> None:
        """Prepare; `module` is what the child runs, another one for other devices."""
        self._state = _State()
        self._module = module
        self._finalizer = weakref.finalize(self, self._state.release)
        self._case: MeasureCase | None = None
        self._case_number = 0

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process and remove the files; may be called twice."""
        self._finalizer()

    def load(self, case: MeasureCase) -> None:
        """Measure on this case from now on; giving the same object again costs nothing."""
        if case is self._case:
            return
        previous = self._case_folder
        # Programs with weights packed in their own ways still share the other arrays, some of them large.
        known = {id(array): previous / name for name, array in self._case.files} if self._case else {}
        self._case_number += 1
        self._case_folder.mkdir()
        case.save(self._case_folder, known)
        shutil.rmtree(previous, ignore_errors=True)
        self._case = case

    @property
    def _case_folder(self) -> Path:
        return self._state.folder / f"case{self._case_number}"

    def run(
        self,
        kernel: BuiltKernel,
        *,
        run_timeout: float = 10.0,
        min_repeat_seconds: float = 0.002,
        repeats: int = 10,
        flush_bytes: int = 0,
    ) -> MeasureResult:
        """Check and time one kernel on the loaded case. Never raises for what the kernel does.

        flush_bytes: other memory that is written to before every timed call.

        A child that dies under a kernel after it ran others may be the others' doing, so the kernel gets a second
        chance in a fresh one; so does one whose child was killed from outside.

        Raises: ValueError: no case is loaded, or the runner is closed.
        """
        self._check_ready()
        request = {
            "library": str(kernel.library),
            "name": kernel.name,
            "workspace_bytes": kernel.workspace_bytes,
            "run_timeout": run_timeout,
            "min_repeat_seconds": min_repeat_seconds,
            "repeats": repeats,
            "flush_bytes": flush_bytes,
        }
        return self.request(request)

    def request(self, request: Mapping[str, Any]) -> MeasureResult:
        """Have the child do something with the loaded case within the seconds `request["run_timeout"]`.

        Raises: ValueError: no case is loaded, or the runner is closed.
        """
        self._check_ready()
        request = {"case": str(self._case_folder), **request}
        result, second_chance = self._attempt(request)
        return self._attempt(request)[0] if second_chance else result

    def _check_ready(self) -> None:
        if self._case is None:
            raise ValueError("a runner needs a case to run kernels on; call load first")
        if not self._finalizer.alive:
            raise ValueError("this runner is closed")

    def _attempt(self, request: Mapping[str, Any]) -> tuple[MeasureResult, bool]:
        """One try: the result, and whether it may have been somebody else's fault."""
        state = self._state
        if state.child is not None and state.child.served >= KERNELS_PER_CHILD:
            state.stop_child()
        if state.child is None:
            state.child = _Child(state.folder / "stderr", self._module)
        child = state.child
        child.served += 1
        try:
            child.connection.send_bytes(json.dumps(request).encode())
            if child.connection.poll(request["run_timeout"] + GRACE_SECONDS):
                kind, seconds, reason, *spent = json.loads(child.connection.recv_bytes())
                if spent:  # the child says that it cannot run another kernel
                    state.stop_child()
                return MeasureResult(kind, tuple(seconds), reason), False
        except (EOFError, OSError, ValueError):
            return self._burial(child, request["run_timeout"])
        except BaseException:
            # Ctrl-C while a kernel runs: its answer must not be taken for that of the next one.
            state.stop_child()
            raise
        state.stop_child()
        return MeasureResult("run_timeout", (), f"still running after {request['run_timeout']:g} s"), False

    def _burial(self, child: _Child, run_timeout: float) -> tuple[MeasureResult, bool]:
        """Find out why the child is gone, and let the next kernel have a new one."""
        try:
            status = child.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL  # it closed the pipe and lives on: a kernel wrote over the child's own memory
        self._state.stop_child()
        if status == -signal.SIGALRM:
            return MeasureResult("run_timeout", (), f"still running after {run_timeout:g} s"), False
        cause = f"killed by {signal.Signals(-status).name}" if status < 0 else f"the process ended with status {status}"
        said = (self._state.folder / "stderr").read_text(errors="replace").strip().splitlines()
        cause += f" ({said[-1][:200]})" if said else ""
        return MeasureResult("crash", (), cause), child.served > 1 or status == -signal.SIGKILL
