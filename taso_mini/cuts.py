"""Where a split cuts: the one number that a term leaves to its context.

Paper: TASO §2.1. A term's split undoes the last concatenation along its axis, which may lie several operators below:
split0(conv(x, concat(w1, w2, axis=0)), axis=1) cuts where w1 ends. In a rule that place is fixed by a concatenation, or
by a split of the graph that the source has matched. `deciders` finds them by following an axis through operators, up
and down; a rule applies to a graph only where all deciders of a cut agree.

>>> from taso_mini.rules_text import parse_rules
>>> rule, = parse_rules('''
... rule split-conv
...   variables x: image, w1: kernel, w2: kernel
...   source    split0(conv(x, concat(w1, w2, axis=0), activation=none, dilations=d, padding=p, strides=s), axis=1)
...   target    conv(x, w1, activation=none, dilations=d, padding=p, strides=s)
... ''')
>>> for decider in deciders(rule, rule.source[0]):
...     print(decider)
length of w1 on axis 0
length of split0(conv(x, concat(w1, w2, axis=0), activation=none, dilations=d, padding=p, strides=s), axis=1) on axis 1
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from taso_mini.terms import Substitution, Term, subterms

HALVES = ("split0", "split1")
Place = tuple[Term, int]  # an axis of a term's value


@dataclass(frozen=True)
class Decider:
    """The cut is the length of `term` on `axis`; or, for a second half, what that half leaves of `whole`."""

    term: Term
    axis: int
    whole: Term | None = None

    def __str__(self) -> str:
        length = f"length of {self.term} on axis {self.axis}"
        return f"length of {self.whole} minus {length}" if self.whole else length


def inherits(node: Term, axis: int, params: dict[str, Hashable]) -> tuple[tuple[int, int], ...]:
    """Return the (argument, axis of the argument) pairs that a term's axis takes its concatenation from."""
    operator = node.operator
    if operator in ("conv", "conv_bias"):
        below = {0: ((0, 0),), 1: ((1, 0), (2, 0))[: len(node.args) - 1]}
        return below.get(axis, ())
    if operator == "matmul":
        return ((axis, axis),) if axis < 2 else ()
    if operator in ("scale", "bias"):
        return ((0, axis), (1, 0)) if axis == 1 else ((0, axis),)
    if operator == "scale_kernel":
        return ((0, axis), (1, 0)) if axis == 0 else ((0, axis),)
    if operator in ("enlarge", "enlarge_like", "avg_pool", "max_pool"):
        return ((0, axis),) if axis < 2 else ()
    if operator == "transpose":
        perm = params["perm"]
        assert isinstance(perm, tuple)
        return ((0, perm[axis]),) if axis < len(perm) else ()
    if operator == "concat":
        return () if params["axis"] == axis else ((0, axis), (1, axis))
    if operator in ("add", "mul"):
        return ((0, axis), (1, axis))
    if operator == "smul" or len(node.args) == 1 and operator not in HALVES:
        return ((0, axis),)
    return ()


def _params(node: Term, axis_values: tuple[tuple[str, Hashable], ...]) -> dict[str, Hashable]:
    bound = dict(axis_values)
    return {name: bound.get(value, value) if isinstance(value, str) else value for name, value in node.params}


@lru_cache(maxsize=1 << 14)
def deciders(rule: Substitution, half: Term, axis_values: tuple[tuple[str, Hashable], ...] = ()) -> tuple[Decider, ...]:
    """Return everything in a rule that says where the split `half` cuts.

    axis_values: values of the rule's axis variables.
    """
    terms = tuple(subterms(*rule.source, *rule.target))
    params = {node: _params(node, axis_values) for node in terms}
    matched = set(subterms(*rule.source))
    axis = params[half]["axis"]
    assert isinstance(axis, int)
    reached: dict[Place, None] = {(half.args[0], axis): None}
    queue = list(reached)
    while queue:
        place = queue.pop()
        for neighbour in _neighbours(place, terms, params):
            if neighbour not in reached:
                reached[neighbour] = None
                queue.append(neighbour)
    return tuple(_decide(terms, matched, params, reached))


def _neighbours(place: Place, terms: tuple[Term, ...], params: dict[Term, dict[str, Hashable]]) -> Iterator[Place]:
    node, axis = place
    for argument, below in inherits(node, axis, params[node]):
        yield node.args[argument], below
    for parent in terms:
        if node in parent.args:
            for above in range(4):
                if any((parent.args[i], below) == place for i, below in inherits(parent, above, params[parent])):
                    yield parent, above


def _decide(
    terms: tuple[Term, ...], matched: set[Term], params: dict[Term, dict[str, Hashable]], reached: dict[Place, None]
) -> Iterator[Decider]:
    for node in terms:
        axis = params[node].get("axis")
        if not isinstance(axis, int):
            continue
        if node.operator == "split0" and node in matched and (node.args[0], axis) in reached:
            yield Decider(node, axis)
        elif node.operator == "split1" and node in matched and (node.args[0], axis) in reached:
            yield Decider(node, axis, node.args[0])
        elif node.operator == "concat" and (node, axis) in reached:
            yield Decider(node.args[0], axis)
