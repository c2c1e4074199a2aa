"""Straight down first: apply what gains at once, and pairs of rewrites of which the second pays for the first.

A network has a gain at every layer, and the gains do not touch each other; the search of Algorithm 2 need not find that
out one combination after another. So it starts from the foot of the slope as well as from the top. Where nothing gains
at once, a rewrite that gains nothing, or costs a little, is followed by what it makes possible next to it: a bias moves
past a scale, and two scales become one. Pairs are looked for in one place at a time, which is cheap.

In which order gains are taken matters: two convolutions that have taken in their relus merge to one that has, while
those that merge before leave relus behind. An `Order` is a policy; the search tries each of `ORDERS`.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

from taso_mini.matching import Matcher
from taso_mini.rewriting import Attempts, all_attempts, attempts_near, fallen, inherit, key_of
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import CYCLE, Rejection, Rewrite

Order = Callable[[Rewrite], tuple[int, ...]]  # the least comes first


def by_gain(rewrite: Rewrite) -> tuple[int, ...]:
    """Take the largest gain first."""
    return (rewrite.change.cost,)


def merges_last(rewrite: Rewrite) -> tuple[int, ...]:
    """Take rules with one output first: those with several merge what should have its final form by then."""
    return (len(rewrite.match.rule.source), rewrite.change.cost)


def pairs_first(rewrite: Rewrite) -> tuple[int, ...]:
    """Take the largest gain first, but pairs of rewrites before single ones: they go where single steps do not."""
    return by_gain(rewrite)


ORDERS: tuple[Order, ...] = (by_gain, merges_last, pairs_first)


@dataclass(eq=False)
class Candidate:
    """A graph of the search, the one it was made from, and what came of every match in it once it is expanded.

    rewrites: those that fire, the cheapest result first.  epoch: the `Values.epoch` of the prices they are sorted by.
    """

    graph: SearchGraph
    parent: Candidate | None = None
    rewrite: Rewrite | None = None
    attempts: Attempts | None = None
    rewrites: tuple[Rewrite, ...] = ()
    epoch: int = -1

    def __str__(self) -> str:
        """Return the last rewrite's rule and place."""
        match = self.rewrite.match if self.rewrite else None
        return f"{match.rule.name} at {', '.join(match.roots)}" if match else "as given"

    def child(self, rewrite: Rewrite, *, settle: bool = True) -> Candidate | None:
        """Apply a rewrite and, unless an estimate will do, settle the cost; None when that closes a cycle."""
        graph = self.graph.apply(rewrite.change)
        if graph.has_cycle():
            return None
        return Candidate(graph.settle(rewrite.change) if settle else graph, self, rewrite)

    def settled(self) -> Candidate:
        """Return the same with the exact cost of every operation."""
        graph = self.graph.settle(Change(self.graph.operations, ()))
        return self if graph is self.graph else replace(self, graph=graph)

    def expand(self, matcher: Matcher, rejected: Counter[str]) -> tuple[Rewrite, ...]:
        """Find all rewrites, once."""
        if self.attempts is not None:
            return self.rewrites
        parent, values = self.parent, self.graph.values
        if parent is None or parent.attempts is None or self.rewrite is None:
            self.attempts = all_attempts(self.graph, matcher, rejected)
            self._sort(self.attempts.values())
            return self.rewrites
        change, before = self.rewrite.change, parent.attempts
        lost = fallen(before, change)
        self.attempts = inherit(before, change, self.graph, matcher, rejected, lost=lost)
        if parent.epoch != values.epoch:  # what stands has other prices, and perhaps another order
            self._sort(self.attempts.values())
            return self.rewrites
        gone = {before[key] for key in lost}
        standing = [rewrite for rewrite in parent.rewrites if rewrite not in gone]
        self._sort(islice(self.attempts.values(), len(before) - len(lost), None), standing)
        return self.rewrites

    def _sort(self, found: Iterable[Rewrite | Rejection], standing: Iterable[Rewrite] = ()) -> None:
        """Put the rewrites among what was found where they belong among those that are in order."""
        epoch, order = self.graph.values.epoch, list(standing)
        for new in found:
            if type(new) is Rewrite:
                insort(order, new, key=lambda rewrite: rewrite.change.price(epoch))
        self.rewrites, self.epoch = tuple(order), epoch


def descend(start: Candidate, matcher: Matcher, order: Order, slack: int, rejected: Counter[str]) -> Candidate:
    """Follow gains until neither a rewrite nor a pair of neighbouring ones gains; return the last graph.

    start: expanded.  slack: what the first rewrite of a pair may cost, in ticks.
    """
    here = start
    refused: set[Rewrite] = set()
    while True:
        if order is pairs_first:
            step = _pair(here, matcher, slack, refused, rejected, uphill=True) or _gain(here, order, set())
        else:
            step = _gain(here, order, refused) or _pair(here, matcher, slack, refused, rejected)
        if step is None:
            return here
        step.expand(matcher, rejected)
        here = step


def _gain(here: Candidate, order: Order, refused: set[Rewrite]) -> Candidate | None:
    """Return the graph after the first rewrite that gains, as far as costs are known before it is built."""
    gains = [(order(r), key_of(r), r) for r in here.rewrites if r.change.cost < 0 and r not in refused]
    for _, _, rewrite in sorted(gains, key=lambda gain: gain[:2]):
        after = here.child(rewrite)
        if after is not None and after.graph.cost < here.graph.cost:
            return after
        refused.add(rewrite)
    return None


def _pair(
    here: Candidate,
    matcher: Matcher,
    slack: int,
    refused: set[Rewrite],
    rejected: Counter[str],
    *,
    uphill: bool = False,
) -> Candidate | None:
    """Return the graph after the first rewrite found that another one beside it makes worth while, and that one.

    uphill: only pairs that no descent takes, as the first of the two costs something.
    """
    steps = [(rewrite.change.cost, key_of(rewrite), rewrite) for rewrite in here.rewrites]
    for cost, _, rewrite in sorted(steps, key=lambda step: step[:2]):
        if cost > slack or rewrite in refused or (uphill and cost <= 0):
            continue
        refused.add(rewrite)  # until something near it changes and makes it another rewrite
        graph = here.graph.apply(rewrite.change)
        beside = attempts_near(graph, matcher, rewrite.change)
        gains = [(r.change.cost, key, r) for key, r in beside.items() if isinstance(r, Rewrite)]
        gain, _, second = min(gains, key=lambda found: found[:2], default=(0, None, None))
        if second is None or cost + gain >= 0:
            continue
        middle = here.child(rewrite)
        after = middle.child(second) if middle is not None else None
        if middle is None or after is None:
            rejected[CYCLE] += 1
        elif after.graph.cost < here.graph.cost:
            middle.expand(matcher, rejected)
            return after
    return None
