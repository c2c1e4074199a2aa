"""Prove substitutions from the axioms with Z3: the paper's way, to read and to compare with `taso_mini.proving`.

Paper: TASO §3. Tensors are an uninterpreted sort, an operator is an uninterpreted function of its parameters and
arguments, and an axiom is a universally quantified equation. To prove a rule, each output's source is asserted to
differ from its target, with fresh constants for the variables; `unsat` is the proof. Two departures from the paper:

* Every axiom carries its sides as triggers, and Z3 instantiates by these alone (e-matching, no model search). A rule
  that cannot be proved is then answered `unknown` at once, where the default strategy runs for ever.
* Axioms about ungrouped convolutions are added only when the proof fails without them, and the rule inherits their
  condition. Axioms with other conditions are left out: which instance of them was used Z3 does not tell.

The axioms speak of untyped tensors; that both sides are defined is `conditions.applicable`'s concern. `unknown` stays
unknown: such a rule is not shipped.

>>> from taso_mini.rules_text import parse_term
>>> kinds = {"x": "matrix", "y": "matrix", "z": "matrix"}
>>> both = [parse_term(t, kinds) for t in ("matmul(add(x, y), z)", "add(matmul(x, z), matmul(y, z))")]
>>> Verifier().prove(both[:1], both[1:]).verdict
'proved'
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import z3

from taso_mini.axioms import AXIOMS, LEMMAS, Axiom
from taso_mini.conditions import ungrouped
from taso_mini.terms import Params, Term, is_parameter_variable, subterms


@dataclass(frozen=True)
class Proof:
    """The outcome of a proof attempt: `proved` or `unknown`, the axioms used, and the conditions they bring."""

    verdict: str
    axioms: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


class Verifier:
    """A prover for one set of axioms; the axioms are translated once."""

    def __init__(self, axioms: Sequence[Axiom] = AXIOMS + LEMMAS, *, effort: int = 3_000_000) -> None:
        """Translate the axioms; give up on one output after `effort` (Z3's `rlimit`: the same on every machine)."""
        self._context = z3.Context()
        self._tensor = z3.DeclareSort("Tensor", self._context)
        self._parameter = z3.DeclareSort("Parameter", self._context)
        self._functions: dict[tuple[str, int, int], z3.FuncDeclRef] = {}
        self._constants: dict[Hashable, z3.ExprRef] = {}
        self._effort = effort
        self._tiers: list[list[Axiom]] = [[], []]  # without side conditions, and with that of no groups
        self._formulas: dict[str, z3.BoolRef] = {}
        for axiom in axioms:
            self.add(axiom)

    def add(self, axiom: Axiom) -> None:
        """Let later proofs use one more axiom, unless it has conditions that cannot be told from a rule's source."""
        if not all(condition.startswith("groups(") for condition in axiom.conditions):
            return
        self._formulas[axiom.name] = self._formula(axiom)
        for tier in self._tiers[1:] if axiom.conditions else self._tiers:
            tier.append(axiom)

    def prove(self, source: Sequence[Term], target: Sequence[Term]) -> Proof:
        """Try to prove that each source output equals its target output."""
        conditional = len(self._tiers[1]) > len(self._tiers[0])
        for tier, axioms in enumerate(self._tiers[: 1 + conditional]):
            used: set[str] = set()
            for old, new in zip(source, target, strict=True):
                core = self._prove_one(old, new, axioms)
                if core is None:
                    break
                used |= core
            else:
                conditions = ungrouped(source) if tier else ()
                return Proof("proved", tuple(axiom.name for axiom in axioms if axiom.name in used), conditions)
        return Proof("unknown")

    def _prove_one(self, old: Term, new: Term, axioms: Sequence[Axiom]) -> set[str] | None:
        """Return the names of axioms from which old = new follows, or None."""
        solver = z3.Solver(ctx=self._context)
        solver.set("rlimit", self._effort)
        solver.set("auto_config", False)
        solver.set("mbqi", False)
        solver.set("random_seed", 0)
        for axiom in axioms:
            solver.assert_and_track(self._formulas[axiom.name], axiom.name)
        solver.add(self._term(old, {}) != self._term(new, {}))
        if solver.check() != z3.unsat:
            return None
        return {str(name) for name in solver.unsat_core()}

    def _formula(self, axiom: Axiom) -> z3.BoolRef:
        """Return the axiom as a quantified formula with its sides as triggers."""
        bound: dict[Hashable, z3.ExprRef] = {
            v: z3.Const(f"{axiom.name}.{v.name}", self._tensor) for v in axiom.variables
        }
        sides = (axiom.left, axiom.right)
        wanted = _quantified(*sides)
        for value in wanted:
            if isinstance(value, str):
                bound[value] = z3.Const(f"{axiom.name}.{value}", self._parameter)
        left, right = (self._term(side, bound) for side in sides)
        triggers = [self._trigger(side, bound, wanted) for side in sides]
        patterns = [trigger for trigger in triggers if trigger is not None]
        return z3.ForAll(list(bound.values()), left == right, patterns=patterns) if bound else left == right

    def _trigger(self, side: Term, bound: dict[Hashable, z3.ExprRef], wanted: set[Hashable]) -> z3.PatternRef | None:
        """Return the side as a trigger, or None when it does not mention every quantified name."""
        if side.is_variable or _quantified(side) != wanted:
            return None
        return z3.MultiPattern(self._term(side, bound))

    def _term(self, root: Term, bound: dict[Hashable, z3.ExprRef]) -> z3.ExprRef:
        """Translate a term; names not in `bound` become constants."""
        known: dict[Term, z3.ExprRef] = {}
        for node in subterms(root):
            if node.is_variable:
                known[node] = bound[node] if node in bound else self._constant(("variable", node.name), self._tensor)
            else:
                params = [self._parameter_value(value, bound) for _, value in node.params]
                known[node] = self._function(node.operator, node.params, len(node.args))(
                    *params, *(known[argument] for argument in node.args)
                )
        return known[root]

    def _parameter_value(self, value: Hashable, bound: dict[Hashable, z3.ExprRef]) -> z3.ExprRef:
        return bound[value] if value in bound else self._constant(("parameter", value), self._parameter)

    def _constant(self, key: tuple[str, Hashable], sort: z3.SortRef) -> z3.ExprRef:
        if key not in self._constants:
            self._constants[key] = z3.Const(f"{key[0]}:{key[1]}", sort)
        return self._constants[key]

    def _function(self, operator: str, params: Params, arity: int) -> z3.FuncDeclRef:
        key = (operator, len(params), arity)
        if key not in self._functions:
            sorts = [self._parameter] * len(params) + [self._tensor] * (arity + 1)
            self._functions[key] = z3.Function(operator, *sorts)
        return self._functions[key]


def _quantified(*sides: Term) -> set[Hashable]:
    """Return the variables and parameter variables that occur."""
    nodes = list(subterms(*sides))
    names: set[Hashable] = {node for node in nodes if node.is_variable}
    return names | {
        value for node in nodes if not node.is_variable for _, value in node.params if is_parameter_variable(value)
    }
