"""Answers that other graphs of the same search have given already.

Paper: TASO §5. Rewrites far apart do not touch each other, so a search meets the surroundings of a match again and
again, in graphs that differ elsewhere. Kept are what was asked, all that was read for the answer, and the answer: where
everything that was read is as it was, so is the answer. So it is for one match, for the matches at one value, and for
all that a change brings (`news_again`), which is made of many such answers. `rewriting.all_attempts` asks nothing of
this, and a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from taso_mini.matching import Match, Matcher
from taso_mini.search_graph import Change, SearchGraph
from taso_mini.substitution import Rejection, Rewrite, attempt
from taso_mini.values import Operation

Key = tuple[str, tuple[str, ...]]  # a rule's name and the values at its outputs
KEPT = 8  # answers to one question
Answered = TypeVar("Answered")
Users = tuple[Operation, ...]
Names = tuple[str, ...]
Record = tuple[Names, tuple["Operation | None", ...], Names, tuple["Users | None", ...], Any]
Trail = list[tuple[Names, Names]]  # of everything read for an answer: values whose producers, and whose readers, were


@dataclass(frozen=True, slots=True)
class News:
    """What becomes of a graph's attempts by a change, besides that some are lost.

    tried: what comes of the matches around the change, in order; some are met twice.
    met: matches around the change that stand as before.
    """

    tried: list[tuple[Key, Rewrite | Rejection]]
    met: list[Key]


def news_again(
    graph: SearchGraph,
    change: Change,
    lost: tuple[Rewrite | Rejection, ...],
    stands: Container[Key],
    work_out: Callable[[Trail], News],
) -> News:
    """Return what `work_out` does for a graph after a change by which attempts were lost.

    stands: the attempts that were not.
    """
    question = (change, lost, _lowest(graph))
    known: News | None = _recall(graph, question, [])
    if known is not None and all([key in stands for key in known.met]):
        return known
    trail: Trail = []
    news = work_out(trail)
    own = {key for key, _ in news.tried}
    news = News(news.tried, [key for key in dict.fromkeys(news.met) if key not in own])
    made, read = (dict.fromkeys(chain.from_iterable(names)) for names in zip(*trail, strict=True))
    _keep(graph, question, made, read, news, [])
    return news


def attempt_again(graph: SearchGraph, match: Match, trail: Trail) -> Rewrite | Rejection:
    """Return what comes of a match."""
    question = (match.rule.name, _lowest(graph), *match.values.values(), *match.params.values())
    known = _recall(graph, question, trail)
    if known is not None:
        result: Rewrite | Rejection = known
        return result
    found = attempt(graph, match)
    _keep(graph, question, found.reads, found.reads, found, trail)
    return found


def matches_at(matcher: Matcher, graph: SearchGraph, value: str, beyond: int, trail: Trail) -> Iterable[Match]:
    """Return what `Matcher.matches_at` yields."""
    return _matches(graph, (matcher, beyond, value), lambda watched: matcher.matches_at(watched, value, beyond), trail)


def matches_of(matcher: Matcher, rule: str, graph: SearchGraph, value: str, trail: Trail) -> Iterable[Match]:
    """Return what `Matcher.matches_of` yields."""
    return _matches(graph, (matcher, rule, value), lambda watched: matcher.matches_of(rule, watched, value), trail)


def _lowest(graph: SearchGraph) -> float | None:
    """Return how far down a cycle is looked for: to the lowest value of a crooked operation."""
    height = graph.values.height
    return min([height[value] for operation in graph.crooked for value in operation.outputs], default=None)


def _matches(
    graph: SearchGraph,
    question: tuple[Hashable, ...],
    search: Callable[[SearchGraph], Iterable[Match]],
    trail: Trail,
) -> Iterable[Match]:
    known: list[Match] | None = _recall(graph, question, trail)
    if known is not None:
        return known
    producers, readers = _Watched(graph.producers), _Watched(graph.readers)
    found = list(search(SearchGraph(graph.values, producers, readers, graph.cost, graph.fingerprint, graph.crooked)))
    _keep(graph, question, producers.asked, readers.asked, found, trail)
    return found


def _recall(graph: SearchGraph, question: tuple[Hashable, ...], trail: Trail) -> Any:  # noqa: ANN401 - `_keep`'s answer
    producer_of, readers_of = graph.producers.get, graph.readers.get
    for made, operations, read, users, answer in graph.values.answers.get(question, ()):
        if tuple(map(producer_of, made)) == operations and tuple(map(readers_of, read)) == users:
            trail.append((made, read))
            return answer
    return None


def _keep(
    graph: SearchGraph,
    question: tuple[Hashable, ...],
    made: Iterable[str],
    read: Iterable[str],
    answer: object,
    trail: Trail,
) -> None:
    made, read = tuple(made), tuple(read)
    operations, users = tuple(map(graph.producers.get, made)), tuple(map(graph.readers.get, read))
    known = graph.values.answers.setdefault(question, [])
    known.insert(0, (made, operations, read, users, answer))
    del known[KEPT:]
    trail.append((made, read))


class _Watched(Mapping[str, Answered]):
    """A table that remembers what it was asked for."""

    def __init__(self, table: Mapping[str, Answered]) -> None:
        self._table = table
        self.asked: dict[str, None] = {}

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as a mapping's
        self.asked[key] = None
        return self._table.get(key, default)

    def __getitem__(self, key: str) -> Answered:
        self.asked[key] = None
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
