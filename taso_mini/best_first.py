"""The queue of the backtracking search: graphs to be expanded, the cheapest first.

Paper: TASO §5, Algorithm 2. The paper's queue holds every graph that a rewrite of an expanded one leads to. This one
holds, for every expanded graph, only the cheapest of those that are left, which is enough to take them in the same
order: costs are known before a graph is built, and it is built when it is taken. Of equal costs the smaller fingerprint
comes first, so the order does not depend on the way a graph was reached.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from runtime.debug import say
from taso_mini.descent import Candidate
from taso_mini.substitution import CYCLE, Rewrite
from taso_mini.values import TICK

TOO_DEAR, MET = "too dear", "met before"
Child = tuple[int, int, Rewrite]  # cost and fingerprint of the graph that a rewrite leads to
Entry = tuple[int, int, int, Candidate, Rewrite | None, Iterator[Child]]


class Queue:
    """Graphs to be expanded; every graph is taken once.

    best: the cheapest graph so far.  judged: how many rewrites have been looked at.
    """

    best: Candidate

    def __init__(self, alpha: float, rejected: Counter[str], rest: int = 0) -> None:
        """Start an empty queue.

        alpha: a graph is taken if it costs less than this times the best.  rest: ticks that the search leaves as they
        are and that count on both sides, where what it sees is part of a larger graph.
        """
        self.judged = 0
        self._alpha, self._rest, self._rejected = alpha, rest, rejected
        self._heap: list[Entry] = []
        self._seen: set[int] = set()
        self._pushed = 0

    def put(self, candidate: Candidate) -> None:
        """Enter a graph that is built, unless it has been entered before."""
        graph = candidate.graph
        if not self._seen:
            self.best = candidate
        if graph.fingerprint not in self._seen:
            self._seen.add(graph.fingerprint)
            self._push(graph.cost, graph.fingerprint, candidate)
            self._compare(candidate)

    def add_children(self, candidate: Candidate) -> None:
        """Enter the graphs that the rewrites of an expanded one lead to."""
        self._advance(candidate, _children(candidate))

    def take(self) -> Candidate | None:
        """Remove and build the cheapest graph; None when no graph is left that is cheap enough."""
        while self._heap:
            cost, fingerprint, _, candidate, rewrite, others = heapq.heappop(self._heap)
            if rewrite is not None:
                self._advance(candidate, others)
                if fingerprint in self._seen:
                    self._rejected[MET] += 1
                    continue
                self._seen.add(fingerprint)
                child = candidate.child(rewrite)
                if child is None:
                    self._rejected[CYCLE] += 1
                    continue
                candidate = child
                self._compare(candidate)
                if candidate.graph.cost > cost:  # dearer than was thought: back to its new place
                    self._push(candidate.graph.cost, fingerprint, candidate)
                    continue
            if self._affordable(candidate.graph.cost) or candidate is self.best:
                return candidate
            self._rejected[TOO_DEAR] += 1
        return None

    def _compare(self, candidate: Candidate) -> None:
        if candidate.graph.cost < self.best.graph.cost:
            self.best = candidate
            say(2, lambda: f"{candidate.graph.cost * TICK * 1e6:.2f} us after {self.judged} rewrites: {candidate}")

    def _affordable(self, cost: int) -> bool:
        return cost + self._rest < self._alpha * (self.best.graph.cost + self._rest)

    def _push(
        self,
        cost: int,
        fingerprint: int,
        candidate: Candidate,
        rewrite: Rewrite | None = None,
        others: Iterator[Child] = iter(()),  # noqa: B008 - nothing is ever taken from it
    ) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (cost, fingerprint, self._pushed, candidate, rewrite, others))

    def _advance(self, parent: Candidate, others: Iterator[Child]) -> None:
        """Enter the next of a graph's children that is new; none when that is too dear, as then all others are."""
        for cost, fingerprint, rewrite in others:
            self.judged += 1
            if not self._affordable(cost):
                self._rejected[TOO_DEAR] += 1
                return
            if fingerprint not in self._seen:
                self._push(cost, fingerprint, parent, rewrite, others)
                return
            self._rejected[MET] += 1


def _children(parent: Candidate) -> Iterator[Child]:
    """Yield what the rewrites of an expanded graph lead to, by cost and fingerprint."""
    here, epoch = parent.graph, parent.graph.values.epoch
    for price, group in groupby(parent.rewrites, key=lambda rewrite: rewrite.change.price(epoch)):
        named = [((here.fingerprint + rewrite.change.fingerprint) % 2**64, rewrite) for rewrite in group]
        for fingerprint, rewrite in sorted(named, key=lambda pair: pair[0]):
            yield here.cost + price, fingerprint, rewrite
