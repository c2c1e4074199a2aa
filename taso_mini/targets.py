"""The target of a substitution at a match: which operations compute it there.

Paper: TASO §5. A target's variables and parameters are those that the source has bound. What it leaves to its context
is found here: where a split cuts (`cuts`) and which shape a constant such as an identity matrix takes. Constants become
weights; of the shapes that the rule's tensors suggest, the first is taken with which the target has its source's types.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from runtime.graph import Params
from taso_mini.applications import Recipe
from taso_mini.conditions import holds
from taso_mini.cuts import HALVES, Decider, deciders
from taso_mini.graph_constants import possible_shapes
from taso_mini.graph_terms import build
from taso_mini.matching import Match
from taso_mini.operator_set import CONVOLUTIONS
from taso_mini.search_graph import SearchGraph
from taso_mini.shapes import Shape
from taso_mini.terms import Term, bind_parameters, constants, is_parameter_variable, subterms, variables
from taso_mini.values import Operation

Deed = tuple[str, Params, tuple[str, ...]]  # an operator, its parameters and inputs
CYCLE = "it would close a cycle"


class Refused(Exception):
    """The reason why a rule may not fire."""


def build_target(graph: SearchGraph, match: Match, reads: set[str]) -> Target:
    """Return the operations of a rule's target; `reads` gets the values that it has looked at the readers of.

    The same match in another graph has the same target, unless other operations that the target could share are live.
    Raises: Refused.
    """
    key = (match.rule.name, *match.values.values(), *match.params.values())
    known = graph.values.targets.get(key)
    if known is None or any(graph.computing(*deed) is not answer for deed, answer in known.shared):
        known = graph.values.targets[key] = _Known([], "no shape of a constant fits")
        for choice in _constant_choices(graph, match):
            try:
                _check_conditions(graph, match, choice)
                maker = _Maker(graph, match, choice, known.shared)
                known.outcome = Target(maker.operations, maker.made, maker.renamed)
                break
            except Refused as reason:
                known.outcome = str(reason)
    reads.update([graph.watched(inputs) for (_, _, inputs), _ in known.shared])
    if isinstance(known.outcome, str):
        raise Refused(known.outcome)
    return known.outcome


@dataclass(frozen=True, slots=True)
class Target:
    """The operations of a rule's target at a match.

    operations: those that replace the operations of the outputs.  made: the others, by value.
    renamed: outputs that become another value.
    """

    operations: list[Operation]
    made: dict[str, Operation]
    renamed: dict[str, str]


@dataclass(slots=True)
class _Known:
    """The target of a match, or why it has none, as long as the operations of `shared` are those that are live."""

    shared: list[tuple[Deed, Operation | None]]
    outcome: Target | str


def _constant_choices(graph: SearchGraph, match: Match) -> Iterator[dict[Term, str]]:
    """Yield values for the constants that only the target has."""
    open_ = [node for node in target_constants(match.rule.target) if node not in match.values]
    if not open_:
        yield {}
        return
    types = [graph.values.types[value] for value in match.values.values()]
    bound = [bind_parameters(node, match.params) for node in open_]
    for shapes in product(*(possible_shapes(node, [kind.shape for kind in types]) for node in bound)):
        named = [graph.values.constant_weight(node, shape, types[0].dtype) for node, shape in zip(bound, shapes)]
        yield dict(zip(open_, named))


@lru_cache(maxsize=1 << 14)
def target_constants(target: tuple[Term, ...]) -> tuple[Term, ...]:
    """Return the constants of a rule's target."""
    return constants(*target)


def _check_conditions(graph: SearchGraph, match: Match, constants: Mapping[Term, str]) -> None:
    if match.rule.conditions:
        types = graph.values.types
        shapes = [(node.name, types[value].shape) for node, value in match.values.items() if node.is_variable]
        for node, value in (*match.values.items(), *constants.items()):
            if node.is_constant:
                shapes.append((str(bind_parameters(node, match.params)), types[value].shape))
        if not _hold(match.rule.conditions, tuple(shapes), tuple(match.params.items())):
            raise Refused("a condition does not hold")


@lru_cache(maxsize=1 << 16)
def _hold(
    conditions: tuple[str, ...],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    params: tuple[tuple[str, Hashable], ...],
) -> bool:
    known = {name: Shape(dims) for name, dims in shapes}
    return all(holds(condition, known, dict(params)) for condition in conditions)


class _Maker:
    """Makes the operations of a target, term by term."""

    def __init__(
        self,
        graph: SearchGraph,
        match: Match,
        constants: Mapping[Term, str],
        shared: list[tuple[Deed, Operation | None]],
    ) -> None:
        """Make the operations.

        constants: the weights for constants of the target alone.  shared: gets what was asked of the graph, and the
        answers.
        """
        self.graph = graph
        self.match = match
        self.shared = shared
        self.ceiling = min([graph.values.height[root] for root in match.roots])
        self.values: dict[Term, str] = dict(match.values)
        self.axes = tuple((name, value) for name, value in match.params.items() if isinstance(value, int))
        self.operations: list[Operation] = []
        self.made: dict[str, Operation] = {}
        self.renamed: dict[str, str] = {}
        self.values.update(constants)
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
            raise Refused("the target's shapes do not fit")
        if node.operator in CONVOLUTIONS and any(map(self._thaws, node.args[1:])):
            raise Refused("a weight would be computed at run time")
        named = self._named(node, recipe, roots)
        operation = self.graph.values.operation(recipe, named, self._live, self.ceiling)
        if operation is None:
            raise Refused("the target's shapes do not fit")
        self.values[node] = operation.outputs[recipe.output]
        if named:
            if set(operation.inputs) & set(operation.outputs):
                raise Refused(CYCLE)
            for i, half in enumerate(HALVES if recipe.operator == "split" else ()):
                self.values[Term(half, node.params, node.args)] = operation.outputs[i]
            self.operations.append(operation)
        else:
            self.made.update(dict.fromkeys(operation.outputs, operation))

    def _live(self, operator: str, params: Params, inputs: tuple[str, ...]) -> Operation | None:
        """Return the live operation that does this, and take down that it was asked for."""
        answer = self.graph.computing(operator, params, inputs)
        self.shared.append(((operator, params, inputs), answer))
        return answer

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
            raise Refused("splits and concatenations do not meet at one place")
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
