"""The second verifier: a rule against the operators' own implementations, by identity testing over a finite field.

Paper: TASO §3, which "relies on user provided operator properties". A proof is as good as its axioms; this verifier
asks no axiom. It computes both sides of a rule with the operators' definitions and compares.

What is tested. Shapes and parameters are drawn in every class of grouped convolutions (1, 2, 4, depthwise, mixed), half
of them so that the source is defined and nothing more, and at every shape at which the target is defined too and the
rule's conditions hold, both sides are computed on random elements of the field of integers modulo p = 2**31 - 1. A
verdict counts such tests by class. If none had batches, channels and matrices of 2 at least, images of 3 x 3 at least
and a window larger than one element, the verdict is `degenerate`: tests at lengths of 1 hide nearly everything.

What a passed test means. Without relu and max both sides are polynomials in the inputs' elements, of degree D at most
the number of leaves of the larger side. If they differ at a shape, they agree at a random point with probability at
most D / p (Schwartz and Zippel), which is the verdict's `bound`, some 4e-9 for each shape. Relu and max are hashes
here: what holds for these as it would for random functions holds for the true ones, and each pair of different
arguments adds a chance of about 1 / p that they meet. That argues about the hash as if it were random; it is no proof.
What is true only for real relu or max, such as relu(relu(x)) = relu(x), is refuted here.

What is argued for all shapes. (i) Batches, channels, matrix lengths: to set a slice to 0 is to leave it out, since
relu(0) = 0; so if no product of the two polynomials touches more than r indices of an axis (r is at most the number of
leaves that carry it), equality up to length r gives equality at all lengths. In grouped convolutions leave out whole
groups, or the same channel of every group. (ii) Height and width: an output sees the border only up to the windows'
total radius R, so sizes up to 2 R + stride, with all remainders, stand for all sizes. Drawn are batches up to 6,
channels up to 24, matrices up to 10 and images up to 6 high and wide, more where tensors are concatenated: lengths
beyond the r of nearly all rules, at random points of that box. The argument itself is not machine-checked.

>>> from taso_mini.rules_text import parse_term
>>> kinds = {"x": "matrix", "y": "matrix", "z": "matrix"}
>>> left, right = (parse_term(t, kinds) for t in ("matmul(add(x, y), z)", "add(matmul(x, z), matmul(y, z))"))
>>> verdict = check_identity([left], [right])
>>> verdict.kind, verdict.total, verdict.bound < 2e-9
('equal', 80, True)
>>> print(check_identity([left], [parse_term("add(matmul(x, z), matmul(x, z))", kinds)]))
refuted at shapes={'x': (1, 1), 'y': (1, 1), 'z': (1, 1)}, params={}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from taso_mini.arithmetic import FiniteField
from taso_mini.conditions import holds
from taso_mini.counterexamples import smallest_counterexample
from taso_mini.shape_classes import GROUP_CLASSES, GroupClass
from taso_mini.terms import Substitution, Term
from taso_mini.testing import Sample, draw_samples

LARGE_TESTS = 3  # a rule passes only if so many of its tests were large


@dataclass(frozen=True)
class IdentityVerdict:
    """What testing says about a rule under its conditions.

    Attributes:
        kind: `equal`, `refuted` (see `counterexample`), `degenerate` (equal, but hardly a large test among them) or
            `untyped` (no shapes found at which both sides are defined and the conditions hold).
        tests: shapes at which both sides were compared, by class of groups.
        large: how many of them were large.
        undefined: shapes at which source and conditions ask for the rule but the target is not defined: the optimizer
            must check that before it applies the rule.
        bound: the probability that one test misses a difference.
        counterexample: the smallest shapes found at which the sides differ.
    """

    kind: str
    tests: Mapping[GroupClass, int] = field(default_factory=dict)
    large: int = 0
    undefined: int = 0
    bound: float = 0.0
    counterexample: Sample | None = None

    @property
    def total(self) -> int:
        """The number of comparisons."""
        return sum(self.tests.values())

    def __str__(self) -> str:
        """Return one line."""
        if self.kind == "refuted":
            return f"refuted at {self.counterexample}"
        text = f"{self.kind} on {self.total} tests, {self.large} of them large"
        if len(self.tests) > 1:
            text += " (" + ", ".join(f"groups {name}: {count}" for name, count in self.tests.items()) + ")"
        return text + f"; each differs unnoticed with probability at most {self.bound:.1e}"


def leaf_count(root: Term) -> int:
    """Return how many leaves a term has when it is written out: its degree as a polynomial is at most that.

    >>> from taso_mini.rules_text import parse_term
    >>> leaf_count(parse_term("mul(add(x, y), add(x, y))", {"x": "tensor", "y": "tensor"}))
    4
    """
    return sum(leaf_count(argument) for argument in root.args) if root.args else 1


def error_bound(source: Sequence[Term], target: Sequence[Term], *, modulus: int = FiniteField().modulus) -> float:
    """Return the probability, at most, that different sides have equal values at a random point of the field."""
    return max(leaf_count(root) for root in (*source, *target)) / modulus


def check_identity(
    source: Sequence[Term],
    target: Sequence[Term],
    conditions: Sequence[str] = (),
    *,
    seed: int = 0,
    draws: int = 40,
    group_classes: Sequence[GroupClass] = GROUP_CLASSES,
) -> IdentityVerdict:
    """Test that each source output equals its target output wherever both are defined and the conditions hold.

    Args:
        source: the outputs that a rule replaces.
        target: their replacements, in the same order.
        conditions: as in `Substitution`.
        seed: of shapes, parameters and values.
        draws: half the number of shapes drawn per class of groups.
        group_classes: which classes of grouped convolutions.
    """
    samples = draw_samples(source, target, rng=np.random.default_rng(seed), draws=draws, group_classes=group_classes)
    return verdict(source, target, conditions, samples, seed=seed)


def verdict(
    source: Sequence[Term],
    target: Sequence[Term],
    conditions: Sequence[str],
    samples: Sequence[Sample],
    *,
    seed: int = 0,
) -> IdentityVerdict:
    """Return what samples say about a rule."""
    meant = [s for s in samples if all(holds(condition, s.shapes, s.params) for condition in conditions)]
    compared = [s for s in meant if s.defined]
    wrong = next((s for s in compared if not s.equal), None)
    found = IdentityVerdict(
        "equal",
        dict(Counter(s.groups for s in compared)),
        sum(s.large for s in compared),
        len(meant) - len(compared),
        error_bound(source, target),
    )
    if wrong is not None:
        return replace(
            found, kind="refuted", counterexample=smallest_counterexample(source, target, conditions, wrong, seed=seed)
        )
    if not compared:
        return replace(found, kind="untyped")
    return found if found.large >= LARGE_TESTS else replace(found, kind="degenerate")


def find_refutation(rule: Substitution, *, seed: int = 0, draws: int = 20) -> Sample | None:
    """Return the smallest shapes found at which a rule is wrong although its conditions hold, or None."""
    found = check_identity(rule.source, rule.target, rule.conditions, seed=seed, draws=draws)
    return found.counterexample
