"""All rewrites of a graph, and how a graph inherits those of the one it was made from.

Paper: TASO §5. Trying every rule everywhere is the same work for two graphs that differ in one place. `inherit` keeps
the rewrites that have read nothing the change touched, and looks again only where it may matter; a test holds it equal
to `all_rewrites`.

>>> import numpy as np
>>> from runtime.graph import GraphBuilder
>>> from taso_mini.costs import FlopCost
>>> from taso_mini.rules_text import parse_rules
>>> matcher = Matcher(parse_rules('''
... rule matmul-matmul-is-split-matmul-concat
...   variables x: matrix, v: matrix, w: matrix
...   source    matmul(x, v)
...   source    matmul(x, w)
...   target    split0(matmul(x, concat(v, w, axis=1)), axis=1)
...   target    split1(matmul(x, concat(v, w, axis=1)), axis=1)
... '''))
>>> build = GraphBuilder("pair")
>>> x, v, w = (build.input(name, shape) for name, shape in (("x", (2, 3)), ("v", (3, 4)), ("w", (3, 5))))
>>> graph = build.finish([build.add("matmul", x, v, name="left"), build.add("matmul", x, w, name="right")])
>>> for rewrite in all_rewrites(SearchGraph.of(graph, FlopCost()), matcher).values():
...     print(rewrite.change)
- left = matmul(x, v)
- right = matmul(x, w)
+ left, right = split(matmul_2, axis=1, sizes=(4, 5))
+ matmul_2 = matmul(x, concat_1)
+ concat_1 = concat(v, w, axis=1)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.debug import say, shows
from taso_mini.matching import Matcher
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import Rewrite, attempt

Key = tuple[str, tuple[str, ...]]  # a rule's name and the values at its outputs
Rewrites = dict[Key, Rewrite]


def all_rewrites(graph: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None) -> Rewrites:
    """Return every rewrite of a graph; count in `rejected` why matches may not fire."""
    return rewrites_at(graph, matcher, graph.producers, {}, rejected)


def inherit(
    before: Rewrites, change: Change, after: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None
) -> Rewrites:
    """Return every rewrite of the graph after a change, given those of the graph before."""
    touched = change.touched
    kept = {key: rewrite for key, rewrite in before.items() if rewrite.reads.isdisjoint(touched)}
    lost = (root for key in before.keys() - kept.keys() for root in key[1])
    return rewrites_at(after, matcher, sorted({*lost, *near(after, change, matcher)}), kept, rejected)


def near(graph: SearchGraph, change: Change, matcher: Matcher) -> set[str]:
    """Return the values from which a match could reach what a change has touched."""
    level: Iterable[str] = change.touched
    found = set(level)
    for _ in range(matcher.depth):
        level = graph.above(level)
        found.update(level)
    return found


def rewrites_at(
    graph: SearchGraph, matcher: Matcher, places: Iterable[str], found: Rewrites, rejected: Counter[str] | None = None
) -> Rewrites:
    """Add to `found` the rewrites that have one of `places` among their outputs, and return it."""
    refused: set[Key] = set()
    for value in places:
        for match in matcher.matches_at(graph, value):
            key = (match.rule.name, match.roots)
            if key in found or key in refused:
                continue
            result = attempt(graph, match)
            if isinstance(result, Rewrite):
                found[key] = result
                continue
            refused.add(key)
            if rejected is not None:
                rejected[result.reason] += 1
            if shows(4):
                say(4, f"{match.rule.name} at {', '.join(match.roots)}: {result.reason}")
    return found
