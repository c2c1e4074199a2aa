"""Algorithm 2 as the paper writes it: no shortcut, for reading and as the oracle of the search that is used.

Paper: TASO §5, Algorithm 2

Every graph in the queue is built, every rule is tried everywhere in every graph that is taken from it, and cost,
fingerprint and freedom from cycles are worked out from scratch. `optimizer` finds the same with less work.

>>> from runtime.graph import GraphBuilder
>>> from taso_mini.costs import FlopCost
>>> from taso_mini.rules_text import parse_rules
>>> rules = parse_rules('''
... rule concat-relu-relu-is-relu-concat
...   variables x: tensor, y: tensor
...   source    concat(relu(x), relu(y), axis=a)
...   target    relu(concat(x, y, axis=a))
... ''')
>>> build = GraphBuilder("two")
>>> parts = [build.add("relu", build.input(name, (1, 64))) for name in "xy"]
>>> graph = build.finish(build.add("concat", *parts, axis=1, name="out"))
>>> found = search(graph, rules, FlopCost(), alpha=1.05, budget=10)
>>> print([operation.node.operator for operation in found.best.operations], len(found.expanded))
['relu', 'concat'] 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.graph import Graph
from taso_mini.costs import CostSource
from taso_mini.matching import Matcher
from taso_mini.rewriting import all_rewrites
from taso_mini.search_graph import SearchGraph
from taso_mini.terms import Substitution


@dataclass(frozen=True)
class Found:
    """The cheapest graph, and the cost and fingerprint of every graph that was expanded, in order."""

    best: SearchGraph
    expanded: tuple[tuple[int, int], ...]


def search(graph: Graph, rules: Sequence[Substitution], costs: CostSource, *, alpha: float, budget: int) -> Found:
    """Search for a cheaper equal graph.

    Among graphs of one cost the one with the least fingerprint is taken first.
    """
    matcher = Matcher(rules)
    start = SearchGraph.of(graph, costs)
    queue, seen = [start], {fingerprint(start)}
    best = start
    expanded: list[tuple[int, int]] = []
    while queue and len(expanded) < budget:
        here = min(queue, key=lambda candidate: (cost(candidate), fingerprint(candidate)))  # dequeue
        queue.remove(here)
        if cost(here) >= alpha * cost(best) and here is not best:
            continue  # the best has become better since it entered
        expanded.append((cost(here), fingerprint(here)))
        for rewrite in all_rewrites(here, matcher).values():  # for each substitution, at each place
            child = here.apply(rewrite.change)
            if child.in_order() is None:  # not a graph
                continue
            if cost(child) < cost(best):
                best = child
            if (child is best or cost(child) < alpha * cost(best)) and fingerprint(child) not in seen:  # enqueue
                queue.append(child)
                seen.add(fingerprint(child))
    return Found(best, tuple(expanded))


def cost(graph: SearchGraph) -> int:
    """Sum up what the operations of a graph cost, in ticks."""
    return sum(operation.cost for operation in graph.operations)


def fingerprint(graph: SearchGraph) -> int:
    """Sum up what tells the operations of a graph apart."""
    return sum(operation.fingerprint for operation in graph.operations) % 2**64
