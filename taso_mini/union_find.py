"""Things put together step by step: union-find, and joining what depends on each other in a circle."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class UnionFind(Generic[T]):
    """Groups of the things it has been told of.

    >>> parts = UnionFind[str]()
    >>> parts.join("ab"), parts.join("cd"), parts.join("bd"), parts.join("e")
    (None, None, None, None)
    >>> parts.groups()
    [['a', 'b', 'c', 'd'], ['e']]
    """

    def __init__(self) -> None:
        """Start empty."""
        self._above: dict[T, T] = {}

    def __contains__(self, thing: T) -> bool:
        """Whether the thing is in a group."""
        return thing in self._above

    def find(self, thing: T) -> T:
        """Return the one that stands for the thing's group; the thing itself when it is new."""
        above = self._above.setdefault(thing, thing)
        while above is not thing:
            self._above[thing] = self._above[above]  # halve the way for the next time
            thing = self._above[thing]
            above = self._above[thing]
        return thing

    def join(self, things: Iterable[T]) -> None:
        """Put things, and whatever is with one of them already, into one group."""
        roots = list(dict.fromkeys(map(self.find, things)))
        for root in roots[1:]:
            self._above[root] = roots[0]

    def groups(self) -> list[list[T]]:
        """Return the groups, in the order in which their first members came."""
        found: dict[T, list[T]] = {}
        for thing in tuple(self._above):
            found.setdefault(self.find(thing), []).append(thing)
        return list(found.values())


def circles(nodes: Iterable[T], needed: Callable[[T], Iterable[T]]) -> list[list[T]]:
    """Return the strongly connected components with more than one node, by Tarjan's algorithm.

    >>> arrows = {"a": "b", "b": "c", "c": "a", "d": "a"}
    >>> [sorted(circle) for circle in circles(arrows, lambda node: arrows[node])]
    [['a', 'b', 'c']]
    """
    number: dict[T, int] = {}
    lowest: dict[T, int] = {}
    waiting: dict[T, None] = {}
    found = []
    for first in nodes:
        stack = [(first, iter(needed(first)))] if first not in number else []
        while stack:
            node, others = stack[-1]
            if node not in number:
                number[node] = lowest[node] = len(number)
                waiting[node] = None
            for other in others:
                if other not in number:
                    stack.append((other, iter(needed(other))))
                    break
                if other in waiting:
                    lowest[node] = min(lowest[node], lowest[other])
            else:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    circle = [other for other in waiting if number[other] >= number[node]]
                    for other in circle:
                        del waiting[other]
                    found += [circle] if len(circle) > 1 else []
    return found
