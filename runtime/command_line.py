"""What all commands share: help that starts with an example, mistakes told in one sentence, an honest exit status.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 nothing found, 2 bad usage or bad input,
130 interrupted, by Ctrl-C or by SIGTERM: both end compilers and workers and keep what was finished.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from runtime import debug

DONE, NOTHING_FOUND, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Command:
    """One subcommand: its help, what declares its arguments, and what runs it and gives the exit status.

    description: what its own help says; by default `help`, its line in the list of commands.
    """

    name: str
    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    description: str = ""


class Parser(argparse.ArgumentParser):
    """An argument parser whose help starts with an example; its subcommands' parsers take `example` too.

    >>> parser = Parser(prog="python -m runtime", example="python -m runtime doctor", add_help=False)
    >>> print(parser.format_help().rstrip())
    example: python -m runtime doctor
    <BLANKLINE>
    usage: python -m runtime
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help(self) -> str:
        """The example, then what argparse says."""
        return f"example: {self.example}\n\n{super().format_help()}"

    def add_commands(self, commands: Iterable[Command]) -> None:
        """Make each a subcommand; the options that are parsed have its `run`."""
        added = self.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for command in commands:
            description = command.description or command.help
            parser = added.add_parser(command.name, help=command.help, description=description, example=command.example)
            command.add_arguments(parser)
            parser.set_defaults(run=command.run)


def exit_status(command: Callable[[], int], mistakes: tuple[type[Exception], ...] = (ValueError, OSError)) -> int:
    """Run a command and return its exit status; a mistake of the caller's is one sentence on stderr and status 2.

    mistakes: the exceptions that are the caller's. MINI_DEBUG=4 shows their tracebacks.

    >>> exit_status(lambda: DONE)
    0
    """
    try:
        with _sigterm_as_ctrl_c():
            status = command()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has seen enough; nobody is left to whom the rest could be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except mistakes as mistake:
        if debug.shows(4):
            traceback.print_exc()
        sentence = " ".join(_text(mistake).split()) or type(mistake).__name__
        sys.stderr.write(f"error: {sentence}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept\n")
        return INTERRUPTED


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """By default SIGTERM ends Python at once, and compilers it has started go on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # signals belong to the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _text(mistake: Exception) -> str:
    """What went wrong; a system error without its number, the file first."""
    if isinstance(mistake, OSError) and mistake.filename is not None and mistake.strerror:
        return f"{mistake.filename}: {mistake.strerror}"
    return str(mistake)
