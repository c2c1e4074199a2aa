"""What a derivation rule is: a condition and an application, with a name.

Paper: Ansor §4.1, Table 1

A condition says Skip, Apply or Apply-and-skip-the-rest for a state and a stage; an application gives new states with
the stage to look at next. The third answer is the published code's: it ends the list for this state, which is how its
rules exclude each other. In the paper's table every rule whose condition holds is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ansor_mini.schedule import Stage
from ansor_mini.sketch import Derivation
from runtime.gpu import Gpu
from runtime.machine import Machine


class Verdict(Enum):
    """What a condition says."""

    SKIP = "skip"
    APPLY = "apply"
    APPLY_AND_SKIP_REST = "apply and skip the rest"

    @property
    def applies(self) -> bool:
        """The rule is to be applied."""
        return self is not Verdict.SKIP

    @property
    def last(self) -> bool:
        """No later rule is to be tried."""
        return self is Verdict.APPLY_AND_SKIP_REST


SKIP, APPLY, APPLY_AND_SKIP_REST = Verdict.SKIP, Verdict.APPLY, Verdict.APPLY_AND_SKIP_REST


@dataclass(frozen=True)
class Context:
    """What the rules may depend on besides the state: the machine (or GPU) and the structure of tiled loops."""

    machine: Machine | Gpu
    structure: str = "SSRSRS"

    @property
    def cpu(self) -> Machine:
        """The machine of a rule for CPUs.  Raises: TypeError: it is a GPU."""
        if isinstance(self.machine, Gpu):
            raise TypeError(f"a rule for CPUs needs a Machine, got the GPU {self.machine.name}")
        return self.machine

    @property
    def spatial_levels(self) -> int:
        """Parts that a spatial axis is split into."""
        return self.structure.count("S")


Next = Sequence[tuple[Derivation, int]]
Condition = Callable[[Context, Derivation, int], Verdict]


@dataclass(frozen=True)
class Rule:
    """One derivation rule; both functions get the context, the derivation so far and the index of the stage."""

    name: str
    condition: Condition
    apply: Callable[[Context, Derivation, int], Next]


def stage_at(derivation: Derivation, index: int) -> Stage:
    """The stage that a rule is asked about."""
    return derivation.state.stages[index]


def index_of(derivation: Derivation, name: str) -> int:
    """Where a stage stands; steps that add stages move those behind."""
    return next(index for index, stage in enumerate(derivation.state.stages) if stage.name == name)


def when(holds: Callable[[Context, Derivation, int], bool], verdict: Verdict = APPLY) -> Condition:
    """The condition that gives `verdict` where `holds` is true and skips the rule elsewhere."""
    return lambda context, derivation, index: verdict if holds(context, derivation, index) else SKIP
