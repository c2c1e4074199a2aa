"""From profiles to proved rules: enumerate, pair, prune, prove, widen, direct, test.

Paper: TASO §2.2, §3 and §4 in the order in which they are run. Input: profiles and a seed. Output: substitutions and a
funnel that counts what each step kept and why the rest was dropped. Profiles are enumerated and paired here
(`candidates`); `rule_set.make_rules` takes it from there with the prover and the second verifier.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from taso_mini.generator import Pair, Profile, enumerate_terms, equal_pairs
from taso_mini.pruning import canonical, drop_instances, shares_output_operator
from taso_mini.rule_set import directions, make_rules
from taso_mini.terms import Substitution, variables


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


def candidates(profiles: Sequence[Profile], funnel: Funnel, *, seed: int) -> list[Pair]:
    """Enumerate the profiles and prune; return undirected rules in normal form, small ones first."""
    found: dict[str, Pair] = {}
    totals = Counter({"tensors evaluated": 0, "equal pairs": 0, "in order, no common output operator": 0})
    for number, profile in enumerate(profiles):
        enumeration = enumerate_terms(profile, rng=np.random.default_rng([seed, number]))
        totals["tensors evaluated"] += enumeration.count
        for pair in equal_pairs(enumeration):
            totals["equal pairs"] += 1
            if _named_in_order(pair, profile) and not shares_output_operator(pair) and any(directions(pair)):
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


def generate(profiles: Sequence[Profile], *, seed: int) -> tuple[list[Substitution], Funnel]:
    """Generate, prove and name the rules of some profiles; the same seed gives the same rules."""
    funnel = Funnel()
    rules, counts = make_rules(candidates(profiles, funnel, seed=seed), seed=seed)
    for step, count in counts.items():
        if step.startswith("refused: "):
            funnel.dropped[step.removeprefix("refused: ")] += count
        else:
            funnel.kept[step] = count
    return rules, funnel
