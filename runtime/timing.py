"""Times several programs against each other in one process: interleaved rounds, medians.

Absolute times on a shared machine mean little; ratios of medians taken in turns mean something. Each round runs every
program for a while, one after the other, so that a slow minute slows all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

# Thread pools spin for a moment after their last work; until they sleep they would slow the next program down.
SETTLE_SECONDS = 0.02
SLOW_SECONDS = 0.5  # a program that takes longer than this per call is run in the first rounds only
SLOW_ROUNDS = 3


def interleaved(
    programs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 25,
    min_seconds: float = 0.05,
    settle: float = SETTLE_SECONDS,
) -> dict[str, float]:
    """Seconds per call of each program: the median over rounds.

    rounds: how often every program has its turn. min_seconds: length of a turn; at least one call. settle: seconds to
    wait before each turn; programs without threads of their own need none.

    >>> seconds = interleaved({"a": lambda: sum(range(1000)), "b": lambda: None}, rounds=3, min_seconds=1e-4)
    >>> seconds["a"] > seconds["b"] > 0
    True
    """
    calls: dict[str, int] = {}
    for name, program in programs.items():
        program()
        once = _turn(program, 1)
        calls[name] = max(1, int(min_seconds / max(once, 1e-7)))
    turns: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    for number in range(rounds):
        # Every program comes first in some rounds, so that none always follows the same other.
        start = number % len(names)
        for name in names[start:] + names[:start]:
            program = programs[name]
            if number >= SLOW_ROUNDS and statistics.median(turns[name]) > SLOW_SECONDS:
                continue
            time.sleep(settle)
            program()
            turns[name].append(_turn(program, calls[name]))
    return {name: statistics.median(measured) for name, measured in turns.items()}


def _turn(program: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls
