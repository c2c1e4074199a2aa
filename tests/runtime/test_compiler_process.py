"""Compilers are stopped with all their children, and say why they failed."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from runtime.compile_c import CompileError, Compiler, build_library
from runtime.compiler_process import CompilerStopped, CompileTimeout, run_compiler, stop_compilers


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def gone(pid: int) -> bool:
    """The process ends within a few seconds (init may take a moment to collect it)."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_command_that_works_says_nothing() -> None:
    assert run_compiler(shell("echo a warning; exit 0")) == "a warning\n"


def test_a_failing_command_is_an_error_with_its_words() -> None:
    with pytest.raises(CompileError, match="line 3: missing semicolon"):
        run_compiler(shell("echo line 3: missing semicolon >&2; exit 1"))
    with pytest.raises(CompileError, match="exit status 7"):
        run_compiler(shell("exit 7"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_children_of_a_slow_command_end_with_it(tmp_path) -> None:
    with pytest.raises(CompileTimeout, match="0.3 s"):
        run_compiler(shell(f"sleep 60 & echo $! > {tmp_path}/pid; wait"), timeout=0.3)
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_commands_under_way_can_be_stopped_from_another_thread(tmp_path) -> None:
    caught = []

    def wait() -> None:
        try:
            run_compiler(shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo > {tmp_path}/started; wait"))
        except CompilerStopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    stop_compilers()
    thread.join(timeout=20)
    assert len(caught) == 1 and gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_library_that_takes_too_long_leaves_no_compiler(tmp_path, monkeypatch) -> None:
    """gcc is a driver: what eats the time is its child."""
    monkeypatch.setenv("MINI_CACHE", str(tmp_path / "cache"))
    driver = tmp_path / "cc"
    driver.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/pid; wait\n")
    driver.chmod(0o755)
    slow = Compiler((str(driver),), "slow", (), openmp=False, vector_bytes=16, target="")
    with pytest.raises(CompileTimeout, match="0.3 s"):
        build_library("int x;", compiler=slow, timeout=0.3)
    assert gone(int((tmp_path / "pid").read_text()))
    assert list((tmp_path / "cache").iterdir()) == []
