"""Rules on very many random instances, and what both verifiers say about mutants of rules.

Paper: TASO §3. `campaign` computes a rule in the finite field, on floats and on exact integers with true relu and max,
with tensors in random orders in memory. A mutant that is proved and refuted is a defect of one of the verifiers.

>>> from taso_mini.rules_text import parse_rules
>>> rule, = parse_rules('''
... rule relu-of-sum
...   variables x1: tensor, x2: tensor
...   source    relu(add(x1, x2))
...   target    add(relu(x1), relu(x2))
... ''')
>>> found = campaign(rule, instances=10)
>>> min(found.wrong["float64"], found.wrong["integers"]) > 0
True
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from taso_mini.arithmetic import Arithmetic, Floats
from taso_mini.conditions import holds
from taso_mini.exact_arithmetic import ExactNumbers, exact_for
from taso_mini.mutants import Mutant
from taso_mini.operator_set import CONVOLUTIONS, Plan
from taso_mini.proving import prove
from taso_mini.shape_classes import GROUP_CLASSES
from taso_mini.shapes import Shape
from taso_mini.terms import Substitution, subterms
from taso_mini.testing import Sample, bound_plan, draw_samples, drawn
from taso_mini.verdicts import Judgement, Prove, compare

_BATCH = 48  # half the number of shapes drawn at a time, at most
_ROUNDS = 10  # give up after so many times the batches that should have been enough


def judge_mutant(mutant: Mutant, *, prove: Prove = prove, seed: int = 0) -> Judgement:
    """Judge a mutant without the conditions of the rule it comes from.

    A few tests refute most; what they do not refute is tested on many more shapes and parameters.
    """
    rule = replace(mutant.rule, conditions=())
    found = compare(rule, prove=prove, seed=seed, draws=4)
    if found.test.kind == "refuted":
        return found
    draws = 60 if found.test.total else 12  # few, where hardly any shapes fit
    return compare(rule, prove=lambda _: found.proof, seed=seed + 1, draws=draws)


@dataclass
class Campaign:
    """What very many instances say about one rule.

    Attributes:
        instances: how many were computed: source and target defined, conditions true.
        large: how many of them were large.
        groups: how many in each class of grouped convolutions.
        wrong: how many were wrong in each arithmetic.
        refused: exact computations that do not fit in 64 bits; they count in no arithmetic.
        counterexample: the first wrong instance.
    """

    rule: Substitution
    instances: int = 0
    large: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    counterexample: Sample | None = None


def campaign(rule: Substitution, *, instances: int = 1000, seed: int = 0) -> Campaign:
    """Compute a rule on at least so many random instances, evenly from all classes of groups that it allows."""
    rng, result = np.random.default_rng([seed, *rule.name.encode()]), Campaign(rule)
    convolves = any(node.operator in CONVOLUTIONS for node in subterms(*rule.source))
    classes = [c for c in GROUP_CLASSES if any(_usable(rule, rng, c, 8))] if convolves else []
    classes = classes or list(GROUP_CLASSES[:1])
    draws = min(-(-instances // (2 * len(classes))), _BATCH)
    for _ in range(_ROUNDS * -(-instances // (2 * draws * len(classes)))):
        for group_class in classes:
            for sample in _usable(rule, rng, group_class, draws):
                _compute(result, sample, rng)
        if result.instances >= instances:
            break
    return result


def _usable(rule: Substitution, rng: np.random.Generator, group_class: int | str, draws: int) -> Iterator[Sample]:
    """Yield the samples at which a rule applies."""
    for sample in draw_samples(rule.source, rule.target, rng=rng, draws=draws, group_classes=(group_class,), many=True):
        if sample.defined and all(holds(condition, sample.shapes, sample.params) for condition in rule.conditions):
            yield sample


def _compute(result: Campaign, sample: Sample, rng: np.random.Generator) -> None:
    """Count one more instance."""
    rule = result.rule
    steps = bound_plan(rule.source, rule.target, tuple(sample.params.items()))
    known = steps.shapes(sample.shapes)
    result.instances += 1
    result.large += sample.large
    result.groups[str(sample.groups)] += 1
    verdicts = {"finite field": sample.equal, "float64": _agree(steps, known, sample, Floats(), rng)}
    exact = exact_for(steps.roots)
    for unit in (exact.unit, exact.unit**2):  # the square for what is averaged once and multiplied with itself
        try:
            verdicts["integers"] = _agree(steps, known, sample, ExactNumbers(unit, most=exact.most), rng)
            break
        except ArithmeticError:
            continue
    result.refused += "integers" not in verdicts
    for name, equal in verdicts.items():
        result.wrong[name] += not equal
        if not equal and result.counterexample is None:
            result.counterexample = sample


def _agree(
    steps: Plan, known: Sequence[Shape], sample: Sample, arithmetic: Arithmetic, rng: np.random.Generator
) -> bool:
    """Compare both sides on random inputs whose axes lie in memory in random order."""
    inputs = {
        name: value if isinstance(value, Shape) else _rearranged(value, rng)
        for name, value in drawn(steps, sample.shapes, rng, arithmetic).items()
    }
    values = steps.values(inputs, known, arithmetic)
    half = len(values) // 2
    return all(map(arithmetic.equal, values[:half], values[half:]))


def _rearranged(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if np.ndim(value) < 2:
        return value
    order = rng.permutation(value.ndim)
    return np.ascontiguousarray(value.transpose(order)).transpose(np.argsort(order))


def campaigns(
    rules: Sequence[Substitution], *, instances: int = 1000, seed: int = 0, executor: Executor | None = None
) -> Iterator[Campaign]:
    """Run a campaign for each rule, by an executor if one is given; results do not depend on it."""
    run = partial(campaign, instances=instances, seed=seed)
    yield from map(run, rules) if executor is None else executor.map(run, rules, chunksize=4)
