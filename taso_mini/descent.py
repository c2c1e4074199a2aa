"""Straight down first: apply what gains at once, and pairs of rewrites of which the second pays for the first.

A network has a gain at every layer, and the gains do not touch each other; the search of Algorithm 2 need not find that
out one combination after another. So it starts from the foot of the slope as well as from the top. Where nothing gains
at once, a rewrite that gains nothing, or costs a little, is followed by what it makes possible next to it: a bias moves
past a scale, and two scales become one. Pairs are looked for in one place at a time, which is cheap.

In which order gains are taken matters: two convolutions that have taken in their relus merge to one that has, while
those that merge before leave relus behind. An `Order` is a policy; the search tries each of `ORDERS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from taso_mini.matching import Matcher
from taso_mini.rewriting import Key, Rewrites, all_rewrites, inherit, near, rewrites_at
from taso_mini.search_graph import SearchGraph
from taso_mini.substitution import CYCLE, Rewrite

Order = Callable[[Rewrite], tuple[int, ...]]  # the least comes first


def by_gain(rewrite: Rewrite) -> tuple[int, ...]:
    """Take the largest gain first."""
    return (rewrite.change.cost,)


def merges_last(rewrite: Rewrite) -> tuple[int, ...]:
    """Take rules with one output first: those with several merge what should have its final form by then."""
    return (len(rewrite.match.rule.source), rewrite.change.cost)


ORDERS: tuple[Order, ...] = (by_gain, merges_last)


@dataclass(eq=False)
class Candidate:
    """A graph of the search, the one it was made from, and the rewrites of both that were looked for."""

    graph: SearchGraph
    parent: Candidate | None = None
    rewrite: Rewrite | None = None
    rewrites: Rewrites = field(default_factory=dict)

    def child(self, rewrite: Rewrite) -> Candidate | None:
        """Apply a rewrite and settle the cost; None when that closes a cycle."""
        graph = self.graph.apply(rewrite.change)
        if rewrite.may_cycle and graph.in_order() is None:
            return None
        return Candidate(graph.settle(rewrite.change), self, rewrite)

    def expand(self, matcher: Matcher, rejected: Counter[str]) -> Rewrites:
        """Find all rewrites; the parent must have been expanded before."""
        if self.parent is None or self.rewrite is None:
            self.rewrites = all_rewrites(self.graph, matcher, rejected)
        else:
            self.rewrites = inherit(self.parent.rewrites, self.rewrite.change, self.graph, matcher, rejected)
        return self.rewrites


def descend(start: Candidate, matcher: Matcher, order: Order, slack: int, rejected: Counter[str]) -> Candidate:
    """Follow gains until neither a rewrite nor a pair of neighbouring ones gains; return the last graph.

    start: expanded.  slack: what the first rewrite of a pair may cost, in ticks.
    """
    here = start
    refused: set[Rewrite] = set()
    while True:
        step = _gain(here, order, refused) or _pair(here, matcher, slack, refused, rejected)
        if step is None:
            return here
        step.expand(matcher, rejected)
        here = step


def _gain(here: Candidate, order: Order, refused: set[Rewrite]) -> Candidate | None:
    """Return the graph after the first rewrite that gains, as far as costs are known before it is built."""
    gains = [(order(r), key) for key, r in here.rewrites.items() if r.change.cost < 0 and r not in refused]
    for _, key in sorted(gains):
        after = here.child(here.rewrites[key])
        if after is not None and after.graph.cost < here.graph.cost:
            return after
        refused.add(here.rewrites[key])
    return None


def _pair(
    here: Candidate, matcher: Matcher, slack: int, refused: set[Rewrite], rejected: Counter[str]
) -> Candidate | None:
    """Return the graph after the first rewrite found that another one beside it makes worth while, and that one."""
    steps: list[tuple[int, Key]] = [(rewrite.change.cost, key) for key, rewrite in here.rewrites.items()]
    for cost, key in sorted(steps):
        rewrite = here.rewrites[key]
        if cost > slack or rewrite in refused:
            continue
        refused.add(rewrite)  # until something near it changes and makes it another rewrite
        graph = here.graph.apply(rewrite.change)
        beside = rewrites_at(graph, matcher, sorted(near(graph, rewrite.change, matcher)), {})
        gain, second = min(((r.change.cost, k) for k, r in beside.items()), default=(0, None))
        if second is None or cost + gain >= 0:
            continue
        middle = here.child(rewrite)
        after = middle.child(beside[second]) if middle is not None else None
        if middle is None or after is None:
            rejected[CYCLE] += 1
        elif after.graph.cost < here.graph.cost:
            middle.expand(matcher, rejected)
            return after
    return None
