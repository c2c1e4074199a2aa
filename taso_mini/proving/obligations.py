"""What a rule's proof takes for granted about shapes, and the conditions that make it true.

Paper: TASO §3. A `World` is what is known wherever both sides of a rule are defined with equal shapes. From it come the
leaves of the e-graph; `conditions_of` finds what the source alone does not imply; `check_chain` types every step of a
proof again under just the source and those conditions.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from taso_mini.axioms import Axiom
from taso_mini.kinds import SIGNATURES
from taso_mini.operator_set import CONVOLUTIONS
from taso_mini.proving.certificate import is_instance
from taso_mini.proving.condition_text import merge_axes, split_axes
from taso_mini.proving.egraph import EGraph, Instance
from taso_mini.proving.ground import ShapeOf, assume, difference, follows
from taso_mini.proving.lengths import Length, equation
from taso_mini.proving.shape_rules import RULES, apply
from taso_mini.proving.symbolic_shapes import SymbolicShape, Typing, Unknown, leaf_shape
from taso_mini.rules_text import parse_term
from taso_mini.terms import Substitution, Term, constants, subterms, variables

_RANKS = {"image": 4, "kernel": 4, "vector": 1, "matrix": 2, "scalar": 0}


class World:
    """What is known wherever both sides of a rule are defined with equal shapes (and some conditions hold).

    Attributes:
        ranks: the number of axes of each leaf.
        contradictory: whether no sizes fit.
    """

    def __init__(
        self, rule: Substitution, axes: Mapping[str, int], conditions: Sequence[str] = (), also: Sequence[Term] = ()
    ) -> None:
        """Assume both sides, the conditions, and that some more terms are defined."""
        unknown = {node.operator for node in subterms(*rule.source, *rule.target)} - RULES.keys()
        if unknown:
            raise ValueError(f"rule {rule.name}: expected operators of the set, got {', '.join(sorted(unknown))}")
        self.rule, self.axes = rule, dict(axes)
        self.ranks = leaf_ranks([*rule.source, *rule.target, *also])
        typing = Typing(axes)
        typing.constants = tuple(str(c) for c in constants(*rule.target) if c not in constants(*rule.source))
        shapes = Shapes(typing, {leaf: leaf_shape(leaf, rank) for leaf, rank in self.ranks.items()})
        try:
            for old, new in zip(rule.source, rule.target, strict=True):
                typing.same(shapes.of(old), shapes.of(new))
            for condition in conditions:
                for part in split_axes(condition, self.ranks):
                    assume(part, typing, shapes.of_expression)
            for term in also:
                shapes.of(term)
        except Unknown:
            typing.equations.contradictory = True
        typing.assuming = False
        self.typing = typing
        self.contradictory = typing.equations.contradictory

    def assuming(self, conditions: Sequence[str]) -> World:
        """Return a world in which more is known."""
        return World(self.rule, self.axes, conditions)

    def leaves(self) -> dict[Term, SymbolicShape]:
        """Return the shapes of variables and constants, written with what is known."""
        found = {}
        for leaf, rank in self.ranks.items():
            shape = leaf_shape(leaf, rank)
            found[leaf] = SymbolicShape(tuple(map(self.typing.normal, shape.dims)), shape.trees)
        return found

    def graph(self) -> EGraph:
        """Return an e-graph with both sides in it."""
        graph = EGraph(self.typing, self.leaves())
        for root in (*self.rule.source, *self.rule.target):
            graph.add(root)
        return graph


class Shapes:
    """The shapes of terms under one typing, each found once.

    Attributes:
        allowed: convolutions that are defined because a condition says so.
        chosen: constants that the target brings, whose shapes must be possible ones.
    """

    def __init__(self, typing: Typing, leaves: Mapping[Term, SymbolicShape]) -> None:
        """Begin with the leaves; each must fit its operator."""
        self.typing = typing
        self.allowed: set[Term] = set()
        self.chosen: set[Term] = set()
        self._leaves = dict(leaves)
        self._known: dict[Term, SymbolicShape] = {}
        self._kinds = {leaf.name: leaf.kind for leaf in leaves if leaf.is_variable}

    def of(self, root: Term) -> SymbolicShape:
        """Return the shape of a term; raise Unknown when it may be undefined."""
        for node in subterms(root):
            if node not in self._known:
                self._known[node] = self._find(node)
        return self._known[root]

    def _find(self, node: Term) -> SymbolicShape:
        if not node.args and node not in self._leaves:
            raise Unknown(f"the shape of {node}")
        if not node.args:
            return self._leaf(node)
        given = [self._known[argument] for argument in node.args]
        self.typing.asking = node
        if node in self.allowed:
            self.typing.allow(given[0].dims[1], given[1].dims[1], given[1].dims[0])
        return apply(self.typing, node, given)

    def same(self, left: Term, right: Term) -> None:
        """Ask that two terms have one shape; a new constant alone on one side takes the other's."""
        for constant, other in ((left, right), (right, left)):
            if constant.is_constant and constant not in self._leaves:
                dims = self.of(other).dims
                self._leaves[constant] = apply(self.typing, constant, [SymbolicShape(dims, (None,) * len(dims))])
        self.typing.same(self.of(left), self.of(right))

    def _leaf(self, node: Term) -> SymbolicShape:
        """Return a leaf's shape. That a constant has a shape it may take is in doubt only where the target makes it.

        An identity kernel is depthwise or square: (inputs - 1) * (inputs - outputs) == 0.
        """
        wanted, self.typing.wanted = self.typing.wanted, None
        assuming, self.typing.assuming = self.typing.assuming, True
        shape = apply(self.typing, node, [self._leaves[node]])
        self.typing.wanted, self.typing.assuming = wanted, assuming
        if node.operator == "Iconv" and node in self.chosen and wanted is not None:
            outputs, inputs = map(self.typing.normal, shape.dims[:2])
            open_still = any(str(constant) in f"{inputs}, {outputs}" for constant in self.chosen)
            if inputs not in (Length.number(1), outputs) and not open_still:
                wanted.append(f"({inputs} - 1) * ({inputs} - {outputs}) == 0")
        return shape

    def of_expression(self, node: ast.expr) -> SymbolicShape:
        """Return the shape of a term in a condition."""
        return self.of(parse_term(ast.unparse(node), self._kinds))


def leaf_ranks(roots: Sequence[Term]) -> dict[Term, int]:
    """Return the number of axes of each variable and constant: what operators ask for, through sums and the like.

    A tensor that may have any number gets one axis more than is spoken of, which stands for all others.
    """
    group: dict[Term, Term] = {}

    def find(node: Term) -> Term:
        while group.setdefault(node, node) is not node:
            node = group[node]
        return node

    rank: dict[Term, int] = {}
    largest_axis = 1
    for node in subterms(*roots):
        asked: tuple[str, ...] = ()
        if node.is_variable:
            gives = node.kind if node.kind != "tensor" else "*"
        else:
            asked, gives = SIGNATURES.get(node.operator, (("*",) * len(node.args), "*"))
            axis = node.param("axis")
            largest_axis = max(largest_axis, axis if isinstance(axis, int) else 3 if axis else 1)
        for want, other in ((gives, node), *zip(asked, node.args, strict=False)):
            if want != "*":
                rank.setdefault(find(other), _RANKS[want])
            elif other is not node:
                _join(find(node), find(other), group, rank)
    return {
        leaf: rank.get(find(leaf), largest_axis + 1 + (largest_axis < 3))
        for leaf in (*variables(*roots), *constants(*roots))
    }


def _join(a: Term, b: Term, group: dict[Term, Term], rank: dict[Term, int]) -> None:
    if a is not b:
        group[a] = b
        if a in rank:
            rank.setdefault(b, rank[a])


def conditions_of(
    rule: Substitution, world: World, instances: Sequence[Instance], granted: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what must hold, beside that the source is defined, for the steps' conditions and for the target."""
    typing = Typing(world.axes)
    shapes = _known_from_source(rule, world, typing)
    typing.wanted = []
    found: list[str] = []
    for condition in dict.fromkeys([*granted, *(c for instance in instances for c in instance.conditions)]):
        if not follows(condition, typing, shapes.of_expression):
            found.append(plainly(condition, shapes, world))
            assume(condition, typing, shapes.of_expression)
    shapes.allowed = _convolutions(instances)
    for old, new in zip(rule.source, rule.target, strict=True):
        typing.same(shapes.of(old), shapes.of(new))
    found += merge_axes([c for c in typing.wanted if not c.startswith("defined(")], world.ranks)
    doubtful = [c for c in typing.wanted if c.startswith("defined(")]
    return tuple(dict.fromkeys(found + _in_doubt(rule, world, found, doubtful)))


def _in_doubt(rule: Substitution, world: World, found: Sequence[str], doubtful: Sequence[str]) -> list[str]:
    """Return which terms are still not known to be defined when all other conditions hold."""
    if not doubtful:
        return []
    typing = Typing(world.axes)
    shapes = _known_from_source(rule, world, typing)
    for condition in found:
        for part in split_axes(condition, world.ranks):
            assume(part, typing, shapes.of_expression)
    typing.assuming = False
    return [c for c in doubtful if not _is_defined(c[len("defined(") : -len(") == 1")], shapes)]


def _is_defined(text: str, shapes: Shapes) -> bool:
    try:
        shapes.of_expression(ast.parse(text, mode="eval").body)
    except Unknown:
        return False
    return True


def plainly(condition: str, shapes: Shapes, world: World) -> str:
    """Say a condition about terms of the lengths of variables instead, if it can be said so."""
    try:
        gap = difference(condition, shapes.of_expression).reduced
    except Unknown:
        return condition
    lengths = {f"{leaf}.shape[{axis}]" for leaf, rank in world.ranks.items() for axis in range(rank)}
    if not {atom for monomial, _ in gap.terms for atom in monomial} <= lengths:
        return condition
    factors = {monomial: factor for monomial, factor in gap.terms}
    image, kernel = (
        next((str(leaf) for leaf in world.ranks if factors.get((f"{leaf}.shape[1]",)) == sign), None)
        for sign in (1, -1)
    )
    if condition.startswith("groups(") and condition.endswith(" == 1") and len(factors) == 2 and image and kernel:
        return f"groups({image}, {kernel}) == 1"
    return equation(gap)


def _known_from_source(rule: Substitution, world: World, typing: Typing) -> Shapes:
    """Assume the source; constants of the target alone get the shapes that make it defined."""
    free = [c for c in constants(*rule.target) if c not in constants(*rule.source)]
    leaves = {leaf: leaf_shape(leaf, rank) for leaf, rank in world.ranks.items()}
    leaves |= {leaf: shape for leaf, shape in world.leaves().items() if leaf in free}
    shapes = Shapes(typing, leaves)
    shapes.chosen = set(free)
    for root in rule.source:
        shapes.of(root)
    return shapes


def _convolutions(instances: Sequence[Instance]) -> set[Term]:
    """Return the convolutions that are defined because the conditions of the instance they occur in hold."""
    return {
        node
        for instance in instances
        if instance.conditions
        for node in (instance.left, instance.right)
        for node in subterms(node)
        if node.operator in CONVOLUTIONS
    }


def check_chain(
    rule: Substitution,
    world: World,
    conditions: Sequence[str],
    instances: Sequence[Instance],
    axioms: Mapping[str, Axiom],
) -> bool:
    """Whether each instance is one of its axiom, defined with equal shapes, and its conditions follow."""
    checked = world.assuming(conditions)
    if checked.contradictory:
        return False
    shapes = Shapes(checked.typing, checked.leaves())
    shapes.allowed = _convolutions(instances)
    of: ShapeOf = shapes.of_expression
    try:
        # Where a constant is one side, it may be new and take the other's shape: those first.
        for instance in sorted(instances, key=lambda i: not (i.left.is_constant or i.right.is_constant)):
            shapes.same(instance.left, instance.right)
            known = is_instance(instance, axioms[instance.axiom])
            if not (known and all(c in conditions or follows(c, checked.typing, of) for c in instance.conditions)):
                return False
    except Unknown:
        return False
    return True
