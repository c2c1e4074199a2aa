"""From profiles to proved rules: enumerate, prune, test, prove, generalise, test again.

Paper: TASO §2.2, §3 and §4 in the order in which they are run. Input: profiles and a seed. Output: substitutions and a
funnel that counts what each step kept and why the rest was dropped.

1. Enumerate each profile and pair graphs of equal fingerprint.
2. Prune (see `pruning`).
3. Test on other shapes and values, without groups; a candidate that differs anywhere is *refuted*.
4. Prove with Z3; what it cannot prove is *unknown* and dropped.
5. Generalise: replace strides, padding, dilations, window and axis by a parameter variable, one after the other, as
   long as the rule is still proved and passes the tests.
6. Test on grouped convolutions and state the conditions; a rule that is wrong where they hold is *refuted*.
7. Direct it: both directions are rules, if the source binds everything the target uses.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from taso_mini.conditions import holds, ungrouped
from taso_mini.generator import Pair, Profile, enumerate_terms, equal_pairs
from taso_mini.pruning import canonical, drop_consequences, drop_instances, shares_output_operator
from taso_mini.terms import Substitution, Term, parameter_variables, rewrite, subterms, variables
from taso_mini.testing import Sample, draw_samples, find_conditions, float_test
from taso_mini.verifier import Proof, Verifier

_VARIABLE_OF = {"axis": "a", "strides": "s", "dilations": "d", "padding": "p", "kernel": "k"}
_LARGE_TESTS = 3  # a rule must have been computed on that many shapes without lengths of 1
_ROUNDS = 5  # draw again so many times while too few of them were large


@dataclasses.dataclass
class Funnel:
    """How many candidates each step left, in order, and how many were dropped for which reason."""

    kept: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)

    def __str__(self) -> str:
        """Return one line per step."""
        lines = [f"{count:8d}  {step}" for step, count in self.kept.items()]
        lines += [f"{count:8d}  dropped: {reason}" for reason, count in sorted(self.dropped.items())]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What testing and proving say about an undirected rule."""

    kind: str  # "proved", "refuted", "unknown", "degenerate"
    proof: Proof = Proof("unknown")
    conditions: tuple[str, ...] = ()
    tests: int = 0
    counterexample: Sample | None = None


def judge(source: Sequence[Term], target: Sequence[Term], verifier: Verifier, *, rng: np.random.Generator,
          draws: int = 12) -> Verdict:
    """Test and prove one rule in one direction; conditions are what this direction needs."""
    samples: list[Sample] = []
    for _ in range(_ROUNDS):
        samples += draw_samples(source, target, rng=rng, draws=draws, group_classes=(1,))
        if sum(s.large and s.equal for s in samples) >= _LARGE_TESTS:
            break
    plain = [s for s in samples if s.defined and all(holds(c, s.shapes, s.params) for c in ungrouped(source))]
    wrong = next((s for s in plain if not s.equal), None)
    if wrong is not None:
        return Verdict("refuted", counterexample=wrong)
    proof = verifier.prove(source, target)
    if proof.verdict != "proved":
        return Verdict("unknown", proof)
    samples += draw_samples(source, target, rng=rng, draws=draws, group_classes=(2, 3)) if ungrouped(source) else []
    allowed = [s for s in samples if s.defined and all(holds(c, s.shapes, s.params) for c in proof.conditions)]
    wrong = next((s for s in allowed if not s.equal), None)
    if wrong is not None or not float_test(source, target, allowed, rng=rng):
        return Verdict("refuted", proof, counterexample=wrong)
    if sum(s.large for s in allowed) < _LARGE_TESTS:
        return Verdict("degenerate", proof)
    return Verdict("proved", proof, find_conditions(samples, source, proof.conditions), len(allowed))


def candidates(profiles: Sequence[Profile], funnel: Funnel, *, seed: int) -> list[Pair]:
    """Enumerate the profiles and prune; return undirected rules in normal form, small ones first."""
    found: dict[str, Pair] = {}
    totals = Counter({"tensors evaluated": 0, "equal pairs": 0, "in order, no common output operator": 0})
    for number, profile in enumerate(profiles):
        enumeration = enumerate_terms(profile, rng=np.random.default_rng([seed, number]))
        totals["tensors evaluated"] += enumeration.count
        for pair in equal_pairs(enumeration):
            totals["equal pairs"] += 1
            if _named_in_order(pair, profile) and not shares_output_operator(pair) and any(_directions(pair)):
                totals["in order, no common output operator"] += 1
                form = canonical(pair)
                found.setdefault(str(form), form)
    funnel.kept.update(totals)
    funnel.kept["distinct up to renaming"] = len(found)
    kept = drop_instances(found.values())
    funnel.kept["not an instance of another"] = len(kept)
    return kept


def _named_in_order(pair: Pair, profile: Profile) -> bool:
    """Whether the used variables of each kind and shape are the profile's first ones: other names are renamings."""
    used = set(variables(*pair[0], *pair[1]))
    skipped = set()
    for v, dims in profile.inputs:
        if v not in used:
            skipped.add((v.kind, dims))
        elif (v.kind, dims) in skipped:
            return False
    return True


def _directions(pair: Pair) -> Iterator[Pair]:
    """Yield the directions in which the source binds every variable and is more than a variable.

    A rule whose outputs could be replaced one by one is no rule of its own.
    """
    for source, target in (pair, pair[::-1]):
        separable = len(source) > 1 and all(
            set(variables(new)) <= set(variables(old)) for old, new in zip(source, target, strict=True))
        bound = set(variables(*target)) <= set(variables(*source))
        if bound and not separable and not any(output.is_variable for output in source):
            yield source, target


def generalise(pair: Pair, verifier: Verifier, *, rng: np.random.Generator) -> Pair:
    """Replace each concrete parameter by a variable where the rule stays proved and passes the tests."""
    for name, letter in _VARIABLE_OF.items():
        values = {node.param(name) for node in subterms(*pair[0], *pair[1])
                  if not node.is_variable and node.param(name) is not None}
        if len(values) != 1:
            continue
        wider = tuple(tuple(_with_parameter(output, name, letter) for output in side) for side in pair)
        bound = set(parameter_variables(*wider[1])) <= set(parameter_variables(*wider[0]))
        if bound and judge(wider[0], wider[1], verifier, rng=rng).kind == "proved":
            pair = (wider[0], wider[1])
    return pair


def _with_parameter(root: Term, name: str, value: str) -> Term:
    def change(node: Term) -> Term | None:
        if node.is_variable or node.param(name) is None:
            return None
        return Term(node.operator, ((k, value if k == name else v) for k, v in node.params), node.args)

    return rewrite(root, change)


def generate(profiles: Sequence[Profile], *, seed: int) -> tuple[list[Substitution], Funnel]:
    """Generate, prove and name the rules of some profiles; the same seed gives the same rules."""
    funnel, verifier = Funnel(), Verifier()
    proved: dict[str, Pair] = {}
    for index, pair in enumerate(candidates(profiles, funnel, seed=seed)):
        rng = np.random.default_rng([seed, 1, index])
        direction = next(_directions(pair))
        kind = judge(*direction, verifier, rng=rng).kind
        if kind != "proved":
            funnel.dropped[kind] += 1
            continue
        wider = canonical(generalise(direction, verifier, rng=rng))
        proved.setdefault(str(wider), wider)
    funnel.kept["proved, parameters generalised"] = len(proved)
    general = drop_instances(proved.values())
    funnel.kept["still not an instance of another"] = len(general)
    general = drop_consequences(general)
    funnel.kept["no consequence of smaller ones"] = len(general)
    rules: list[Substitution] = []
    names: Counter[str] = Counter()
    for index, pair in enumerate(general):
        for source, target in _directions(pair):
            if not set(parameter_variables(*target)) <= set(parameter_variables(*source)):
                continue
            verdict = judge(source, target, verifier, rng=np.random.default_rng([seed, 2, index]), draws=24)
            if verdict.kind != "proved":
                funnel.dropped[f"{verdict.kind} when directed"] += 1
                continue
            rules.append(_named(source, target, verdict, names))
    funnel.kept["directed rules"] = len(rules)
    return rules, funnel


def _named(source: Sequence[Term], target: Sequence[Term], verdict: Verdict, names: Counter[str]) -> Substitution:
    left, right = (_words(side) for side in (source, target))
    name = f"{left}-is-{right}"
    names[name] += 1
    unique = name if names[name] == 1 else f"{name}-{names[name]}"
    proof = f"by {', '.join(verdict.proof.axioms)}; tested on {verdict.tests} shapes"
    return Substitution(unique, tuple(source), tuple(target), verdict.conditions, proof)


def _words(side: Sequence[Term]) -> str:
    """Return the operators of a side from the outputs inwards, each once per use, joined by hyphens."""
    nodes = [node for node in subterms(*side) if not node.is_variable]
    words = []
    for node in reversed(nodes):
        word = node.operator.replace("_", "-")
        words.append(word + "-relu" if node.param("activation") == "relu" else word)
    return "-".join(words) or "input"
