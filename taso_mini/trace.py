"""What a search did: the rules on the way to its best graph, and what happened to all the others.

A `Trace` prints as a table, and `to_json` gives the same for machines.

>>> trace = Trace((Step("relu-conv-is-conv", ("y",), 3e-6, 2e-6),), expanded=4, rejected={"a cycle": 2})
>>> print(trace)
  before us    after us  rule                at
       3.00        2.00  relu-conv-is-conv   y
1 rewrite, 3.00 -> 2.00 us; 4 graphs expanded; rejected: 2 a cycle
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One applied rule: its name, the values that it computes in another way, and the graph's seconds around it.

    removed, added: the operations that it took away and brought, as text.
    """

    rule: str
    at: tuple[str, ...]
    cost_before: float
    cost_after: float
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """Seconds saved."""
        return self.cost_before - self.cost_after


@dataclass(frozen=True)
class Trace:
    """The applied rules in order, and counts of the search.

    expanded: graphs whose rewrites were all looked at.  generated: rewrites that were judged.
    rejected: how many were not followed, by reason.
    """

    steps: tuple[Step, ...] = ()
    expanded: int = 0
    generated: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    @property
    def rules(self) -> dict[str, int]:
        """How often each rule was applied, most often first."""
        return dict(Counter(step.rule for step in self.steps).most_common())

    def __str__(self) -> str:
        """Return the table."""
        width = max((len(step.rule) for step in self.steps), default=0) + 2
        lines = [f"{'before us':>11} {'after us':>11}  {'rule':<{width}} at"] if self.steps else []
        lines += [
            f"{step.cost_before * 1e6:11.2f} {step.cost_after * 1e6:11.2f}  {step.rule:<{width}} {', '.join(step.at)}"
            for step in self.steps
        ]
        count = _count(len(self.steps), "rewrite")
        if self.steps:
            count += f", {self.steps[0].cost_before * 1e6:.2f} -> {self.steps[-1].cost_after * 1e6:.2f} us"
        reasons = sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        rejected = "; rejected: " + ", ".join(f"{n} {reason}" for reason, n in reasons) if reasons else ""
        return "\n".join([*lines, f"{count}; {_count(self.expanded, 'graph')} expanded{rejected}"])

    def details(self) -> str:
        """Return every step with the operations that it took away (-) and brought (+)."""
        lines = []
        for step in self.steps:
            costs = f"{step.cost_before * 1e6:.2f} -> {step.cost_after * 1e6:.2f} us"
            lines.append(f"{step.rule} at {', '.join(step.at)}: {costs}")
            lines += [f"  - {text}" for text in step.removed] + [f"  + {text}" for text in step.added]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the trace as plain lists and dictionaries."""
        steps = [
            {
                "rule": s.rule,
                "at": list(s.at),
                "cost_before": s.cost_before,
                "cost_after": s.cost_after,
                "removed": list(s.removed),
                "added": list(s.added),
            }
            for s in self.steps
        ]
        counts = {"expanded": self.expanded, "generated": self.generated, "rejected": dict(self.rejected)}
        return {"steps": steps, **counts}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
