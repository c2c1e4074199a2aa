"""The search for a cheaper equal graph: cost-based backtracking.

Paper: TASO §5, Algorithm 2. A queue holds graphs, the cheapest in front. The front graph is taken, every rule is tried
everywhere in it, and each result that costs less than alpha times the best so far joins the queue. With alpha = 1 the
search only ever goes down; 1.05 lets it climb over low hills. It ends when the queue is empty or the budget is spent.

Three things differ from the paper's listing and change no result:
1. A rewrite's cost is known before its graph is built, so a graph is built when it is taken from the queue; only then
   does a cycle show. Graphs are recognised by a fingerprint that is known just as early.
2. A graph inherits the rewrites of its parent that touch nothing the last rewrite changed.
3. Candidates are judged by estimated costs. The cost of a graph taken from the queue is settled exactly, by measuring
   if the cost source measures; if that makes it dearer than was thought, it goes back to its new place in the queue.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime.debug import say, shows
from runtime.graph import Graph
from taso_mini.costs import CostSource, FlopCost
from taso_mini.matching import Matcher
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import CYCLE, Rewrite, attempt
from taso_mini.terms import Substitution
from taso_mini.tidy import tidy
from taso_mini.trace import Step, Trace

TOO_DEAR, MET = "too dear", "met before"
Rewrites = dict[tuple[str, tuple[str, ...]], Rewrite]  # by rule and outputs


@dataclass(frozen=True)
class Optimized:
    """The best graph found, its cost and that of the input in seconds, and how it was found."""

    graph: Graph
    cost_before: float
    cost_after: float
    trace: Trace


@dataclass(eq=False)
class _Candidate:
    """A graph in the queue: its parent and the rewrite that leads to it, and once it is built, itself."""

    parent: _Candidate | None
    rewrite: Rewrite | None
    graph: SearchGraph | None
    rewrites: Rewrites = field(default_factory=dict)

    def build(self) -> SearchGraph | None:
        """Return the graph, built at the first call; None when it has a cycle."""
        if self.graph is None and self.parent and self.parent.graph and self.rewrite:
            graph = self.parent.graph.apply(self.rewrite.change)
            self.graph = graph if graph.in_order() is not None else None
        return self.graph


def optimize(
    graph: Graph,
    rules: Sequence[Substitution],
    costs: CostSource | None = None,
    *,
    alpha: float = 1.05,
    budget: int = 300,
) -> Optimized:
    """Find a cheaper graph that computes the same outputs.

    Paper: TASO §5, Algorithm 2.
    rules: each is used in the direction it is written in; `matching.directed` adds the reverses.
    costs: what a node costs; by default `FlopCost()`.
    alpha: graphs dearer than alpha times the best so far are not followed; at least 1.
    budget: number of graphs to expand at most.
    Raises: ValueError: alpha is below 1 or the budget negative.
    """
    if alpha < 1 or budget < 0:
        raise ValueError(f"expected alpha of at least 1 and a budget of at least 0, got {alpha} and {budget}")
    matcher = Matcher(rules)
    start = SearchGraph.of(graph, costs or FlopCost())
    start.settle()
    best = _Candidate(None, None, start)
    best_cost = start.cost
    rejected: Counter[str] = Counter()
    seen = {start.fingerprint}
    queue = [(start.cost, 0, best)]
    expanded = generated = 0
    while queue:
        judged, order, candidate = heapq.heappop(queue)
        here = candidate.build()
        if here is None:
            rejected[CYCLE] += 1
            continue
        if here.settle() and queue and here.cost > max(judged, queue[0][0]):
            heapq.heappush(queue, (here.cost, order, candidate))
            continue
        if here.cost < best_cost:
            best, best_cost = candidate, here.cost
            say(2, f"{best_cost * 1e6:.2f} us after {expanded} graphs: {_describe(candidate)}")
        if expanded == budget:
            break
        if here.cost >= alpha * best_cost and candidate is not best:
            rejected[TOO_DEAR] += 1
            continue
        expanded += 1
        candidate.rewrites = _rewrites(candidate, here, matcher, rejected)
        for rewrite in candidate.rewrites.values():
            generated += 1
            cost = here.cost + rewrite.change.cost
            fingerprint = (here.fingerprint + rewrite.change.fingerprint) % 2**64
            if cost >= alpha * best_cost:
                rejected[TOO_DEAR] += 1
            elif fingerprint in seen:
                rejected[MET] += 1
            else:
                seen.add(fingerprint)
                heapq.heappush(queue, (cost, -generated, _Candidate(candidate, rewrite, None)))
    trace = Trace(_steps(best), expanded, generated, dict(rejected))
    say(1, lambda: str(Trace((), expanded, generated, trace.rejected)))
    assert best.graph is not None
    return Optimized(tidy(best.graph.to_graph()), start.cost, best_cost, trace)


def all_rewrites(graph: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None) -> Rewrites:
    """Return every rewrite of a graph."""
    return _at(graph, matcher, graph.producers, {}, rejected)


def inherit(
    before: Rewrites, change: Change, after: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None
) -> Rewrites:
    """Return every rewrite of the graph after a change, keeping those of the graph before that it does not touch.

    What it may touch: rewrites that have read a changed value, and matches that reach one from an output above it.
    """
    changed = set(change.uses)
    changed.update(value for operation in (*change.added, *change.removed) for value in operation.outputs)
    kept, places = {}, {}
    for key, rewrite in before.items():
        if rewrite.reads.isdisjoint(changed):
            kept[key] = rewrite
        else:
            places.update(dict.fromkeys(rewrite.match.roots))
    level = {value: None for value in sorted(changed)}
    for _ in range(matcher.depth):
        places.update(level)
        level = {v: None for value in level for user in after.users.get(value, ()) for v in user.outputs}
    return _at(after, matcher, places, kept, rejected)


def _at(
    graph: SearchGraph, matcher: Matcher, places: Iterable[str], found: Rewrites, rejected: Counter[str] | None
) -> Rewrites:
    """Add to `found` the rewrites that have one of `places` among their outputs."""
    refused: set[tuple[str, tuple[str, ...]]] = set()
    for value in places:
        for match in matcher.matches_at(graph, value):
            key = (match.rule.name, match.roots)
            if key not in found and key not in refused:
                result = attempt(graph, match)
                if isinstance(result, Rewrite):
                    found[key] = result
                else:
                    refused.add(key)
                    if rejected is not None:
                        rejected[result.reason] += 1
                    if shows(4):
                        say(4, f"{match.rule.name} at {', '.join(match.roots)}: {result.reason}")
    return found


def _rewrites(candidate: _Candidate, here: SearchGraph, matcher: Matcher, rejected: Counter[str]) -> Rewrites:
    if candidate.parent is None or candidate.rewrite is None:
        return all_rewrites(here, matcher, rejected)
    return inherit(candidate.parent.rewrites, candidate.rewrite.change, here, matcher, rejected)


def _describe(candidate: _Candidate) -> str:
    match = candidate.rewrite.match if candidate.rewrite else None
    return f"{match.rule.name} at {', '.join(match.roots)}" if match else "as given"


def _steps(candidate: _Candidate) -> tuple[Step, ...]:
    """Return the rewrites on the way to a candidate, first to last."""
    steps = []
    while candidate.parent and candidate.rewrite and candidate.graph and candidate.parent.graph:
        match = candidate.rewrite.match
        steps.append(Step(match.rule.name, match.roots, candidate.parent.graph.cost, candidate.graph.cost))
        candidate = candidate.parent
    return tuple(reversed(steps))
