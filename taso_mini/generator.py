"""Enumerate every small graph over a profile's operators and pair the ones with equal values.

Paper: TASO §2.2. The paper's Algorithm 1 walks over graphs, one operator at a time (`algorithm1.py` does exactly that).
Here the same pairs are found *values first*:

1. Build every term of 1, 2, ... operators once, from the terms before it, and evaluate it once on random integers.
2. Put terms of equal value into one class. Only a term whose class has another member can be an output of a rule.
3. One output: the pairs inside a class. Two outputs: take two terms that share an operator, and join the members of
   their two classes; keep the joins that need no more operators than allowed.

A term that equals one of its own subterms makes a pair with that subterm and is put to no other use, as Algorithm 1
drops graphs that compute a value twice. Left out: rules with three or more outputs, and two-output rules neither side
of which shares an operator (those are two rules side by side).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from taso_mini.arithmetic import Arithmetic, FiniteField
from taso_mini.fingerprint import tensor_fingerprint
from taso_mini.kinds import SIGNATURES
from taso_mini.operator_set import OPERATORS, apply_shape
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Params, Term

Pair = tuple[tuple[Term, ...], tuple[Term, ...]]  # equal outputs of two graphs, in the same order


@dataclass(frozen=True)
class Profile:
    """What to enumerate.

    Attributes:
        name: for messages.
        inputs: variables with the shapes they have while enumerating; lengths should differ where they may.
        operators: operators with concrete parameters, as terms without arguments. `split` stands for both halves.
        max_operators: largest number of operators on either side of a rule.
        only: for some operators, the kinds of tensors they are applied to, where the operator allows several.
        representatives: build only upon the first term of each value class, and pair a class's terms with that one
            only; what is lost follows from the other rules.
    """

    name: str
    inputs: tuple[tuple[Term, tuple[int, ...]], ...]
    operators: tuple[tuple[str, Params], ...]
    max_operators: int
    representatives: bool = False
    only: tuple[tuple[tuple[str, Params], tuple[str, ...]], ...] = ()


@dataclass(eq=False)
class Tensor:
    """A term with its value on the fingerprint's input, and the operators it needs."""

    term: Term
    kind: str
    shape: Shape
    operators: frozenset[int]  # numbers of the operators computed for it; both halves of a split are one operator
    value: np.ndarray | None
    fingerprint: int
    expandable: bool = True


@dataclass
class Enumeration:
    """Every tensor of a profile, and the classes of equal ones.

    Attributes:
        tensors: by number of operators.
        classes: tensors of equal fingerprint, in the order found.
        reductions: tensors that equal one of their own subterms, with that subterm; they are in no class.
    """

    profile: Profile
    tensors: list[list[Tensor]] = field(default_factory=list)
    classes: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    reductions: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _shapes: dict[Hashable, Shape | None] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many tensors were evaluated, inputs included."""
        return sum(map(len, self.tensors))


def enumerate_terms(profile: Profile, *, rng: np.random.Generator, arithmetic: Arithmetic | None = None) -> Enumeration:
    """Build and evaluate every term of at most `profile.max_operators` operators.

    >>> from taso_mini.terms import variable
    >>> x, y = (variable(name, "tensor") for name in ("x1", "x2"))
    >>> tiny = Profile("tiny", ((x, (2, 3)), (y, (2, 3))), (("add", ()), ("relu", ())), 2)
    >>> [len(level) for level in enumerate_terms(tiny, rng=np.random.default_rng(0)).tensors]
    [2, 3, 9]
    """
    numbers = arithmetic or FiniteField()
    result = Enumeration(profile)
    level = []
    for term, dims in profile.inputs:
        value = numbers.draw(rng, dims)
        shape = Shape(dims)
        level.append(Tensor(term, term.kind, shape, frozenset(), value, tensor_fingerprint(shape, value)))
    _add_level(result, level)
    for size in range(1, profile.max_operators + 1):
        last = size == profile.max_operators
        _add_level(result, list(_grow(result, size, numbers, keep=not last)))
    return result


def _add_level(result: Enumeration, level: list[Tensor]) -> None:
    result.tensors.append(level)
    for tensor in level:
        members = result.classes[tensor.fingerprint]
        if members and result.profile.representatives:
            tensor.expandable = False
        inside = [other for other in members if other.operators <= tensor.operators]
        if inside:
            tensor.expandable = False
            result.reductions.append((inside[0], tensor))
        else:
            members.append(tensor)


def _grow(result: Enumeration, size: int, numbers: Arithmetic, *, keep: bool) -> Iterator[Tensor]:
    """Yield the tensors that need exactly `size` operators."""
    for name, params in result.profile.operators:
        halves = ("split0", "split1") if name == "split" else (name,)
        kinds = dict(result.profile.only).get((name, params))
        for arguments in _arguments(result, halves[0], size - 1, kinds):
            for half in halves:
                tensor = _apply(result, half, params, arguments, numbers, keep=keep)
                if tensor is not None:
                    yield tensor


def _arguments(result: Enumeration, name: str, size: int, only: tuple[str, ...] | None) -> Iterator[tuple[Tensor, ...]]:
    """Yield the argument tuples that fit an operator's signature and together need `size` operators."""
    wanted, _ = SIGNATURES[name]
    if wanted[0] == "*":
        kinds = only or tuple(sorted({term.kind for term, _ in result.profile.inputs} - {"scalar"}))
        choices = [tuple(kind if want == "*" else want for want in wanted) for kind in kinds]
    else:
        choices = [wanted]
    pool: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    sharing: dict[tuple[str, int, int], list[Tensor]] = defaultdict(list)
    for level, tensors in enumerate(result.tensors):
        for tensor in tensors:
            if tensor.expandable:
                pool[tensor.kind, level].append(tensor)
                for number in tensor.operators:
                    sharing[tensor.kind, level, number].append(tensor)

    def extend(
        chosen: tuple[Tensor, ...], used: frozenset[int], kinds: tuple[str, ...]
    ) -> Iterator[tuple[Tensor, ...]]:
        if not kinds:
            if len(used) == size:
                yield chosen
            return
        for level in range(size + 1):
            if len(used) + level <= size:
                candidates: Sequence[Tensor] = pool[kinds[0], level]
            else:  # too many operators unless some are shared
                found = {id(t): t for number in sorted(used) for t in sharing[kinds[0], level, number]}
                candidates = list(found.values())
            if len(kinds) == 1 and len(used) + level < size:
                continue
            for tensor in candidates:
                union = used | tensor.operators
                if len(union) <= size:
                    yield from extend((*chosen, tensor), union, kinds[1:])

    for kinds in choices:
        for arguments in extend((), frozenset(), kinds):
            if len(arguments) == 2 and arguments[0] is arguments[1]:
                continue
            if name == "enlarge_like" and any(argument.operators for argument in arguments):
                continue  # as in the paper: zeros inside kernels make unrelated terms agree
            if OPERATORS[name].commutative and _order(arguments[0]) > _order(arguments[1]):
                continue
            yield arguments


def _order(tensor: Tensor) -> tuple[int, str]:
    return len(tensor.operators), str(tensor.term)


def _apply(
    result: Enumeration, name: str, params: Params, arguments: tuple[Tensor, ...], numbers: Arithmetic, *, keep: bool
) -> Tensor | None:
    """Return the operator's result, or None when it is not defined for these shapes."""
    given = tuple(argument.shape for argument in arguments)
    key = (name, params, given)
    if key not in result._shapes:
        try:
            result._shapes[key] = apply_shape(Term(name, params, ()), given)
        except ShapeError:
            result._shapes[key] = None
    shape = result._shapes[key]
    if shape is None:
        return None
    term = Term(name, params, tuple(argument.term for argument in arguments))
    whole = ("split", *term.params, *term.args) if name.startswith("split") else term
    number = result._numbers.setdefault(whole, len(result._numbers))
    value = OPERATORS[name].value(numbers, given, *(argument.value for argument in arguments), **dict(params))
    operators = frozenset((number,)).union(*(argument.operators for argument in arguments))
    _, gives = SIGNATURES[name]
    kind = arguments[0].kind if gives == "*" else gives
    return Tensor(term, kind, shape, operators, value if keep else None, tensor_fingerprint(shape, value))


def equal_pairs(found: Enumeration) -> Iterator[Pair]:
    """Yield the pairs of graphs with equal outputs that share no operator applied to inputs alone."""
    leaves = {number for level in found.tensors[1:2] for tensor in level for number in tensor.operators}
    useful: dict[int, list[Tensor]] = {}
    for fingerprint, members in found.classes.items():
        every: Iterator[tuple[Tensor, Tensor]] = itertools.combinations(members, 2)
        if found.profile.representatives:
            every = itertools.product(members[:1], members[1:])
        pairs = [(a, b) for a, b in every if not a.operators & b.operators & leaves]
        if pairs:
            useful[fingerprint] = members
        for a, b in pairs:
            yield (a.term,), (b.term,)
    for inside, tensor in found.reductions:
        yield (tensor.term,), (inside.term,)
    yield from _two_outputs(found, useful, leaves)


def _two_outputs(found: Enumeration, useful: dict[int, list[Tensor]], leaves: set[int]) -> Iterator[Pair]:
    limit = found.profile.max_operators
    by_operator: dict[int, list[Tensor]] = defaultdict(list)
    for members in useful.values():
        for tensor in members:
            for number in tensor.operators:
                by_operator[number].append(tensor)
    seen: set[tuple[int, int]] = set()
    for sharing in by_operator.values():
        for a, b in itertools.combinations(sharing, 2):
            if (id(a), id(b)) in seen or not _both_sinks(a, b, limit):
                continue
            seen.add((id(a), id(b)))
            used = a.operators | b.operators
            classes = useful[a.fingerprint], useful[b.fingerprint]
            if found.profile.representatives and not (a is classes[0][0] and b is classes[1][0]):
                classes = classes[0][:1], classes[1][:1]
            for c, d in itertools.product(*classes):
                if _both_sinks(c, d, limit) and not used & (c.operators | d.operators) & leaves:
                    yield (a.term, b.term), (c.term, d.term)


def _both_sinks(a: Tensor, b: Tensor, limit: int) -> bool:
    """Whether two tensors are the two different outputs of one graph within the limit."""
    if a.fingerprint == b.fingerprint or len(a.operators | b.operators) > limit:
        return False
    if a.operators and a.operators == b.operators:
        return a.term.args == b.term.args  # the two halves of one split
    return not (a.operators <= b.operators or b.operators <= a.operators)
