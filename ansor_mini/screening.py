"""Lower more programs than will be measured, and measure those that an estimate of the target likes best.

Beyond the paper: a GPU takes a compiler's seconds for each program, an arithmetic model of it milliseconds, and the
learned model knows nothing at first. The share of programs that evolution explores is kept as it was proposed.
Reading: Pruner, ASPLOS 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Program = TypeVar("Program")
Nest = TypeVar("Nest")


def screened(
    found: dict[Program, Nest], count: int, estimate: Callable[[Nest], float], epsilon: float
) -> dict[Program, Nest]:
    """The `count` programs of `found` that take the least estimated seconds, a share `epsilon` in their own order.

    >>> screened({"a": 3.0, "b": 1.0, "c": 2.0, "d": 4.0}, 2, lambda nest: nest, epsilon=0.0)
    {'b': 1.0, 'c': 2.0}
    >>> screened({"a": 3.0, "b": 1.0, "c": 2.0, "d": 4.0}, 2, lambda nest: nest, epsilon=0.5)
    {'b': 1.0, 'a': 3.0}
    """
    if len(found) <= count:
        return found
    seconds = {program: estimate(nest) for program, nest in found.items()}
    best = sorted(found, key=seconds.__getitem__)[: count - round(epsilon * count)]
    kept = [*best, *(program for program in found if program not in best)][:count]
    return {program: found[program] for program in kept}
