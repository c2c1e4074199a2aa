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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from runtime.debug import say, shows
from taso_mini.matching import Match, Matcher
from taso_mini.recall import Key, News, Trail, attempt_again, matches_at, matches_of, news_again
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import Rejection, Rewrite, attempt

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
    for match in matcher.matches(graph):
        key = (match.rule.name, match.roots)
        if key not in found:
            _enter(found, key, attempt(graph, match), rejected)
    return found


def fallen(before: Attempts, change: Change) -> list[Key]:
    """Return the attempts that do not stand after a change: something that they have read is touched by it."""
    touched = change.touched
    return [key for key, found in before.items() if not found.reads.isdisjoint(touched)]


def inherit(
    before: Attempts,
    change: Change,
    after: SearchGraph,
    matcher: Matcher,
    rejected: Counter[str] | None = None,
    *,
    lost: Sequence[Key] | None = None,
) -> Attempts:
    """Return what comes of every match in the graph after a change, given the same for the graph before.

    An attempt stands as long as nothing that it has read is computed or read in another way. A new match must have an
    operation of the change among those of its source. What has stood comes first, in the order it had.
    lost: `fallen(before, change)`, if it is known.
    """
    lost = fallen(before, change) if lost is None else lost
    gone = tuple([before[key] for key in lost])
    kept = before.copy()
    for key in lost:
        del kept[key]
    news = news_again(after, change, gone, kept, partial(_work_out, gone, change, after, matcher, kept))
    for key, result in news.tried:
        if key not in kept:
            _enter(kept, key, result, rejected)
    return kept


def _work_out(
    lost: Iterable[Rewrite | Rejection],
    change: Change,
    after: SearchGraph,
    matcher: Matcher,
    kept: Mapping[Key, Rewrite | Rejection],
    trail: Trail,
) -> News:
    """Try the matches that are lost again, and those around the change; nothing is added to `kept` itself."""
    found, news = {**kept}, News([], [])
    remade = {value for operation in (*change.added, *change.removed) for value in operation.outputs}
    for attempted in lost:
        match = attempted.match
        stands = match.inner.isdisjoint(remade)
        again = (match,) if stands else matches_of(matcher, match.rule.name, after, match.roots[0], trail)
        _try_again(after, again, found, news, trail)
    for matches in _matches_near(after, matcher, change, trail):
        _try_again(after, matches, found, news, trail)
    return news


def _try_again(graph: SearchGraph, matches: Iterable[Match], found: Attempts, news: News, trail: Trail) -> None:
    """Add to `found` and `news` what comes of those matches that are not in it."""
    for match in matches:
        key = (match.rule.name, match.roots)
        if key in found:
            news.met.append(key)
            continue
        result = attempt_again(graph, match, trail)
        news.tried.append((key, result))
        _enter(found, key, result, None)


def attempts_near(graph: SearchGraph, matcher: Matcher, change: Change) -> Attempts:
    """Return what comes of the matches that an operation of a change is part of."""
    found: Attempts = {}
    trail: Trail = []
    news = News([], [])
    for matches in _matches_near(graph, matcher, change, trail):
        _try_again(graph, matches, found, news, trail)
    return found


def _matches_near(graph: SearchGraph, matcher: Matcher, change: Change, trail: Trail) -> Iterator[Iterable[Match]]:
    """Yield the matches that an operation of a change may be part of, value by value."""
    level = dict.fromkeys(v for operation in change.added if not operation.constant for v in operation.outputs)
    nearer: set[str] = set()
    for distance in range(matcher.depth):
        for value in level:
            yield matches_at(matcher, graph, value, distance, trail)
        nearer.update(level)
        trail.append(((), tuple(level)))
        level = dict.fromkeys(value for value in graph.above(level) if value not in nearer)


def _enter(found: Attempts, key: Key, result: Rewrite | Rejection, rejected: Counter[str] | None) -> None:
    """Add what came of a match, unless it is a rejection for ever; count why it may not fire."""
    if type(result) is Rewrite:
        found[key] = result
        return
    assert isinstance(result, Rejection)
    if result.reads != result.match.inner:
        found[key] = result
    if rejected is not None:
        rejected[result.reason] += 1
        if shows(4):
            say(4, f"{key[0]} at {', '.join(key[1])}: {result.reason}")
