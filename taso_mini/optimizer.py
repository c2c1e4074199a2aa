"""The search for a cheaper equal graph: cost-based backtracking.

Paper: TASO §5, Algorithm 2. A queue holds graphs, the cheapest in front. The front graph is taken, every rule is tried
everywhere in it, and each result that costs less than alpha times the best so far joins the queue. With alpha = 1 the
search only ever goes down; 1.05 lets it climb over low hills. It ends when the queue is empty or the budget is spent.

Four things differ from the paper's listing; none changes what can be found:
1. The queue starts with the graphs that plain descents lead to (`descent`) beside the given one.
2. A rewrite's cost is known before its graph is built, so a graph is built when it is taken from the queue; only then
   does a cycle show. Graphs are recognised by a fingerprint that is known just as early.
3. A graph inherits the rewrites of its parent that touch nothing the last rewrite changed (`rewriting`).
4. Candidates are judged by estimates. The cost of a graph taken from the queue is settled exactly, by measuring if the
   cost source measures; if that makes it dearer than was thought, it goes back to its new place in the queue.

>>> from runtime.graph import GraphBuilder
>>> from taso_mini.rules_text import parse_rules
>>> rules = parse_rules('''
... rule concat-relu-relu-is-relu-concat
...   variables x: tensor, y: tensor
...   source    concat(relu(x), relu(y), axis=a)
...   target    relu(concat(x, y, axis=a))
... ''')
>>> build = GraphBuilder("two")
>>> parts = [build.add("relu", build.input(name, (1, 64))) for name in "xy"]
>>> found = optimize(build.finish(build.add("concat", *parts, axis=1, name="out")), rules)
>>> print(found.graph)
graph two:
    input x: float32[1, 64]
    input y: float32[1, 64]
    concat_1 = concat(x, y, axis=1)  # float32[1, 128]
    out = relu(concat_1)  # float32[1, 128]
    return out
>>> print(found.trace)
  before us    after us  rule                              at
       3.10        2.10  concat-relu-relu-is-relu-concat   out
1 rewrite, 3.10 -> 2.10 us; 1 graph expanded; rejected: 1 too dear
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.debug import say
from runtime.graph import Graph
from taso_mini.costs import CostSource, FlopCost
from taso_mini.descent import ORDERS, Candidate, Order, descend
from taso_mini.matching import Matcher
from taso_mini.search_graph import SearchGraph
from taso_mini.substitution import CYCLE, Rewrite
from taso_mini.terms import Substitution
from taso_mini.tidy import tidy
from taso_mini.trace import Step, Trace
from taso_mini.values import TICK

TOO_DEAR, MET = "too dear", "met before"


@dataclass(frozen=True)
class Optimized:
    """The best graph found, its cost and that of the input in seconds, and how it was found."""

    graph: Graph
    cost_before: float
    cost_after: float
    trace: Trace


def optimize(
    graph: Graph,
    rules: Sequence[Substitution],
    costs: CostSource | None = None,
    *,
    alpha: float = 1.05,
    budget: int = 200,
    descents: Sequence[Order] = ORDERS,
) -> Optimized:
    """Find a cheaper graph that computes the same outputs.

    Paper: TASO §5, Algorithm 2.
    rules: each is used in the direction it is written in; `matching.directed` adds the reverses.
    costs: what a node costs; by default `FlopCost()`.
    alpha: graphs dearer than alpha times the best so far are not followed; at least 1.
    budget: number of graphs to expand at most; those of the descent do not count.
    descents: orders in which to go straight down first; none is the paper's search.
    Raises: ValueError: alpha is below 1 or the budget negative.
    """
    if alpha < 1 or budget < 0:
        raise ValueError(f"expected alpha of at least 1 and a budget of at least 0, got {alpha} and {budget}")
    matcher, rejected = Matcher(rules), Counter[str]()
    start = Candidate(SearchGraph.of(graph, costs or FlopCost()))
    queue = _Queue(start)
    best = start
    for order in descents:
        start.rewrites = start.rewrites or start.expand(matcher, rejected)
        foot = descend(start, matcher, order, round((alpha - 1) * start.graph.cost), rejected)
        queue.put(foot)
        best = min(best, foot, key=lambda candidate: candidate.graph.cost)
    expanded = generated = 0
    while (here := queue.take(rejected)) is not None:
        if here.graph.cost < best.graph.cost:
            best = here
            say(2, f"{best.graph.cost * TICK * 1e6:.2f} us after {expanded} graphs: {_describe(best)}")
        if expanded == budget:
            break
        if here.graph.cost >= alpha * best.graph.cost and here is not best:
            rejected[TOO_DEAR] += 1
            continue
        expanded += 1
        for rewrite in (here.rewrites or here.expand(matcher, rejected)).values():
            generated += 1
            if here.graph.cost + rewrite.change.cost >= alpha * best.graph.cost:
                rejected[TOO_DEAR] += 1
            elif not queue.add(here, rewrite):
                rejected[MET] += 1
    trace = Trace(_steps(best), expanded, generated, dict(rejected))
    say(1, lambda: str(trace).splitlines()[-1])
    say(3, lambda: trace.details())
    return Optimized(tidy(best.graph.to_graph()), start.graph.cost * TICK, best.graph.cost * TICK, trace)


class _Queue:
    """Graphs to be expanded, the cheapest first and of equal ones the latest; every graph enters once.

    An entry is a graph, or a graph and the rewrite that leads from it to the one that is meant.
    """

    def __init__(self, start: Candidate) -> None:
        self._heap: list[tuple[int, int, Candidate, Rewrite | None]] = []
        self._seen: set[int] = set()
        self.put(start)

    def put(self, candidate: Candidate) -> None:
        """Enter a graph that is built, unless it has been entered before."""
        if candidate.graph.fingerprint in self._seen:
            return
        self._seen.add(candidate.graph.fingerprint)
        heapq.heappush(self._heap, (candidate.graph.cost, -len(self._seen), candidate, None))

    def add(self, parent: Candidate, rewrite: Rewrite) -> bool:
        """Enter the graph that a rewrite leads to; return False when it has been entered before."""
        fingerprint = (parent.graph.fingerprint + rewrite.change.fingerprint) % 2**64
        if fingerprint in self._seen:
            return False
        self._seen.add(fingerprint)
        cost = parent.graph.cost + rewrite.change.cost
        heapq.heappush(self._heap, (cost, -len(self._seen), parent, rewrite))
        return True

    def take(self, rejected: Counter[str]) -> Candidate | None:
        """Remove and build the cheapest graph; None when the queue is empty."""
        while self._heap:
            judged, order, candidate, rewrite = heapq.heappop(self._heap)
            if rewrite is None:
                return candidate
            child = candidate.child(rewrite)
            if child is None:
                rejected[CYCLE] += 1
            elif child.graph.cost > judged and self._heap and child.graph.cost > self._heap[0][0]:
                heapq.heappush(self._heap, (child.graph.cost, order, child, None))
            else:
                return child
        return None


def _describe(candidate: Candidate) -> str:
    match = candidate.rewrite.match if candidate.rewrite else None
    return f"{match.rule.name} at {', '.join(match.roots)}" if match else "as given"


def _steps(candidate: Candidate) -> tuple[Step, ...]:
    """Return the rewrites on the way to a candidate, first to last."""
    steps = []
    while candidate.parent and candidate.rewrite:
        match, change, before = candidate.rewrite.match, candidate.rewrite.change, candidate.parent.graph.cost
        steps.append(Step(match.rule.name, match.roots, before * TICK, candidate.graph.cost * TICK,
                          tuple(map(str, change.removed)), tuple(map(str, change.added))))  # fmt: skip
        candidate = candidate.parent
    return tuple(reversed(steps))
