"""All rewrites of a graph, and how a graph inherits those of the one it was made from.

Paper: TASO §5. Trying every rule everywhere is the same work for two graphs that differ in one place. `inherit` keeps
what came of the matches that have read nothing the change touched, and looks again only where it may matter; and even
there the surroundings are often those of another graph of the search, whose answer `recall` has. A test holds it equal
to `all_attempts`, which looks at everything afresh.

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
...     print(rewrite.change)  # doctest: +ELLIPSIS
- left = matmul(x, v)
- right = matmul(x, w)
+ left, right = split("matmul#...", axis=1, sizes=(4, 5))
+ "matmul#..." = matmul(x, "concat#...")
+ "concat#..." = concat(v, w, axis=1)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from runtime.debug import say, shows
from taso_mini.matching import Match, Matcher
from taso_mini.recall import attempt_again, matches_at, matches_of
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import Rejection, Rewrite, attempt

Key = tuple[str, tuple[str, ...]]  # a rule's name and the values at its outputs
Rewrites = dict[Key, Rewrite]
Attempts = dict[Key, Rewrite | Rejection]


def key_of(attempt: Rewrite | Rejection) -> Key:
    """Return what tells attempts on one graph apart."""
    return attempt.match.rule.name, attempt.match.roots


def all_rewrites(graph: SearchGraph, matcher: Matcher) -> Rewrites:
    """Return every rewrite of a graph."""
    return {key: found for key, found in all_attempts(graph, matcher).items() if isinstance(found, Rewrite)}


def all_attempts(graph: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None) -> Attempts:
    """Return what comes of every match in a graph; count in `rejected` why some may not fire.

    Matches that may not fire whatever is around them are left out.
    """
    found: Attempts = {}
    _try(graph, matcher.matches(graph), found, rejected)
    return found


def inherit(
    before: Attempts, change: Change, after: SearchGraph, matcher: Matcher, rejected: Counter[str] | None = None
) -> Attempts:
    """Return what comes of every match in the graph after a change, given the same for the graph before.

    An attempt stands as long as nothing that it has read is computed or read in another way. A new match must have an
    operation of the change among those of its source.
    """
    touched = {v for operation in (*change.added, *change.removed) for v in (*operation.inputs, *operation.outputs)}
    kept = before.copy()
    lost = [key for key, found in before.items() if not found.reads.isdisjoint(touched)]
    for key in lost:
        del kept[key]
    remade = {value for operation in (*change.added, *change.removed) for value in operation.outputs}
    for key in lost:
        match = before[key].match
        stands = match.inner.isdisjoint(remade)
        again = (match,) if stands else matches_of(matcher, key[0], after, key[1][0])
        _try(after, again, kept, rejected, attempt_again)
    return attempts_near(after, matcher, change, kept, rejected)


def attempts_near(
    graph: SearchGraph, matcher: Matcher, change: Change, found: Attempts, rejected: Counter[str] | None = None
) -> Attempts:
    """Add to `found` what comes of the matches that an operation of a change is part of, and return it."""
    level = dict.fromkeys(v for operation in change.added if not operation.constant for v in operation.outputs)
    nearer: set[str] = set()
    for distance in range(matcher.depth):
        for value in level:
            _try(graph, matches_at(matcher, graph, value, distance), found, rejected, attempt_again)
        nearer.update(level)
        level = dict.fromkeys(value for value in graph.above(level) if value not in nearer)
    return found


def _try(
    graph: SearchGraph,
    matches: Iterable[Match],
    found: Attempts,
    rejected: Counter[str] | None,
    answer: Callable[[SearchGraph, Match], Rewrite | Rejection] = attempt,
) -> None:
    """Add to `found` what comes of those matches that are not in it."""
    for match in matches:
        key = (match.rule.name, match.roots)
        if key in found:
            continue
        result = answer(graph, match)
        if isinstance(result, Rewrite) or result.reads != match.inner:  # else it is a rejection for ever
            found[key] = result
        if isinstance(result, Rejection):
            if rejected is not None:
                rejected[result.reason] += 1
            if shows(4):
                say(4, f"{match.rule.name} at {', '.join(match.roots)}: {result.reason}")
