"""Commands tell mistakes in one sentence and end with a status that scripts can trust."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import debug
from runtime.command_line import BAD_INPUT, DONE, INTERRUPTED, Parser, exit_status


def failing(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize("error", [ValueError("no such model:\n  lenet"), FileNotFoundError("no such model: lenet")])
def test_a_mistake_is_one_sentence_on_stderr(error, capsys):
    assert exit_status(failing(error)) == BAD_INPUT
    printed = capsys.readouterr()
    assert printed.err == "error: no such model: lenet\n" and printed.out == ""


def test_the_highest_debug_level_shows_where_a_mistake_was_found(capsys):
    with debug.at(4):
        assert exit_status(failing(ValueError("odd"))) == BAD_INPUT
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_not_taken_for_a_mistake():
    with pytest.raises(AssertionError):
        exit_status(failing(AssertionError("a bug")))


def test_ctrl_c_has_its_own_status(capsys):
    assert exit_status(failing(KeyboardInterrupt())) == INTERRUPTED
    assert capsys.readouterr().out == ""


def test_sigterm_is_taken_as_ctrl_c(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return DONE

    assert exit_status(terminated) == INTERRUPTED
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_finished_command_keeps_its_status():
    assert exit_status(lambda: DONE) == DONE


def test_help_of_a_subcommand_starts_with_its_own_example():
    parser = Parser(prog="python -m runtime", example="python -m runtime doctor")
    run = parser.add_subparsers().add_parser("run", example="python -m runtime run out/")
    assert run.format_help().startswith("example: python -m runtime run out/\n")
    assert parser.format_help().startswith("example: python -m runtime doctor\n")


def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    text = "from runtime.command_line import exit_status; exit(exit_status(lambda: print('line\\n' * 100000) or 0))"
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
    process.stderr.close()
