"""Check a proof again, without the search that found it.

Paper: TASO §3. A certificate is a list of ground instances of axioms. `is_instance` matches each against its axiom;
`Certifier` asks Z3 whether the outputs are equal in consequence of the instances, which needs neither quantifiers nor
search: operators are uninterpreted functions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import z3

from taso_mini.axioms import Axiom
from taso_mini.proving.egraph import Instance
from taso_mini.terms import Params, Term, is_parameter_variable, subterms


def is_instance(instance: Instance, axiom: Axiom) -> bool:
    """Whether the two sides arise from the axiom's by putting terms for variables.

    >>> from taso_mini.axioms import AXIOMS
    >>> from taso_mini.terms import term, variable
    >>> x, y = variable("x1", "tensor"), variable("x2", "tensor")
    >>> commutes = next(axiom for axiom in AXIOMS if axiom.name == "add-commutes")
    >>> is_instance(Instance("add-commutes", term("add", x, y), term("add", y, x)), commutes)
    True
    >>> is_instance(Instance("add-commutes", term("add", x, y), term("add", x, y)), commutes)
    False
    """
    binding: dict[Hashable, Hashable] = {}
    return _fits(axiom.left, instance.left, binding) and _fits(axiom.right, instance.right, binding)


def _fits(pattern: Term, term: Term, binding: dict[Hashable, Hashable]) -> bool:
    if pattern.is_variable:
        return binding.setdefault(pattern, term) is term
    if pattern.operator != term.operator or len(pattern.args) != len(term.args):
        return False
    if [name for name, _ in pattern.params] != [name for name, _ in term.params]:
        return False
    for (_, wanted), (_, value) in zip(pattern.params, term.params, strict=True):
        if (binding.setdefault(wanted, value) if is_parameter_variable(wanted) else wanted) != value:
            return False
    return all(_fits(inner, argument, binding) for inner, argument in zip(pattern.args, term.args, strict=True))


class Certifier:
    """Z3 as the judge of certificates; terms are translated once."""

    def __init__(self) -> None:
        """Make a solver for equations between terms without quantifiers."""
        self._context = z3.Context()
        self._tensor = z3.DeclareSort("Tensor", self._context)
        self._functions: dict[tuple[str, Params, int], z3.FuncDeclRef] = {}
        self._known: dict[Term, z3.ExprRef] = {}
        self._solver = z3.SimpleSolver(ctx=self._context)

    def certifies(self, instances: Sequence[Instance], old: Term, new: Term) -> bool:
        """Whether the two terms are equal if the sides of all instances are."""
        self._solver.push()
        for instance in instances:
            self._solver.add(self._term(instance.left) == self._term(instance.right))
        self._solver.add(self._term(old) != self._term(new))
        answer = self._solver.check()
        self._solver.pop()
        return bool(answer == z3.unsat)

    def _term(self, root: Term) -> z3.ExprRef:
        for node in subterms(root):
            if node not in self._known:
                key = (node.operator, node.params, len(node.args))
                if key not in self._functions:
                    name = f"{node.operator}{node.params}"
                    self._functions[key] = z3.Function(name, *[self._tensor] * (len(node.args) + 1))
                self._known[node] = self._functions[key](*(self._known[argument] for argument in node.args))
        return self._known[root]
