"""The search for a cheaper equal graph: cost-based backtracking.

Paper: TASO §5, Algorithm 2. A queue holds graphs, the cheapest in front. The front graph is taken, every rule is tried
everywhere in it, and each result that costs less than alpha times the best so far joins the queue. With alpha = 1 the
search only ever goes down; 1.05 lets it climb over low hills. It ends when the queue is empty or the budget is spent.
`plain_search` is that, word for word. What follows finds no less, and sooner:

0. What the graph computes twice is computed once.
1. The graph is cut into blocks that no rule reaches across; each one unlike the others is searched once (`blocks`).
2. The queue starts with the graphs that plain descents lead to (`descent`, `restarts`) beside the given one.
3. A rewrite's cost is known before its graph is built, so a graph is built when it is taken from the queue
   (`best_first`). Graphs are recognised by a fingerprint that is known just as early.
4. A graph inherits what came of the matches of its parent that the last rewrite did not touch (`rewriting`), and of
   the others what came of them in graphs that are the same around them (`recall`).
5. Candidates are judged by estimates. The cost of a graph taken from the queue is settled exactly, by measuring if the
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
    concat_0 = concat(x, y, axis=1)  # float32[1, 128]
    out = relu(concat_0)  # float32[1, 128]
    return out
>>> print(found.trace)
  before us    after us  rule                              at
       3.10        2.10  concat-relu-relu-is-relu-concat   out
1 rewrite, 3.10 -> 2.10 us; 1 graph expanded; rejected: 1 too dear
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.debug import say
from runtime.graph import Graph, Node
from runtime.graph_text import show_node
from taso_mini.best_first import Queue
from taso_mini.blocks import Cut, blocks, by_matches
from taso_mini.collector import paused
from taso_mini.costs import CostSource, FlopCost
from taso_mini.descent import ORDERS, Candidate, Order, descend
from taso_mini.matching import Matcher
from taso_mini.restarts import restarts as random_descents
from taso_mini.search_graph import SearchGraph
from taso_mini.splicing import Names, Renamed, Renaming, splice
from taso_mini.terms import Substitution
from taso_mini.tidy import share, tidy
from taso_mini.trace import Step, Trace
from taso_mini.values import TICK

SHARED = "equal-operations-once"  # not a rule, but a step like one


@dataclass(frozen=True)
class Optimized:
    """The best graph found, its cost and that of the input in seconds, and how it was found."""

    graph: Graph
    cost_before: float
    cost_after: float
    trace: Trace


@dataclass(frozen=True)
class Effort:
    """How hard to search; see `optimize`."""

    alpha: float = 1.05
    budget: int = 50
    descents: Sequence[Order] = ORDERS
    restarts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.alpha < 1 or self.budget < 0 or self.restarts < 0:
            raise ValueError(
                "expected alpha of at least 1, a budget of at least 0 and restarts of at least 0, "
                f"got {self.alpha}, {self.budget} and {self.restarts}"
            )


def optimize(
    graph: Graph,
    rules: Sequence[Substitution],
    costs: CostSource | None = None,
    *,
    alpha: float = 1.05,
    budget: int = 50,
    descents: Sequence[Order] = ORDERS,
    restarts: int = 10,
    seed: int = 0,
    cut: Cut = by_matches,
) -> Optimized:
    """Find a cheaper graph that computes the same outputs, and do what it computes from weights alone.

    Paper: TASO §5, Algorithm 2.
    rules: each is used in the direction it is written in; `matching.directed` adds the reverses.
    costs: what a node costs; by default `FlopCost()`.
    alpha: graphs dearer than alpha times the best so far are not followed; at least 1.
    budget: number of graphs to expand at most for each block unlike the others; those of descents do not count.
    descents: orders in which to go straight down first.  restarts: how many more, in orders drawn from `seed`.
    cut: how to cut the graph into blocks, one of `blocks.CUTS`. The paper's search has no descents, no restarts, and
        keeps the graph whole.
    Raises: ValueError: alpha is below 1, or the budget or the restarts negative.
    """
    effort = Effort(alpha, budget, descents, restarts, seed)
    found = search(graph, rules, costs or FlopCost(), effort, cut=cut)
    return replace(found, graph=tidy(found.graph))


def search(
    graph: Graph,
    rules: Sequence[Substitution],
    costs: CostSource,
    effort: Effort = Effort(),  # noqa: B008 - a frozen value
    *,
    cut: Cut = by_matches,
) -> Optimized:
    """Do the same as `optimize`, but leave what is computed from weights alone as nodes of the graph."""
    matcher = Matcher(rules)  # outside of the pause: terms refer to themselves, in circles that are the collector's
    with paused():
        return _search(graph, matcher, costs, effort, cut)


def _search(graph: Graph, matcher: Matcher, costs: CostSource, effort: Effort, cut: Cut) -> Optimized:
    rejected = Counter[str]()
    as_it_is = given = SearchGraph.of(graph, costs)
    shared, gone = share(as_it_is.values.graph)
    if gone:
        given = SearchGraph.of(shared, costs)
    context = getattr(costs, "context", None)
    parts = blocks(given, cut(given, matcher), context)
    found: dict[object, _Improved] = {}
    for part in parts:
        if part.key not in found:
            start = SearchGraph.of(part.graph, Renamed(costs, part.names) if context else costs)
            found[part.key] = _improve(start, matcher, effort, given.cost - start.cost, len(found), rejected)
    names, cost = Names(as_it_is.values.types), as_it_is.cost
    steps: list[Step] = []
    for node in gone:
        price = as_it_is.producers[node.outputs[0]].cost
        steps.append(Step(SHARED, node.outputs, cost * TICK, (cost - price) * TICK, (show_node(node),)))
        cost -= price
    nodes: list[Node] = []
    weights: dict[str, np.ndarray] = {}
    for part in parts:
        renaming = names.block(part.names)
        best = found[part.key].best
        steps += _steps(best, renaming, cost)
        cost += best.graph.cost - found[part.key].start.graph.cost
        result = best.graph.to_graph()
        nodes += map(renaming.node, result.nodes)
        weights.update({renaming(name): array for name, array in best.graph.new_weights().items()})
    replaced = [Node(n.operator, n.inputs, tuple(part.names[v] for v in n.outputs), n.params)
                for part in parts for n in part.graph.nodes]  # fmt: skip
    expanded = sum(one.expanded for one in found.values())
    trace = Trace(tuple(steps), expanded, sum(one.judged for one in found.values()), dict(rejected))
    say(1, lambda: str(trace).splitlines()[-1])
    say(3, lambda: trace.details())
    return Optimized(splice(given.values.graph, replaced, nodes, weights), as_it_is.cost * TICK, cost * TICK, trace)


@dataclass(frozen=True)
class _Improved:
    """What the search of one block has found, and how many graphs it expanded and rewrites it judged."""

    start: Candidate
    best: Candidate
    expanded: int
    judged: int


def _improve(
    graph: SearchGraph, matcher: Matcher, effort: Effort, rest: int, number: int, rejected: Counter[str]
) -> _Improved:
    """Search one block; rest: what everything else costs, in ticks."""
    start = Candidate(graph)
    queue = Queue(effort.alpha, rejected, rest)
    queue.put(start)
    if not start.expand(matcher, rejected):
        return _Improved(start, start, 1, 0)
    slack = round((effort.alpha - 1) * (graph.cost + rest))
    for order in effort.descents:
        queue.put(descend(start, matcher, order, slack, rejected))
    rng = np.random.default_rng([effort.seed, number])
    for foot in random_descents(start, matcher, effort.restarts, rng, rejected):
        if foot.graph.cost < queue.best.graph.cost:  # only then it is worth measuring
            queue.put(foot.settled())
    expanded = 0
    while expanded < effort.budget and (here := queue.take()) is not None:
        expanded += 1
        here.expand(matcher, rejected)
        queue.add_children(here)
    return _Improved(start, queue.best, expanded, queue.judged)


def _steps(candidate: Candidate, renaming: Renaming, cost: int) -> list[Step]:
    """Return the rewrites on the way to a candidate, first to last; cost: of the whole graph before them, in ticks."""
    way = []
    while candidate.parent and candidate.rewrite:
        way.append((candidate.parent.graph, candidate.rewrite, candidate.graph))
        candidate = candidate.parent
    steps = []
    for before, rewrite, after in reversed(way):
        removed, added = (
            tuple(show_node(renaming.node(operation.node)) for operation in operations)
            for operations in (rewrite.change.removed, rewrite.change.added)
        )
        now = cost + after.cost - before.cost
        at = tuple(map(renaming, rewrite.match.roots))
        steps.append(Step(rewrite.match.rule.name, at, cost * TICK, now * TICK, removed, added))
        cost = now
    return steps
