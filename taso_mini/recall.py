"""Answers that other graphs of the same search have given already.

Paper: TASO §5. Rewrites far apart do not touch each other, so a search meets the surroundings of a match again and
again, in graphs that differ elsewhere. Kept are what was asked, all that was read for the answer, and the answer: where
everything that was read is as it was, so is the answer. `rewriting.all_attempts` asks nothing of this, and a test holds
both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from taso_mini.matching import Match, Matcher
from taso_mini.search_graph import SearchGraph
from taso_mini.substitution import Rejection, Rewrite, attempt
from taso_mini.values import Operation

KEPT = 8  # answers to one question
Answered = TypeVar("Answered")
Record = tuple[list[tuple[str, "Operation | None"]], list[tuple[str, tuple[Operation, ...]]], Any]


def attempt_again(graph: SearchGraph, match: Match) -> Rewrite | Rejection:
    """Return what comes of a match."""
    height = graph.values.height  # how far down a cycle is looked for depends on the lowest crooked operation
    lowest = min([height[value] for operation in graph.crooked for value in operation.outputs], default=None)
    question = (match.rule.name, lowest, *match.values.values(), *match.params.values())
    known = _recall(graph, question)
    if known is not None:
        result: Rewrite | Rejection = known
        return result
    found = attempt(graph, match)
    _keep(graph, question, found.reads, found.reads, found)
    return found


def matches_at(matcher: Matcher, graph: SearchGraph, value: str, beyond: int) -> Iterable[Match]:
    """Return what `Matcher.matches_at` yields."""
    return _matches(graph, (matcher, beyond, value), lambda watched: matcher.matches_at(watched, value, beyond))


def matches_of(matcher: Matcher, rule: str, graph: SearchGraph, value: str) -> Iterable[Match]:
    """Return what `Matcher.matches_of` yields."""
    return _matches(graph, (matcher, rule, value), lambda watched: matcher.matches_of(rule, watched, value))


def _matches(
    graph: SearchGraph, question: tuple[Hashable, ...], search: Callable[[SearchGraph], Iterable[Match]]
) -> Iterable[Match]:
    known: list[Match] | None = _recall(graph, question)
    if known is not None:
        return known
    producers, readers = _Watched(graph.producers), _Watched(graph.readers)
    found = list(search(SearchGraph(graph.values, producers, readers, graph.cost, graph.fingerprint, graph.crooked)))
    _keep(graph, question, producers.asked, readers.asked, found)
    return found


def _recall(graph: SearchGraph, question: tuple[Hashable, ...]) -> Any:  # noqa: ANN401 - what `_keep` was given
    producers, readers = graph.producers, graph.readers
    for made, read, answer in graph.values.answers.get(question, ()):
        for value, operation in made:
            if producers.get(value) is not operation:
                break
        else:
            for value, users in read:
                if readers.get(value, ()) != users:
                    break
            else:
                return answer
    return None


def _keep(
    graph: SearchGraph, question: tuple[Hashable, ...], made: Iterable[str], read: Iterable[str], answer: object
) -> None:
    record: Record = (
        [(value, graph.producers.get(value)) for value in made],
        [(value, graph.readers.get(value, ())) for value in read],
        answer,
    )
    known = graph.values.answers.setdefault(question, [])
    known.insert(0, record)
    del known[KEPT:]


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
