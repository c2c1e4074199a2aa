"""One compilation: what is asked for, where it will run, who is told; and what operators cost there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansor_mini.records import versions
from runtime.compile_c import cache_directory
from runtime.machine import Machine, detect
from taso_mini.ansor_backend import MeasuredKernels
from taso_mini.compile_options import CompileOptions
from taso_mini.costs import MeasuredCost

Log = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What every stage of a compilation is told.

    threads: as many as the network will run on. log: gets a line per stage.
    """

    options: CompileOptions
    machine: Machine
    threads: int
    log: Log

    @classmethod
    def here(cls, options: CompileOptions, log: Log) -> Job:
        """A job for this machine: on all its cores, or as many threads as the options name."""
        machine = detect()
        return cls(options, machine, options.threads or machine.cores, log)


@contextmanager
def measured_costs(job: Job) -> Iterator[MeasuredCost]:
    """Prices of operators under default schedules, measured once on this machine and kept in the options' file."""
    prices = job.options.cost_file or cache_directory() / "layout-costs.jsonl"
    setting = f"{job.machine.line}; {job.threads} threads; mini-compilers {versions()['ansor_mini']}"
    with MeasuredKernels(job.machine, job.threads, channels_last=False) as measure:
        yield MeasuredCost(measure, prices, setting, fresh=job.options.fresh_prices)
