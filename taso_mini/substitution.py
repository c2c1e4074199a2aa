"""Apply a substitution where it matches: what it would change, judged before anything is built.

Paper: TASO §5. `attempt` takes a match, checks that the rule's meaning is the operators' meaning there (conditions,
cuts of splits, shapes), makes the operations of the target (`targets`), and counts uses to see which operations come
and which go. It gives a `Rewrite`, whose cost is known exactly, or a `Rejection` with its reason. `SearchGraph.apply`
then builds the graph; a long cycle, which a rule with several outputs can close, shows only there.

An output keeps its name and gets another operation. Where the target of an output is a value that exists already (a
variable, say), everything that read the output reads that value instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taso_mini.matching import Match
from taso_mini.search_graph import Change, Operation, SearchGraph
from taso_mini.targets import CYCLE, Refused, Target, build_target

FAR = 40  # values to look at for a cycle when a rewrite is judged
HALF_NEEDED = "the other half of a split is needed as it is"


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """A rule that can fire.

    change: what it does.  reads: the values whose change would make it another one.
    """

    match: Match
    change: Change
    reads: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Rejection:
    """A rule that may not fire at a match, and why: one of a few fixed reasons, so that they can be counted.

    reads: the values whose change might make it fire.
    """

    match: Match
    reason: str
    reads: frozenset[str]


def attempt(graph: SearchGraph, match: Match) -> Rewrite | Rejection:
    """Work out what applying a rule at a match does."""
    ledger = _Ledger(graph)
    ledger.reads.update(match.inner)
    try:
        target = build_target(graph, match, ledger.reads)
        ledger.made = target.made
        _install(graph, ledger, target)
        change = Change(tuple(ledger.added), tuple(ledger.removed))
    except Refused as refused:
        return Rejection(match, str(refused), frozenset(ledger.reads))
    return Rewrite(match, change, frozenset(ledger.reads))


class _Ledger:
    """Use counts while operations come and go; remembers every value it has looked at.

    made: how to compute values that the target needs.
    """

    def __init__(self, graph: SearchGraph) -> None:
        self.graph = graph
        self.made: Mapping[str, Operation] = {}
        self.added: dict[Operation, None] = {}
        self.removed: dict[Operation, None] = {}
        self.uses: dict[str, int] = {}
        self.reads: set[str] = set()
        self._producers: dict[str, Operation | None] = {}

    def count(self, value: str) -> int:
        self.reads.add(value)
        if value not in self.uses:
            self.uses[value] = self.graph.uses(value)
        return self.uses[value]

    def producer(self, value: str) -> Operation | None:
        return self._producers.get(value, self.graph.producers.get(value))

    def add(self, operation: Operation) -> None:
        """Make an operation live, and with it everything it reads."""
        self.added[operation] = None
        for value in operation.outputs:
            self._producers[value] = operation
        for value in operation.inputs:
            if value in self.graph.values.leaves:
                continue
            count = self.count(value)
            self.uses[value] = count + 1
            if count == 0 and self.producer(value) is None:
                self._bring(value)

    def _bring(self, value: str) -> None:
        """Make a value live that is not, as the target has it or else as it was first met."""
        operation = self.made.get(value) or self.graph.values.origin[value]
        self.reads.update(operation.outputs)
        if any(self.producer(output) for output in operation.outputs):
            raise Refused(HALF_NEEDED)
        self.add(operation)

    def remove(self, operation: Operation) -> None:
        """Take an operation away, and with it everything that was computed for it alone."""
        if operation in self.added:
            del self.added[operation]
        else:
            self.removed[operation] = None
        for value in operation.outputs:
            if self.producer(value) is operation:
                self._producers[value] = None
        for value in operation.inputs:
            if value in self.graph.values.leaves:
                continue
            self.uses[value] = self.count(value) - 1
            producer = self.producer(value)
            if producer is not None and not any(self.count(output) for output in producer.outputs):
                self.remove(producer)


def _install(graph: SearchGraph, ledger: _Ledger, target: Target) -> None:
    """Replace the outputs' operations, and those of the readers of outputs that become other values."""
    new = list(target.operations)
    for value in target.renamed:
        if value in graph.values.outputs:
            raise Refused("an output of the graph must keep its name")
        for user in dict.fromkeys(graph.readers.get(value, ())):
            replacement = graph.values.over(user, target.renamed)
            ledger.reads.update(user.outputs)
            if set(replacement.inputs) & {*replacement.outputs, *target.renamed}:
                raise Refused(CYCLE)
            if replacement not in new:
                new.append(replacement)
    outputs = [value for operation in new for value in operation.outputs]
    old = dict.fromkeys(graph.producers[value] for value in outputs if value in graph.producers)
    if not new or any(operation in old for operation in new):
        raise Refused("it would change nothing")
    if len(set(outputs)) < len(outputs):
        raise Refused("an output would be computed twice")
    if any(ledger.count(value) for operation in old for value in operation.outputs if value not in outputs):
        raise Refused(HALF_NEEDED)
    for operation in new:
        ledger.add(operation)
    _look_for_cycle(graph, ledger)
    for operation in old:
        ledger.remove(operation)


def _look_for_cycle(graph: SearchGraph, ledger: _Ledger) -> None:
    """Refuse a change that closes a short cycle, as undoing a merge while the merged value is still needed does.

    All that it looks at counts as read. A long cycle shows in `SearchGraph.has_cycle`, once the graph is built.
    """
    added = [operation for operation in ledger.added if not operation.constant]
    suspects = added if graph.crooked else [operation for operation in added if not operation.rising]
    if not suspects:
        return
    height, constant, producer, read = graph.values.height, graph.values.constant, ledger.producer, ledger.reads.add
    floor = min([height[value] for operation in (*suspects, *graph.crooked) for value in operation.outputs])
    for suspect in suspects:
        waiting = list(suspect.inputs)
        met = set(waiting)
        for value in waiting:
            if height[value] < floor or value in constant:
                continue
            read(value)
            operation = producer(value)
            if operation is suspect:
                raise Refused(CYCLE)
            if operation is not None and len(waiting) < FAR:
                for below in operation.inputs:
                    if below not in met:
                        met.add(below)
                        waiting.append(below)
