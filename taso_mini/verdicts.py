"""What both verifiers say about a rule, side by side.

Paper: TASO §3. The prover derives a rule from axioms and states its conditions; the tester computes both sides with
the operators' implementations wherever these conditions hold. Neither knows the other. What one proves and the other
refutes is a fault of this project, never of the rule, and stops the build.

>>> from taso_mini.rules_text import parse_rules
>>> true, false = parse_rules('''
... rule associates
...   variables x: matrix, y: matrix, z: matrix
...   source    matmul(matmul(x, y), z)
...   target    matmul(x, matmul(y, z))
... rule commutes
...   variables x: matrix, y: matrix
...   source    matmul(x, y)
...   target    matmul(y, x)
... ''')
>>> judge(true).kind, judge(false).kind
('proved', 'refuted')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from taso_mini.identity_testing import IdentityVerdict, check_identity
from taso_mini.proving import Verdict, prove
from taso_mini.shape_classes import GROUP_CLASSES, GroupClass
from taso_mini.terms import Substitution

Prove = Callable[[Substitution], Verdict]

KINDS = ("proved", "proved under conditions", "unknown", "refuted", "degenerate")


class Disagreement(AssertionError):
    """One rule was proved and refuted: an axiom, the prover or the tester is wrong."""


@dataclass(frozen=True)
class Judgement:
    """Both verdicts on a rule.

    Attributes:
        rule: with the conditions that its proof asks for, if it was proved.
        proof, test: the prover's and the tester's verdict, the latter under those conditions.
    """

    rule: Substitution
    proof: Verdict
    test: IdentityVerdict

    @property
    def kind(self) -> str:
        """One of `KINDS`; `degenerate` passed only tests too small to mean anything."""
        if self.test.kind == "refuted":
            return "refuted"
        if self.test.kind in ("degenerate", "untyped"):
            return "degenerate"
        return self.proof.kind if self.proof.proved else "unknown"

    @property
    def usable(self) -> bool:
        """Whether both verifiers accept the rule."""
        return self.kind.startswith("proved")

    @property
    def contradiction(self) -> bool:
        """Whether one verifier proves what the other refutes."""
        return self.proof.proved and self.test.kind == "refuted"

    def __str__(self) -> str:
        """Return one line with both verdicts."""
        return f"{self.kind}: {self.rule.name}; proof: {self.proof.kind}; tests: {self.test}"


def compare(
    rule: Substitution,
    *,
    prove: Prove = prove,
    seed: int = 0,
    draws: int = 12,
    group_classes: Sequence[GroupClass] = GROUP_CLASSES,
) -> Judgement:
    """Prove a rule, and test it under the proof's conditions (its own, if there is no proof)."""
    proof = prove(rule)
    if proof.proved:
        rule = replace(rule, conditions=proof.conditions)
    test = check_identity(
        rule.source, rule.target, rule.conditions, seed=seed, draws=draws, group_classes=group_classes
    )
    return Judgement(rule, proof, test)


def judge(
    rule: Substitution,
    *,
    prove: Prove = prove,
    seed: int = 0,
    draws: int = 12,
    group_classes: Sequence[GroupClass] = GROUP_CLASSES,
) -> Judgement:
    """Do the same, and do not go on after a contradiction.

    Raises: Disagreement: it is proved, and wrong where its conditions hold.
    """
    found = compare(rule, prove=prove, seed=seed, draws=draws, group_classes=group_classes)
    if found.contradiction:
        proved = f"is proved by {', '.join(found.proof.axioms)}"
        raise Disagreement(f"{found.rule}\n{proved}\nand wrong at {found.test.counterexample}")
    return found
