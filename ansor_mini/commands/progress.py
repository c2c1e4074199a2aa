"""What a search shows while it runs: round, best so far, tried, failed and rejected by reason.

On a terminal a bar when rich is installed, else one rewritten line; elsewhere a line every few seconds.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any, Protocol

from ansor_mini.curve import time_text
from ansor_mini.records import Record
from ansor_mini.task_tuner import TaskTuner

TERMINAL_SECONDS, FILE_SECONDS = 0.1, 5.0
SHOWN_REASONS = 2


def status(tuner: TaskTuner, trials: int) -> str:
    """Where a search stands, in one line."""
    return ", ".join([f"{len(tuner.measured)}/{trials} trials", best(tuner), *losses(tuner)])


def losses(tuner: TaskTuner) -> list[str]:
    """What was measured in vain and what was not worth measuring, by reason."""
    counts = (("failed", tuner.failures), ("rejected", tuner.rejections))
    return [f"{title} {counted(reasons)}" for title, reasons in counts if reasons]


def counted(counts: Counter[str]) -> str:
    """A total with its commonest reasons.

    >>> counted(Counter({"crash": 3, "wrong_answer": 1, "run_timeout": 1}))
    '5 (3 crash, 1 wrong_answer, …)'
    """
    shown = [f"{count} {reason}" for reason, count in counts.most_common(SHOWN_REASONS)]
    return f"{sum(counts.values())} ({', '.join(shown)}{', …' if len(counts) > SHOWN_REASONS else ''})"


def best(tuner: TaskTuner) -> str:
    """The round and the fastest program so far."""
    rounds = -(-len(tuner.measured) // tuner.options.round_size)
    if tuner.best is None:
        return f"round {rounds}, none correct yet"
    gflops = tuner.task.dag.flops / tuner.best_seconds / 1e9
    return f"round {rounds}, best {time_text(tuner.best_seconds)} ({gflops:.1f} GFLOP/s)"


class Progress(Protocol):
    """An observer of the tuner that is closed in the end."""

    def __call__(self, tuner: TaskTuner, record: Record) -> None:
        """Show where the search stands."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


class Line:
    """One rewritten line on a terminal; elsewhere a line every few seconds."""

    def __init__(self, trials: int) -> None:
        self.trials, self.terminal = trials, sys.stderr.isatty()
        self.start = self.last = time.monotonic()
        self._width = 0

    def __call__(self, tuner: TaskTuner, record: Record) -> None:
        """Show where the search stands."""
        now = time.monotonic()
        if now - self.last < (TERMINAL_SECONDS if self.terminal else FILE_SECONDS):
            return
        self.last = now
        line = f"{now - self.start:6.1f} s  {status(tuner, self.trials)}"
        if self.terminal:
            # A line that wraps cannot be rewritten; what is left of a longer one is blanked out.
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r{line.ljust(self._width)}")
            self._width = len(line)
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the rewritten line."""
        if self._width:
            sys.stderr.write("\n")


class Bar:
    """A bar drawn by rich, with what was lost and why in a line below."""

    def __init__(self, trials: int, console: Any = None) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        columns = (TimeElapsedColumn(), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
        self.bars: Any = RichProgress(*columns)
        self.bar = self.bars.add_task("round 0", total=trials)
        self.below: Any = Text("", overflow="ellipsis", no_wrap=True)
        self.live: Any = Live(Group(self.bars, self.below), console=console or Console(stderr=True))
        self.live.start()

    def __call__(self, tuner: TaskTuner, record: Record) -> None:
        """Show where the search stands."""
        self.bars.update(self.bar, completed=len(tuner.measured), description=best(tuner))
        self.below.plain = ", ".join(losses(tuner))

    def close(self) -> None:
        """Leave the last state of the bar on the screen."""
        self.live.stop()


class Silent:
    """Shows nothing."""

    def __call__(self, tuner: TaskTuner, record: Record) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to end."""


class Shown:
    """The progress of one command: `with Shown(trials, quiet) as observer:`."""

    def __init__(self, trials: int, quiet: bool) -> None:
        rich = sys.stderr.isatty() and importlib.util.find_spec("rich") is not None
        self.progress: Progress = Silent() if quiet else Bar(trials) if rich else Line(trials)

    def __enter__(self) -> Progress:
        return self.progress

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.close()
