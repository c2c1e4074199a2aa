"""Which program each kernel of a network uses, as chosen where the network runs (see `in_place`).

It is kept among the records of single programs, so that the network can be built again without measuring.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph
from ansor_mini.record import OK, Record


@dataclass(frozen=True)
class NetworkChoice:
    """The programs of one network for one number of threads.

    network: its name, for people. kernels: `kernels_key` of its subgraphs. programs: by `kernel_key`, each a record
    without times. seconds: of one inference of the networks that it was chosen among. fastest: which of those it is.
    """

    network: str
    kernels: str
    threads: int
    machine: str
    programs: Mapping[str, Record]
    seconds: Mapping[str, float]
    fastest: str
    time: float = 0.0

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1e3 * seconds:.3f} ms" for name, seconds in self.seconds.items())
        return f"{self.fastest} ({times})" if times else self.fastest


def kernel_key(key: str) -> str:
    """A short name for a subgraph's key: a hash of its text."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def kernels_key(parts: Sequence[Subgraph]) -> str:
    """A name that networks share which run the same kernels equally often."""
    runs = Counter(part.key for part in parts if part.kind == "compute")
    return kernel_key("\n".join(f"{runs[key]} times\n{key}" for key in sorted(runs)))


def as_program(record: Record) -> Record:
    """A record of the same program that says nothing of its measurement."""
    return replace(record, kind=OK, seconds=(), reason="", facts={}, time=0.0)


def choice_for(
    choices: Iterable[NetworkChoice], parts: Sequence[Subgraph], threads: int, machine: str
) -> NetworkChoice | None:
    """The last choice for a partitioned graph and so many threads; one made on another machine if there is no other.

    One whose programs are of other computations, because the definition of an operator has changed since, is passed by.
    """
    key = kernels_key(parts)
    fitting = [choice for choice in choices if (choice.kernels, choice.threads) == (key, threads)]
    if fitting:
        tasks = {kernel_key(part.key): declare(part.fragment).key() for part in parts if part.kind == "compute"}
        fitting = [choice for choice in fitting if {k: p.task for k, p in choice.programs.items()} == tasks]
    return max(fitting, key=lambda choice: (choice.machine == machine, choice.time), default=None)
