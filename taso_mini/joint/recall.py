"""What earlier tuning has left: the records of a graph's kernels, for prices and for the model that foretells others.

A record names its task and holds a program's steps, not the computation. So records speak to those who have the
computation in hand: here, the kernels of some graphs.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.measured_programs import measured_programs
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from taso_mini.joint.alternatives import Alternative
from taso_mini.joint.prices import Kernel, KernelPrices


def recall(prices: KernelPrices, alternatives: Iterable[Alternative]) -> int:
    """Let prices know of all records of these graphs' kernels; returns how many kernels have some.

    Operators that begin a kernel are priced by its records from now on, and the model learns from all of them.
    """
    tasks: dict[Kernel, dict[Program, float]] = {}
    for kernel in kernels_of(prices, alternatives):
        programs = recorded_programs(prices, kernel)
        if programs:
            tasks[kernel] = programs
    prices.learn(tasks)
    return len(tasks)


def kernels_of(prices: KernelPrices, alternatives: Iterable[Alternative]) -> list[Kernel]:
    """The distinct kernels of some graphs."""
    found: dict[str, Kernel] = {}
    for alternative in alternatives:
        for part in alternative.parts:
            kernel = prices.kernel(part, alternative.constants(part)) if part.kind == "compute" else None
            if kernel is not None:
                found.setdefault(kernel.task, kernel)
    return list(found.values())


def recorded_programs(prices: KernelPrices, kernel: Kernel) -> dict[Program, float]:
    """The recorded programs of a kernel with their seconds; none that this version cannot rebuild."""
    records = prices.store.of(kernel.task)
    if not records:
        return {}
    sketches = derive(kernel.dag, extended_rules(kernel.constants), prices.store.machine, structure="SSRSRS")
    try:
        return measured_programs(records, kernel.dag, sketches)
    except (ScheduleError, ValueError):
        return {}
