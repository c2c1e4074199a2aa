"""An e-graph of well-defined terms that can explain why two of its terms are equal.

Paper: TASO §3. Congruence closure with proofs is that of Nieuwenhuis and Oliveras (2005). Every node is a term; classes
of nodes have equal values. Two nodes with one operator and arguments of the same classes are in one class (congruence).
A union is made by an instance of an axiom or by congruence, and is remembered as an edge of a forest over the nodes;
`explain` walks the edges between two nodes and gives a chain of terms in which each step is one instance.

Only terms that are defined wherever the rule is are admitted: `add` raises `Unknown` for others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from taso_mini.proving.shape_rules import apply
from taso_mini.proving.symbolic_shapes import Cut, SymbolicShape, Tree, Typing, Unknown
from taso_mini.terms import Params, Term, subterms


@dataclass(frozen=True)
class Instance:
    """An axiom with terms for its variables: `left` and `right` are equal by it, under `conditions`."""

    axiom: str
    left: Term
    right: Term
    conditions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the equation and its reason."""
        return f"{self.left} = {self.right}  by {self.axiom}"


@dataclass(frozen=True)
class Step:
    """One step of a chain: `before` becomes `after` because a subterm is one side of an instance."""

    before: Term
    after: Term
    instance: Instance


class EGraph:
    """Nodes, their classes, and why they are equal."""

    def __init__(self, typing: Typing, leaves: Mapping[Term, SymbolicShape]) -> None:
        """Begin without nodes; `leaves` has the shapes of variables and constants that may occur."""
        self.typing = typing
        self.clock = 0  # counts changes
        self.terms: list[Term] = []
        self.by_operator: dict[str, list[int]] = defaultdict(list)
        self._leaves = dict(leaves)
        self._ids: dict[Term, int] = {}
        self._arguments: list[tuple[int, ...]] = []
        self._parent: list[int] = []
        self._members: list[list[int]] = []
        self._shapes: list[SymbolicShape] = []
        self._uses: list[list[int]] = []
        self._changed: list[int] = []  # by class: when it, or an argument of a member, was last changed
        self._twins: set[int] = set()  # nodes congruent to an earlier one: nothing can be learned from them
        self._table: dict[tuple[str, Params, tuple[int, ...]], int] = {}
        self._towards: list[int] = []  # the forest: the next node on the way to the root, or -1
        self._reason: list[Instance | None] = []  # of that edge; None for congruence

    def find(self, node: int) -> int:
        """Return the class of a node."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def members(self, node: int) -> list[int]:
        """Return the nodes of a node's class, one for each operator and classes of arguments."""
        return [member for member in self._members[self.find(node)] if member not in self._twins]

    def changed_since(self, operator: str, time: int) -> list[int]:
        """Return the nodes of an operator that are new, or whose arguments have been joined with others, since then."""
        return [
            node
            for node in self.by_operator.get(operator, ())
            if node not in self._twins
            and (
                self._changed[node] > time
                or any(self._changed[self.find(argument)] > time for argument in self._arguments[node])
            )
        ]

    def arguments(self, node: int) -> tuple[int, ...]:
        """Return the nodes of a node's arguments."""
        return self._arguments[node]

    def shape(self, node: int) -> SymbolicShape:
        """Return the shape of a node's class."""
        return self._shapes[self.find(node)]

    def shape_of(self, root: Term) -> SymbolicShape:
        """Return the shape of a term, which is added."""
        return self.shape(self.add(root))

    def add(self, root: Term) -> int:
        """Add a term with its subterms; raise Unknown when it may be undefined where the rule is defined."""
        known = self._ids.get(root)
        if known is not None:
            return known
        for node in subterms(root):
            if node not in self._ids:
                self._add_node(node)
        return self._ids[root]

    def _add_node(self, node: Term) -> None:
        arguments = tuple(self._ids[argument] for argument in node.args)
        key = (node.operator, node.params, tuple(map(self.find, arguments)))
        same = self._table.get(key)
        shape = self.shape(same) if same is not None else self._shape_of_new(node, arguments)
        number = len(self.terms)
        self._ids[node] = number
        self.terms.append(node)
        self.by_operator[node.operator].append(number)
        self._arguments.append(arguments)
        self._parent.append(number)
        self._members.append([number])
        self._shapes.append(shape)
        self._uses.append([])
        self.clock += 1
        self._changed.append(self.clock)
        self._towards.append(-1)
        self._reason.append(None)
        for argument in set(key[2]):
            self._uses[argument].append(number)
        if same is None:
            self._table[key] = number
        else:
            self._twins.add(number)
            self._union(number, same, None)

    def _shape_of_new(self, node: Term, arguments: tuple[int, ...]) -> SymbolicShape:
        if not node.args and node not in self._leaves:
            raise Unknown(f"the shape of {node}")
        given = [self.shape(argument) for argument in arguments] if node.args else [self._leaves[node]]
        return apply(self.typing, node, given)

    def unite(self, instance: Instance) -> bool:
        """Make the two sides of an instance equal; return whether that is new. Their shapes must be equal."""
        for constant, other in ((instance.left, instance.right), (instance.right, instance.left)):
            if constant.is_constant and constant not in self._leaves:  # a new one: as large as what it equals
                self._leaves[constant] = self._checked(constant, self.shape_of(other))
        left, right = self.add(instance.left), self.add(instance.right)
        if self.find(left) == self.find(right):
            return False
        self.typing.same(self.shape(left), self.shape(right))
        self._union(left, right, instance)
        return True

    def _checked(self, constant: Term, shape: SymbolicShape) -> SymbolicShape:
        return apply(self.typing, constant, [SymbolicShape(shape.dims, (None,) * len(shape.dims))])

    def _union(self, a: int, b: int, reason: Instance | None) -> None:
        pending = [(a, b, reason)]
        while pending:
            a, b, reason = pending.pop()
            small, large = self.find(a), self.find(b)
            if small == large:
                continue
            if len(self._members[small]) > len(self._members[large]):
                small, large, a, b = large, small, b, a
            self._link(a, b, reason)
            self._shapes[large] = _merged(self._shapes[large], self._shapes[small])
            self._parent[small] = large
            self._members[large] += self._members[small]
            self.clock += 1
            self._changed[large] = self.clock
            for user in (*self._uses[large], *self._uses[small]):
                self._changed[self.find(user)] = self.clock
            for user in self._uses[small]:
                term = self.terms[user]
                key = (term.operator, term.params, tuple(map(self.find, self._arguments[user])))
                same = self._table.setdefault(key, user)
                if same != user:
                    self._twins.add(user)
                if self.find(same) != self.find(user):
                    pending.append((user, same, None))
            self._uses[large] += self._uses[small]

    def _link(self, a: int, b: int, reason: Instance | None) -> None:
        """Make a the root of its tree of the forest, and hang it below b."""
        node, towards = a, b
        while node != -1:
            following, previous = self._towards[node], self._reason[node]
            self._towards[node], self._reason[node] = towards, reason
            node, towards, reason = following, node, previous

    def explain(self, a: int, b: int) -> list[Step]:
        """Return a chain of steps from the term of one node to that of another in its class."""
        ancestors = {a: 0}
        node = a
        while (node := self._towards[node]) != -1:
            ancestors[node] = len(ancestors)
        back: list[Step] = []
        node = b
        while node not in ancestors:
            following = self._towards[node]
            back = self._edge(following, node, self._reason[node]) + back
            node = following
        chain: list[Step] = []
        start = a
        while start != node:
            chain += self._edge(start, self._towards[start], self._reason[start])
            start = self._towards[start]
        return _without_detours(chain + back)

    def _edge(self, a: int, b: int, reason: Instance | None) -> list[Step]:
        if reason is not None:
            return [Step(self.terms[a], self.terms[b], reason)]
        steps, current = [], list(self.terms[a].args)
        for place, (old, new) in enumerate(zip(self._arguments[a], self._arguments[b], strict=True)):
            for inner in self.explain(old, new) if old != new else ():
                whole = Term(self.terms[a].operator, self.terms[a].params, current)
                current[place] = inner.after
                steps.append(Step(whole, Term(whole.operator, whole.params, current), inner.instance))
        return steps


class UntypedEGraph(EGraph):
    """An e-graph that admits every term, as the published verifier does: tensors are just values."""

    def __init__(self) -> None:
        """Begin without nodes."""
        super().__init__(Typing(), {})

    def _shape_of_new(self, node: Term, arguments: tuple[int, ...]) -> SymbolicShape:
        return _NO_SHAPE

    def _checked(self, constant: Term, shape: SymbolicShape) -> SymbolicShape:
        return _NO_SHAPE


_NO_SHAPE = SymbolicShape((), ())


def _merged(a: SymbolicShape, b: SymbolicShape) -> SymbolicShape:
    """Return the shape of a joined class: of two split trees, the one that says more."""
    if a.trees == b.trees:
        return a

    def says(tree: Tree) -> int:
        return 0 if tree is None else 2 if isinstance(tree, Cut) else 1

    return SymbolicShape(a.dims, tuple(max(pair, key=says) for pair in zip(a.trees, b.trees, strict=True)))


def _without_detours(chain: list[Step]) -> list[Step]:
    """Drop the steps between two visits of the same term."""
    kept: list[Step] = []
    places: dict[Hashable, int] = {}
    for step in chain:
        if step.before in places:
            del kept[places[step.before] :]
            places = {before.before: place for place, before in enumerate(kept)}
        places[step.before] = len(kept)
        kept.append(step)
    return kept
