"""Drop candidate rules that other candidates make superfluous, and count what each step leaves.

Paper: TASO §4, Table 3. `STEPS` names the steps; the first three are the paper's, the others go beyond it.

    renaming          a rule that another one becomes with other names, two of which may be the same
    common inputs     both sides apply one operator to the same inputs, and the rule with a variable in its place holds
    common outputs    one operator gives the outputs of both sides, and the rule of its operands holds
    unions            two rules side by side
    instances         a rule that another one becomes with terms in place of its variables
    consequences      a rule that two applications of smaller kept rules give, by a chain that is checked

The paper says "drop if the generalised rule is valid"; its published generator does not look. Here `valid` decides:
`among` asks whether the candidates hold it, `holds_numerically` computes it on random shapes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from taso_mini.canonical import Pair, canonical, canonical_key, show_pair
from taso_mini.common_subgraphs import (
    input_generalisations,
    is_trivial,
    is_union,
    output_generalisations,
    shares_output_operator,
)
from taso_mini.derivation import Deriver, Identity
from taso_mini.instances import is_instance
from taso_mini.ranking import expensive, price
from taso_mini.terms import Term, parameter_variables, variables
from taso_mini.testing import draw_samples

__all__ = [
    "STEPS",
    "Pair",
    "Valid",
    "among",
    "canonical",
    "drop_common_inputs",
    "drop_common_outputs",
    "drop_consequences",
    "drop_instances",
    "drop_renamings",
    "drop_unions",
    "holds_numerically",
    "prune",
    "shares_output_operator",
]

Valid = Callable[[Pair], bool]


def among(pairs: Iterable[Pair]) -> Valid:
    """Return a policy: a generalised rule is valid when it is one of these, up to names and order."""
    known = {canonical_key(pair, blind=True) for pair in pairs}

    def valid(pair: Pair) -> bool:
        return all(is_trivial(one) or canonical_key(one, blind=True) in known for one in _essential(pair))

    return valid


def holds_numerically(seed: int = 0, *, draws: int = 6) -> Valid:
    """Return a policy: a generalised rule is valid when both sides agree on random shapes, large ones among them."""

    def valid(pair: Pair) -> bool:
        rng = np.random.default_rng([seed, *canonical_key(pair, blind=True).encode()[-64:]])
        for source, target in (one for one in _essential(pair) if not is_trivial(one)):
            samples = [s for s in draw_samples(source, target, rng=rng, draws=draws, group_classes=(1,)) if s.defined]
            if not any(s.large for s in samples) or not all(s.equal for s in samples):
                return False
        return True

    return valid


def _essential(pair: Pair) -> list[Pair]:
    """Return the rule without outputs that are equal on both sides, or its outputs one by one where it is a union."""
    outputs = [output for output in zip(*pair, strict=True) if not is_trivial(((output[0],), (output[1],)))]
    if not outputs:
        return []
    rest = tuple(a for a, _ in outputs), tuple(b for _, b in outputs)
    return [((a,), (b,)) for a, b in outputs] if is_union(rest) else [rest]


def drop_renamings(pairs: Iterable[Pair], valid: Valid | None = None) -> list[Pair]:
    """Keep one rule of each normal form, and of those that differ in variables only the most general."""
    forms = {canonical_key(form): form for form in map(canonical, pairs)}
    return _most_general(forms.values(), renaming=True)


def drop_common_inputs(pairs: Iterable[Pair], valid: Valid | None = None) -> list[Pair]:
    """Drop rules both sides of which apply an operator to the same inputs, where a variable may take its place."""
    kept = list(pairs)
    check = valid or among(kept)
    return [pair for pair in kept if not any(map(check, input_generalisations(pair)))]


def drop_common_outputs(pairs: Iterable[Pair], valid: Valid | None = None) -> list[Pair]:
    """Drop rules both sides of which end in one operator, where the rule of its operands holds."""
    kept = list(pairs)
    check = valid or among(kept)
    return [pair for pair in kept if not any(map(check, output_generalisations(pair)))]


def drop_unions(pairs: Iterable[Pair], valid: Valid | None = None) -> list[Pair]:
    """Drop rules of several outputs each of which can be replaced on its own."""
    return [pair for pair in pairs if not is_union(pair)]


def drop_instances(pairs: Iterable[Pair], valid: Valid | None = None) -> list[Pair]:
    """Keep the rules that are not another rule with terms in place of its variables; return them, small ones first.

    >>> from taso_mini.terms import variable
    >>> x, y = (variable(name, "tensor") for name in "xy")
    >>> def left_half(a, b):
    ...     return (Term("split0", [("axis", 0)], [Term("concat", [("axis", 0)], [a, b])]),), (a,)
    >>> kept = drop_instances([left_half(Term("relu", (), [x]), y), left_half(x, x), left_half(x, y)])
    >>> kept == [left_half(x, y)]
    True
    """
    return _most_general(pairs, renaming=False)


def _most_general(pairs: Iterable[Pair], *, renaming: bool) -> list[Pair]:
    kept: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=general_first):
        roots = [{output.operator, "input"} for side in pair for output in side]
        keys = {tuple(sorted(choice)) for choice in itertools.product(*roots)}
        if not any(is_instance(pair, other, renaming=renaming) for key in sorted(keys) for other in kept[key]):
            kept[tuple(sorted(output.operator for side in pair for output in side))].append(pair)
    return sorted((pair for group in kept.values() for pair in group), key=general_first)


def general_first(pair: Pair) -> tuple[int, int, int, str]:
    """Return a key that sorts small rules first, of these the ones with most variables and parameters."""
    size = sum(1 for side in pair for root in side for node in _occurrences(root) if not node.is_variable)
    roots = [*pair[0], *pair[1]]
    return size, -len(variables(*roots)), -len(parameter_variables(*roots)), show_pair(pair)


def _occurrences(root: Term) -> Iterable[Term]:
    yield root
    for argument in root.args:
        yield from _occurrences(argument)


def drop_consequences(pairs: Iterable[Pair], valid: Valid | None = None, *, applications: int = 2) -> list[Pair]:
    """Drop rules that follow from smaller kept ones, by a chain that costs no more on its way than at its dearer end.

    The optimizer takes such a chain step by step. A rule that changes the number of convolutions, matrix products or
    pools is kept, because it is what the search is after, in one step.
    """
    deriver = Deriver()
    kept = []
    for number, pair in enumerate(sorted(pairs, key=general_first)):
        balanced = len({expensive(side) for side in pair}) == 1
        if balanced and deriver.derive(pair, applications=applications, legal=_at_most(max(map(price, pair)))):
            continue
        kept.append(pair)
        deriver.add(Identity(f"rule-{number}", *pair))
    return kept


def _at_most(most: int) -> Callable[[tuple[Term, ...]], bool]:
    return lambda state: price(state) <= most


Step = Callable[[Iterable[Pair], "Valid | None"], list[Pair]]

STEPS: dict[str, Step] = {
    "renaming": drop_renamings,
    "common inputs": drop_common_inputs,
    "common outputs": drop_common_outputs,
    "unions": drop_unions,
    "instances": drop_instances,
    "consequences": drop_consequences,
}


def prune(
    pairs: Iterable[Pair], *, valid: Valid | None = None, steps: Sequence[str] = tuple(STEPS)
) -> tuple[list[Pair], dict[str, int]]:
    """Run some of the steps in order; return what is left, and how many rules each step left.

    Args:
        pairs: candidates, all of which hold.
        valid: whether a generalised rule holds; by default, whether the candidates of that step hold it.
        steps: names in `STEPS`.

    >>> from taso_mini.terms import variable
    >>> x, y, z = (variable(name, "tensor") for name in "xyz")
    >>> def associates(a, b, c):
    ...     return (Term("mul", (), (Term("mul", (), (a, b)), c)),), (Term("mul", (), (a, Term("mul", (), (b, c)))),)
    >>> prune([associates(x, y, z), associates(z, y, x), associates(x, x, y)])[1]["renaming"]
    1
    """
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise ValueError(f"steps: expected some of {', '.join(STEPS)}, got {', '.join(unknown)}")
    left = list(pairs)
    counts = {"initial": len(left)}
    for name in steps:
        left = STEPS[name](left, valid)
        counts[name] = len(left)
    return left, counts
