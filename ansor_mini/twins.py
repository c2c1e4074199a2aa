"""The twins of a program: a stage inlined that was computed before its readers, or the other way around.

Beyond the paper, whose mutation of locations a cost model then ranks. One that has met a few slow programs with a stage
inlined ranks all such programs last, and the twin of the fastest is never measured: a transposed convolution of 16 x 16
pixels took 582 us with its padding copied, 546 us with the same tiles and its padding skipped, and 128 trials did not
show it. The search measures twins of its best programs, two a round, whatever the model says:

    conv.w = (1, 1, 6), pad.location = 1 (root)      ->      conv.w = (1, 1, 6), pad.location = 0 (inline)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ansor_mini.annotation import INLINE, ROOT
from ansor_mini.evolution import redraw_loops
from ansor_mini.holes import LOCATION
from ansor_mini.sketch import Program


def twins(program: Program, rng: np.random.Generator, threads: int = 1) -> list[Program]:
    """The twins of a program, one for each stage that may be inlined: inlined, or where it was so, on its own.

    >>> from ansor_mini.annotation import sample
    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import parse_workload
    >>> from runtime.machine import detect
    >>> sketch, rng = derive(parse_workload("C2D:14,14,4,8,3,1,1"))[0], np.random.default_rng(0)
    >>> copied = sketch.program({**sample(sketch, rng, detect()).annotation, "pad.location": ROOT})
    >>> (skipped,) = twins(copied, rng)
    >>> {name: value for name, value in skipped.frozen if name.startswith("pad")}
    {'pad.location': 0, 'pad.parallel': 0, 'pad.vectorize': 0}
    >>> [twin.annotation["pad.location"] for twin in twins(skipped, rng)]
    [1]
    """
    found: list[Program] = []
    for hole in program.sketch.holes:
        place = program.annotation[hole.name]
        if hole.kind == LOCATION and INLINE in hole.choices:
            moved = {**program.annotation, hole.name: ROOT if place == INLINE else INLINE}
            found.append(redraw_loops(program.sketch.program(moved), {hole.node}, rng, threads))
    return found


def twins_of(programs: Iterable[Program], rng: np.random.Generator, threads: int = 1) -> Iterator[Program]:
    """The twins of several programs; made as they are asked for, since the first ones may do."""
    for program in programs:
        yield from twins(program, rng, threads)
