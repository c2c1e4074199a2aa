"""Cut a large graph into pieces where the fewest rewrites are lost, by maximum flow.

Paper: TASO §5, which splits graphs as MetaFlow does: where a minimum cut says that few matches would be cut through.
A match is lost when its operations are on both sides; a cut's capacity is the number of matches that it loses. Both
sides are to be graphs of their own, so whatever an operation of the first side reads is on the first side too.

`least_cut` finds such a cut as a network. Of each match two nodes: the arrow between them carries 1, and arrows that
carry anything lead from its operations to the one node and from the other to its operations, so that a match whose
operations are apart costs 1, however many they are. An arrow that carries anything leads from every operation to what
it reads. Among cuts that lose as few matches the one is taken that fewest values cross, near the middle if possible.
(MetaFlow gives each operation the number of matches through it as its capacity, and so counts a match at every
operation where it is cut.) `low_capacity` cuts until no piece is larger than `LARGEST`.

>>> least_cut(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], [(0, 1), (1, 2), (2, 3), (2, 3), (4, 5)], [0], [5])
{0, 1, 2, 3}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from taso_mini.matching import Matcher
from taso_mini.rewriting import all_attempts
from taso_mini.search_graph import SearchGraph
from taso_mini.values import Operation

LARGEST = 30  # operations in a piece of `low_capacity`, as in MetaFlow
Arrow = tuple[int, int]


class _Network:
    """Arrows with what they can still carry; `flow` saturates a cut."""

    def __init__(self) -> None:
        """Start without arrows."""
        self._left: dict[int, dict[int, int]] = {}

    def add(self, begin: int, end: int, capacity: int, back: int = 0) -> None:
        """Add an arrow, and capacity the other way."""
        for one, other, more in ((begin, end, capacity), (end, begin, back)):
            row = self._left.setdefault(one, {})
            row[other] = row.get(other, 0) + more

    def reached(self, begin: int) -> dict[int, int]:
        """Return the nodes that can be reached along what is left, each with the one before it, nearest first."""
        before = {begin: begin}
        waiting = [begin]
        for node in waiting:
            for other, left in self._left.get(node, {}).items():
                if left and other not in before:
                    before[other] = node
                    waiting.append(other)
        return before

    def flow(self, begin: int, end: int) -> set[int]:
        """Send as much as possible, always along a shortest way (Edmonds and Karp); return what is still reached."""
        while end in (before := self.reached(begin)):
            way = [end]
            while way[-1] != begin:
                way.append(before[way[-1]])
            arrows = list(zip(way[1:], way))
            most = min(self._left[one][other] for one, other in arrows)
            for one, other in arrows:
                self._left[one][other] -= most
                self._left[other][one] += most
        return set(before)


def least_cut(count: int, reads: Sequence[Arrow], matches: Sequence[Sequence[int]], first: Iterable[int],
              last: Iterable[int]) -> set[int]:  # fmt: skip
    """Return the nodes before the cut that splits the fewest matches and, of these cuts, that fewest arrows cross.

    Args:
        count: of nodes, numbered in an order in which all arrows lead upwards.
        reads: an arrow from each node to each one that reads it.
        matches: the nodes of each match.
        first: what must be before the cut.
        last: what must be after it.
    """
    begin, end, free = count, count + 1, count + 2
    crossing = [1 + abs(one + other - count) for one, other in reads]
    one_match = 1 + sum(crossing)  # no number of crossing arrows outweighs a match
    anything = one_match * (len(matches) + 1)
    network = _Network()
    for (one, other), price in zip(reads, crossing):
        network.add(one, other, price, anything)
    for match, times in Counter(map(tuple, matches)).items():
        network.add(free, free + 1, one_match * times)
        for node in match:
            network.add(node, free, anything)
            network.add(free + 1, node, anything)
        free += 2
    for node in first:
        network.add(begin, node, anything)
    for node in last:
        network.add(node, end, anything)
    return {node for node in network.flow(begin, end) if node < count}


def low_capacity(graph: SearchGraph, matcher: Matcher) -> Sequence[list[Operation]]:
    """Cut the graph in two where the fewest matches are lost, and the parts again, down to `LARGEST` operations.

    At least a quarter, in the graph's order, is on either side of each cut. Unlike `blocks.by_matches`, this gives
    pieces of a size that is known beforehand, and loses matches.
    """
    order = [operation for operation in graph.in_order() or () if not operation.constant]
    place = {value: i for i, operation in enumerate(order) for value in operation.outputs}
    found = (one.match.inner for one in all_attempts(graph, matcher).values())
    matches = [sorted({place[value] for value in inner if value in place}) for inner in found]
    reads = sorted(
        {(place[value], i) for i, operation in enumerate(order) for value in operation.inputs if value in place}
    )
    pieces, waiting = [], [list(range(len(order)))]
    while waiting:
        piece = waiting.pop()
        if len(piece) <= LARGEST:
            pieces.append([order[i] for i in piece])
            continue
        before = _halve(piece, reads, matches)
        waiting += [[i for i in piece if i in before], [i for i in piece if i not in before]]
    return pieces


def _halve(piece: Sequence[int], reads: Sequence[Arrow], matches: Sequence[Sequence[int]]) -> set[int]:
    """Return the first part of a piece."""
    number = {node: i for i, node in enumerate(piece)}
    inside = [(number[one], number[other]) for one, other in reads if one in number and other in number]
    whole = [
        [number[node] for node in match]
        for match in matches
        if len(match) > 1 and all(node in number for node in match)
    ]
    quarter = len(piece) // 4
    before = least_cut(len(piece), inside, whole, range(quarter), range(len(piece) - quarter, len(piece)))
    return {piece[i] for i in before}
