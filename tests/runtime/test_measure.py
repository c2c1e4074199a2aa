"""Programs that fail in every way there is: each is one result with its kind, and the next program still runs."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.compile_c import find_compiler
from runtime.expr import Buffer, Var
from runtime.loop_nest import SERIAL, For, LoopNest, Store, block
from runtime.measure import KernelSource, MeasureCase, MeasureResult, measure, measure_sources
from runtime.runner import Runner

pytestmark = pytest.mark.cc

SIZE = 64
RIGHT = "void f(const float *a, float *b, void *w) { for (int i = 0; i < 64; ++i) b[i] = a[i] + 1; }"
HEAD = "#include <stdlib.h>\n#include <unistd.h>\nvoid f(float *a, float *b, char *w) { "
BAD = {
    "run_timeout": HEAD + "for (;;) *(volatile float *)b = 1; }",
    "crash": HEAD + "*(volatile int *)8 = 1; }",
    "compile_error": HEAD + "this is not C; }",
    "wrong_answer": HEAD + "for (int i = 0; i < 64; ++i) b[i] = a[i] + (i < 60 ? 1 : 2); }",
}


@pytest.fixture(scope="module")
def case() -> MeasureCase:
    values = np.arange(SIZE, dtype=np.float32)
    return MeasureCase([values], [values + 1])


@pytest.fixture(scope="module")
def runner():
    with Runner() as shared:
        yield shared


def outcome(text: str, case: MeasureCase, runner: Runner, workspace_bytes: int = 0, **options) -> MeasureResult:
    source = KernelSource(text, "f", 2, workspace_bytes)
    return measure_sources([source], case, runner=runner, min_repeat_seconds=1e-4, **options)[0]


def test_a_right_kernel_has_a_time_per_repeat(case, runner) -> None:
    result = outcome(RIGHT, case, runner, repeats=5)
    assert result.kind == "ok" and len(result.seconds) == 5
    assert min(result.seconds) <= result.cost <= max(result.seconds)


def test_every_kind_of_failure_is_one_result_and_the_rest_is_measured(case, runner) -> None:
    texts = [RIGHT, *(text for bad in BAD.values() for text in (bad, RIGHT))]
    seen = []
    results = measure_sources(
        [KernelSource(text, "f", 2) for text in texts],
        case,
        runner=runner,
        run_timeout=0.5,
        min_repeat_seconds=1e-4,
        on_result=lambda number, result: seen.append((number, result.kind)),
    )
    assert [result.kind for result in results] == ["ok", *(kind for bad in BAD for kind in (bad, "ok"))]
    assert seen == [(number, result.kind) for number, result in enumerate(results)]
    reasons = {result.kind: result.reason for result in results}
    assert "SIGSEGV" in reasons["crash"]
    assert "0.5 s" in reasons["run_timeout"]
    assert "this is not C" in reasons["compile_error"]
    assert "4 of 64 elements, first at [60]: expected 61.0, got 62.0" in reasons["wrong_answer"]


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("exit(0); }", "crash", "status 0"),
        ("abort(); }", "crash", "SIGABRT"),
        ("a[0] = 5; }", "crash", "SIGSEGV"),  # inputs are mapped read-only
        ("for (int i = 0; i < 65; ++i) b[i] = i + 1; }", "wrong_answer", "outside"),
        ("for (int i = -1; i < 64; ++i) b[i] = i + 1; }", "wrong_answer", "outside"),
        ("for (int i = 0; i < 63; ++i) b[i] = i + 1; }", "wrong_answer", "got nan"),
        (
            "static int n; for (int i = 0; i < 64; ++i) b[i] = a[i] + (n > 3 ? 2 : 1); ++n; }",
            "wrong_answer",
            "more calls",
        ),
        ("w[8] = 1; for (int i = 0; i < 64; ++i) b[i] = i + 1; }", "wrong_answer", "workspace"),
        ("close(3); close(4); close(5); for (int i = 3; i < 64; ++i) close(i); }", "crash", ""),
    ],
)
def test_misbehaviour_is_found(body: str, kind: str, word: str, case, runner) -> None:
    result = outcome(HEAD + body, case, runner, workspace_bytes=8, run_timeout=5)
    assert (result.kind, word in result.reason) == (kind, True), str(result)
    assert result.seconds == ()
    assert outcome(RIGHT, case, runner).ok


def test_uninitialised_workspace_shows(case, runner) -> None:
    text = HEAD + "float t = ((float *)w)[1]; for (int i = 0; i < 64; ++i) b[i] = a[i] + 1 + 0 * t; }"
    assert outcome(text, case, runner, workspace_bytes=8).kind == "wrong_answer"


def test_a_compiler_that_takes_too_long_is_stopped(case, runner) -> None:
    lines = "\n".join(f"#define A{n + 1} A{n} A{n}" for n in range(40))
    # 2**28 statements from a few lines of macros.
    text = f"#define A0 b[0] += a[0];\n{lines}\n" + HEAD + "A28 }"
    result = outcome(text, case, runner, build_timeout=0.5)
    assert result.kind == "build_timeout" and "0.5 s" in result.reason, str(result)


def test_a_full_disk_is_not_the_programs_failure(case, runner, tmp_path, monkeypatch) -> None:
    driver = tmp_path / "cc"
    driver.write_text("#!/bin/sh\necho 'fatal error: error writing to /tmp/x.s: No space left on device'; exit 1\n")
    driver.chmod(0o755)
    compiler = dataclasses.replace(find_compiler(), command=(str(driver),))
    monkeypatch.setattr("runtime.measure.find_compiler", lambda: compiler)
    with pytest.raises(OSError, match="scratch-build") as caught:
        outcome(RIGHT, case, runner)
    assert caught.value.errno == errno.ENOSPC


def test_a_worker_killed_from_outside_is_replaced(case, runner) -> None:
    """The kernel it was running is tried again and gets its time."""
    assert outcome(RIGHT, case, runner).ok
    child = runner._state.child.process
    text = HEAD + "usleep(20000); for (int i = 0; i < 64; ++i) b[i] = a[i] + 1; }"
    killer = threading.Timer(0.4, lambda: os.kill(child.pid, signal.SIGKILL))
    killer.start()
    result = measure_sources([KernelSource(text, "f", 2)], case, runner=runner, min_repeat_seconds=0.5, repeats=2)[0]
    killer.join()
    assert result.ok, str(result)
    assert child.returncode == -signal.SIGKILL
    assert runner._state.child.process.pid != child.pid


def test_an_interrupted_runner_leaves_no_child_and_works_again(case, runner) -> None:
    assert outcome(RIGHT, case, runner).ok
    process = runner._state.child.process
    # The kernel itself says when it runs, however long it took to build.
    text = "#include <signal.h>\n" + HEAD + "kill(getppid(), SIGINT); for (;;) *(volatile float *)b = 1; }"
    with pytest.raises(KeyboardInterrupt):
        outcome(text, case, runner, run_timeout=30)
    assert process.returncode is not None
    assert outcome(RIGHT, case, runner).ok


def test_the_child_does_not_see_the_terminals_interrupt(case, runner) -> None:
    assert outcome(RIGHT, case, runner).ok
    process = runner._state.child.process
    assert os.getpgid(process.pid) != os.getpgid(0)
    os.kill(process.pid, signal.SIGINT)
    assert outcome(RIGHT, case, runner).ok
    assert runner._state.child.process is process


def test_an_orphaned_child_ends_by_itself(case) -> None:
    with Runner() as own:
        assert outcome(RIGHT, case, own).ok
        child = own._state.child
        child.connection.close()
        assert child.process.wait(timeout=20) == 0


def test_closing_ends_the_child_and_removes_the_files(case) -> None:
    own = Runner()
    assert outcome(RIGHT, case, own).ok
    process, folder = own._state.child.process, own._state.folder
    own.close()
    own.close()
    assert process.returncode is not None and not folder.exists()
    with pytest.raises(ValueError, match="closed"):
        own.run(None)  # type: ignore[arg-type]


def test_a_slow_kernel_is_called_only_a_few_times(case, runner) -> None:
    text = HEAD + "usleep(300000); for (int i = 0; i < 64; ++i) b[i] = a[i] + 1; }"
    result = outcome(text, case, runner, repeats=3)
    assert result.ok and len(result.seconds) == 1 and result.cost > 0.3


def test_with_cold_caches_other_memory_is_written_to_between_calls(case, runner) -> None:
    """The kernel sees how often it is called; the first call and the second check are not timed."""
    text = HEAD + "static float n; for (int i = 0; i < 64; ++i) b[i] = a[i] + 1; ++n; if (n > 8) *b = n; }"
    result = outcome(text, case, runner, repeats=5, cold_caches=True)
    assert result.ok and len(result.seconds) == 5, str(result)
    assert outcome(text, case, runner, repeats=50).kind == "wrong_answer"


@pytest.mark.parametrize("option", [{"repeats": 0}, {"run_timeout": 0}, {"min_repeat_seconds": -1}])
def test_numbers_that_cannot_be_are_refused(option, case) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        measure([], case, **option)


# Loop nests


def add_one(extent: int = SIZE, name: str = "kernel", offset: float = 1.0, size: int = SIZE) -> LoopNest:
    source, target, i = Buffer("A", (size,)), Buffer("B", (size,)), Var("i")
    return LoopNest(name, (source,), (target,), For(i, extent, SERIAL, Store(target, (i,), source[i] + offset)))


def fails() -> LoopNest:
    raise ValueError("no such schedule")


def test_nests_of_one_name_share_a_file_and_a_bad_one_harms_nobody(case, runner) -> None:
    unknown = Buffer("nowhere", (SIZE,))
    bad_c = LoopNest(
        "kernel", (Buffer("A", (SIZE,)),), (Buffer("B", (SIZE,)),), block(Store(unknown, (Var("q"),), Var("q")))
    )
    programs = [add_one(), fails, bad_c, add_one, add_one(offset=2.0), add_one(size=3), add_one(name="other")]
    results = measure(programs, case, runner=runner, min_repeat_seconds=1e-4)
    kinds = [result.kind for result in results]
    assert kinds[:2] == ["ok", "lowering_error"] and kinds[2] in ("lowering_error", "compile_error")
    assert kinds[3:] == ["ok", "wrong_answer", "lowering_error", "ok"]
    assert "no such schedule" in results[1].reason
    assert "(3,)" in results[5].reason


def test_builders_may_be_processes(case, runner) -> None:
    with ProcessPoolExecutor(2) as pool:
        results = measure([add_one, add_one(), fails], case, runner=runner, executor=pool, min_repeat_seconds=1e-4)
    assert [result.kind for result in results] == ["ok", "ok", "lowering_error"]


def test_nothing_to_measure_is_no_result(case) -> None:
    assert measure([], case) == []


def test_without_a_runner_one_is_made(case) -> None:
    assert measure([add_one()], case, min_repeat_seconds=1e-4)[0].ok


INTERRUPTED = """
import sys
import numpy as np
from runtime.command_line import exit_status
from runtime.compile_c import find_compiler
from runtime.measure import KernelSource, MeasureCase, measure_sources

case = MeasureCase([], [np.zeros(1, np.float32)])
loop = KernelSource("void f(float *b, void *w) { for (;;) *(volatile float *)b = 1; }", "f", 1)
lines = "\\n".join(f"#define A{n + 1} A{n} A{n}" for n in range(40))
heavy = KernelSource(f"#define A0 b[0] += 1;\\n{lines}\\nvoid f(float *b, void *w) {{ A28 }}", "f", 1)
source = {"running": loop, "building": heavy}[sys.argv[1]]
find_compiler()
print("ready", flush=True)
sys.exit(exit_status(lambda: len(measure_sources([source], case, run_timeout=60, build_timeout=60))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("phase", ["running", "building"])
def test_an_interrupt_at_the_terminal_leaves_no_process(phase: str, tmp_path) -> None:
    """The whole process group gets SIGINT, as from a terminal; afterwards nothing that carries our mark is left."""
    mark = f"MINI_TEST_MARK={tmp_path}"
    environment = {**os.environ, "MINI_TEST_MARK": str(tmp_path), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, phase],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert parent.stdout.readline() == "ready\n"
    # Wait until the child that we want to interrupt is at work.
    wanted = {"running": "runner_child", "building": "cc1"}[phase]
    assert wait_for(lambda: any(wanted in command for command in marked(mark)))
    time.sleep(0.3)
    os.killpg(parent.pid, signal.SIGINT)
    try:
        _, errors = parent.communicate(timeout=30)
    finally:
        parent.kill()
    assert parent.returncode == 130, errors
    assert "Traceback" not in errors
    assert wait_for(lambda: not marked(mark)), marked(mark)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_kernel_whose_parent_was_killed_is_ended_by_its_alarm(tmp_path) -> None:
    mark = f"MINI_TEST_MARK={tmp_path}"
    environment = {**os.environ, "MINI_TEST_MARK": str(tmp_path), "TMPDIR": str(tmp_path)}
    text = INTERRUPTED.replace("run_timeout=60", "run_timeout=2")
    parent = subprocess.Popen([sys.executable, "-c", text, "running"], stdout=subprocess.DEVNULL, env=environment)
    try:
        assert wait_for(lambda: any("runner_child" in command for command in marked(mark)))
        time.sleep(0.5)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not marked(mark)), marked(mark)


def marked(mark: str) -> list[str]:
    """Command lines of the processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def wait_for(condition: Callable[[], bool]) -> bool:
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False
