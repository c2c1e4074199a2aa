"""Apply a substitution where it matches: what it would change, judged before anything is built.

Paper: TASO §5. `attempt` takes a match, checks that the rule's meaning is the operators' meaning there (conditions,
cuts of splits, shapes), makes the operations of the target, and counts uses to see which operations come and which go.
It gives a `Rewrite`, whose cost is known exactly, or a `Rejection` with its reason. `SearchGraph.apply` then builds the
graph; a cycle, which a rule with several outputs can close, shows only there.

An output keeps its name and gets another operation. Where the target of an output is a value that exists already (a
variable, say), everything that read the output reads that value instead.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from taso_mini.conditions import holds
from taso_mini.cuts import HALVES, Decider, deciders
from taso_mini.graph_terms import Recipe, build
from taso_mini.matching import Match
from taso_mini.operator_set import CONVOLUTIONS
from taso_mini.search_graph import Change, Operation, SearchGraph
from taso_mini.shapes import Shape
from taso_mini.terms import Term, is_parameter_variable, subterms, variables

CYCLE = "it would close a cycle"
HALF_NEEDED = "the other half of a split is needed as it is"


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """A rule that can fire.

    change: what it does.  reads: the values whose change would make it another one.
    may_cycle: whether the graph must be looked at for a cycle. A rule with one output builds it from values below that
    output, which cannot close one, unless one of them is computed in an unforeseen way.
    """

    match: Match
    change: Change
    reads: frozenset[str]
    may_cycle: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rule that may not fire at a match, and why: one of a few fixed reasons, so that they can be counted."""

    match: Match
    reason: str


class _Refused(Exception):
    """The reason why a rule may not fire."""


def attempt(graph: SearchGraph, match: Match) -> Rewrite | Rejection:
    """Work out what applying a rule at a match does."""
    try:
        _check_conditions(graph, match)
        target = _Target(graph, match)
        ledger = _Ledger(graph, target.made)
        ledger.reads.update(match.values.values())
        _install(graph, ledger, target)
    except _Refused as refused:
        return Rejection(match, str(refused))
    change = Change(tuple(ledger.added), tuple(ledger.removed))
    may_cycle = len(match.rule.source) > 1 or target.unforeseen or ledger.unforeseen
    return Rewrite(match, change, frozenset(ledger.reads), may_cycle)


def _check_conditions(graph: SearchGraph, match: Match) -> None:
    if match.rule.conditions:
        shapes = {v.name: Shape(graph.values.types[match.values[v]].shape) for v in match.rule.variables}
        if not all(holds(condition, shapes, match.params) for condition in match.rule.conditions):
            raise _Refused("a condition does not hold")


class _Target:
    """The operations of a rule's target at a match.

    operations: those that replace the operations of the outputs.  made: the others, by value.
    renamed: outputs that become another value.
    unforeseen: some value of the target is live already, computed in another way than here.
    """

    def __init__(self, graph: SearchGraph, match: Match) -> None:
        self.graph = graph
        self.match = match
        self.values: dict[Term, str] = dict(match.values)
        self.axes = tuple((name, value) for name, value in match.params.items() if isinstance(value, int))
        self.operations: list[Operation] = []
        self.made: dict[str, Operation] = {}
        self.renamed: dict[str, str] = {}
        self.unforeseen = False
        self._agree(half for half in subterms(*match.rule.source) if half.operator in HALVES)
        roots: dict[Term, str] = {}
        for node, value in zip(match.rule.target, match.roots, strict=True):
            known = self.values.get(node) or roots.setdefault(node, value)
            if known != value:
                self.renamed[value] = known
        for node in subterms(*match.rule.target):
            if node not in self.values:
                self._make(node, roots)
        self._agree(half for half in subterms(*match.rule.target) if half.operator in HALVES)

    def _make(self, node: Term, roots: Mapping[Term, str]) -> None:
        """Find or make the operation of one term; an output of the rule gets the output's name."""
        types = self.graph.values.types
        args = tuple(self.values[argument] for argument in node.args)
        recipe = build(node.operator, self._params(node), args, tuple(types[value] for value in args))
        if recipe is None:
            raise _Refused("the target's shapes do not fit")
        if node.operator in CONVOLUTIONS and any(map(self._thaws, node.args[1:])):
            raise _Refused("a weight would be computed at run time")
        named = self._named(node, recipe, roots)
        operation = self.graph.values.operation(recipe, named)
        if operation is None:
            raise _Refused("the target's shapes do not fit")
        self.values[node] = operation.outputs[recipe.output]
        if named:
            if set(operation.inputs) & set(operation.outputs):
                raise _Refused(CYCLE)
            for i, half in enumerate(HALVES if recipe.operator == "split" else ()):
                self.values[Term(half, node.params, node.args)] = operation.outputs[i]
            self.operations.append(operation)
        else:
            self.made.update(dict.fromkeys(operation.outputs, operation))
            self.unforeseen |= self.graph.producers.get(self.values[node], operation) is not operation

    def _thaws(self, operand: Term) -> bool:
        """Whether a kernel or bias made from weights would not be one: back ends prepare weights before they run."""
        constant = self.graph.values.constant
        return self.values[operand] not in constant and any(self.values[v] in constant for v in variables(operand))

    def _params(self, node: Term) -> dict[str, Hashable]:
        params = {
            name: self.match.params[str(value)] if is_parameter_variable(value) else value
            for name, value in node.params
        }
        if node.operator in HALVES:
            params["cut"] = self._cut(node)
        return params

    @staticmethod
    def _named(node: Term, recipe: Recipe, roots: Mapping[Term, str]) -> dict[int, str]:
        """Return which outputs of the operation have a name: both halves of a split may be outputs of the rule."""
        terms = [Term(half, node.params, node.args) for half in HALVES] if recipe.operator == "split" else [node]
        return {i: roots[part] for i, part in enumerate(terms) if part in roots}

    def _cut(self, half: Term) -> int:
        """Return where a split cuts, as everything matched or made so far says."""
        found = {self._length(d) for d in deciders(self.match.rule, half, self.axes) if d.term in self.values}
        if len(found) != 1:
            raise _Refused("splits and concatenations do not meet at one place")
        return found.pop()

    def _length(self, decider: Decider) -> int:
        types = self.graph.values.types
        length = types[self.values[decider.term]].shape[decider.axis]
        if decider.whole is not None:
            length = types[self.values[decider.whole]].shape[decider.axis] - length
        return length

    def _agree(self, halves: Iterable[Term]) -> None:
        for half in halves:
            self._cut(half)


class _Ledger:
    """Use counts while operations come and go; remembers every value it has looked at.

    made: how to compute values that the target needs.  unforeseen: a value had to be computed as it once was.
    """

    def __init__(self, graph: SearchGraph, made: Mapping[str, Operation]) -> None:
        self.graph = graph
        self.made = made
        self.unforeseen = False
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
        self._producers.update(dict.fromkeys(operation.outputs, operation))
        for value in operation.inputs:
            count = self.count(value)
            self.uses[value] = count + 1
            if count == 0 and self.producer(value) is None:
                self._bring(value)

    def _bring(self, value: str) -> None:
        """Make a value live that is not; inputs and weights always are."""
        operation = self.made.get(value) or self.graph.values.origin.get(value)
        if operation is None:
            return
        if any(self.producer(output) for output in operation.outputs):
            raise _Refused(HALF_NEEDED)
        self.unforeseen |= value not in self.made and not operation.constant
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
            self.uses[value] = self.count(value) - 1
            producer = self.producer(value)
            if producer is not None and not any(self.count(output) for output in producer.outputs):
                self.remove(producer)


def _install(graph: SearchGraph, ledger: _Ledger, target: _Target) -> None:
    """Replace the outputs' operations, and those of the readers of outputs that become other values."""
    new = list(target.operations)
    for value in target.renamed:
        if value in graph.values.outputs:
            raise _Refused("an output of the graph must keep its name")
        for user in dict.fromkeys(graph.readers.get(value, ())):
            replacement = graph.values.over(user, target.renamed)
            ledger.reads.update(user.outputs)
            if set(replacement.inputs) & {*replacement.outputs, *target.renamed}:
                raise _Refused(CYCLE)
            if replacement not in new:
                new.append(replacement)
    outputs = [value for operation in new for value in operation.outputs]
    old = dict.fromkeys(graph.producers[value] for value in outputs if value in graph.producers)
    if not new or any(operation in old for operation in new):
        raise _Refused("it would change nothing")
    if len(set(outputs)) < len(outputs):
        raise _Refused("an output would be computed twice")
    if any(ledger.count(value) for operation in old for value in operation.outputs if value not in outputs):
        raise _Refused(HALF_NEEDED)
    for operation in new:
        ledger.add(operation)
    for operation in old:
        ledger.remove(operation)
