"""Which rules of another system are in a rule set of ours, literally or as a consequence.

Paper: TASO §4. A published rule is covered when a rule of ours is

    same        equal up to names of variables, operand order, order of outputs and direction;
    instance    more general: with terms in place of its variables it is the published one;
    derived     with at most one other application of our rules, enough to get from source to target.

Variables are compared without their kinds, as the published files have none. A rule that is wrong as it stands, on some
shapes at which both sides are defined, cannot be covered; `wrong` finds the smallest such shapes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taso_mini.canonical import Pair, canonical_key
from taso_mini.derivation import Chain, Deriver, Identity, Law
from taso_mini.identity_testing import check_identity
from taso_mini.instances import is_instance
from taso_mini.terms import Substitution, Term, rewrite, variable
from taso_mini.testing import Sample

HOW = ("same", "instance", "derived", "missing")


@dataclass(frozen=True)
class Covered:
    """How one rule is covered (one of `HOW`), by which rules of ours, and the chain where it is derived."""

    rule: Law
    how: str
    by: tuple[str, ...] = ()
    chain: Chain | None = None

    def __str__(self) -> str:
        """Return one line, or the chain below it."""
        head = f"{self.rule.name}: {self.how} {', '.join(self.by)}".rstrip()
        return f"{head}\n{self.chain}" if self.chain else head


def _untyped(law: Law) -> Identity:
    """Return the rule with variables of any kind."""

    def change(node: Term) -> Term | None:
        return variable(node.name, "tensor") if node.is_variable else None

    sides = [tuple(rewrite(root, change) for root in side) for side in (law.source, law.target)]
    return Identity(law.name, sides[0], sides[1], law.conditions)


def cover(published: Iterable[Law], ours: Sequence[Law], *, applications: int = 2) -> tuple[Covered, ...]:
    """Tell for each published rule how our rules cover it, in the order given.

    Args:
        published: rules to look for.
        ours: rules to look in; `Substitution`s, or `Identity`s for undirected rules.
        applications: how many applications of our rules a derivation may have.

    >>> from taso_mini.rules_text import parse_rules
    >>> ours = parse_rules("rule m\\n variables x: matrix, y: matrix, z: matrix\\n"
    ...                    " source matmul(matmul(x, y), z)\\n target matmul(x, matmul(y, z))")
    >>> theirs = parse_rules("rule p\\n variables x: matrix, y: matrix\\n"
    ...                      " source matmul(y, matmul(y, x))\\n target matmul(matmul(y, y), x)")
    >>> print(*cover(theirs, ours))
    p: instance m
    """
    untyped = [_untyped(law) for law in ours]
    forms: dict[str, str] = {}
    by_roots: dict[tuple[str, ...], list[Identity]] = defaultdict(list)
    for law in untyped:
        forms.setdefault(canonical_key((law.source, law.target), blind=True), law.name)
        by_roots[_roots((law.source, law.target))].append(law)
    deriver = Deriver(untyped)
    return tuple(_cover(_untyped(law), law, forms, by_roots, deriver, applications) for law in published)


def _cover(
    law: Identity,
    original: Law,
    forms: dict[str, str],
    by_roots: dict[tuple[str, ...], list[Identity]],
    deriver: Deriver,
    applications: int,
) -> Covered:
    pair = law.source, law.target
    same = forms.get(canonical_key(pair, blind=True))
    if same is not None:
        return Covered(original, "same", (same,))
    general = next((other for other in by_roots[_roots(pair)] if is_instance(pair, (other.source, other.target))), None)
    if general is not None:
        return Covered(original, "instance", (general.name,))
    chain = deriver.derive(pair, applications=applications)
    if chain is not None:
        return Covered(original, "derived", tuple(str(step) for step in chain.steps), chain)
    return Covered(original, "missing")


def _roots(pair: Pair) -> tuple[str, ...]:
    """Return the operators of all outputs; equal for a rule and its instances, unless an output is a variable."""
    return tuple(sorted(root.operator for side in pair for root in side))


def missing(published: Iterable[Law], ours: Sequence[Law]) -> tuple[Law, ...]:
    """Return the published rules that ours neither hold, up to names, direction and generality, nor derive."""
    return tuple(covered.rule for covered in cover(published, ours) if covered.how == "missing")


def wrong(rule: Substitution, *, seed: int = 0, draws: int = 12) -> Sample | None:
    """Return the smallest shapes found at which a rule is wrong with no more conditions than it states, or None.

    `taso_mini.counterexamples.as_code` makes a program of them.
    """
    found = check_identity(rule.source, rule.target, rule.conditions, seed=seed, draws=draws)
    if found.kind == "untyped":  # kernels of one input channel, as pool kernels are
        found = check_identity(
            rule.source, rule.target, rule.conditions, seed=seed, draws=draws, group_classes=("depthwise",)
        )
    return found.counterexample
