"""The paper's generator as it is written, for reading and as an oracle for the fast one.

Paper: TASO §2.2, Algorithm 1. Depth-first: add one operator to the graph in every possible way, hash the new graph's
outputs, and recurse until the graph is large enough. Graphs that compute a value twice are not continued. Afterwards
every pair of graphs with the same fingerprint is a candidate. It visits every *ordering* of every graph, which is why
`generator.py` exists: 16 million graphs at three operators of the published set.

>>> from taso_mini.terms import variable
>>> x, y = (variable(name, "tensor") for name in ("x1", "x2"))
>>> tiny = Profile("tiny", ((x, (2, 3)), (y, (2, 3))), (("add", ()), ("relu", ())), 2)
>>> len(enumerate_graphs(tiny, rng=np.random.default_rng(0)))
15
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator

import numpy as np

from taso_mini.arithmetic import FiniteField
from taso_mini.fingerprint import graph_fingerprint, tensor_fingerprint
from taso_mini.generator import Pair, Profile
from taso_mini.kinds import SIGNATURES
from taso_mini.operator_set import OPERATORS, apply_shape
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term

Computed = tuple[Term, str, Shape, np.ndarray, int]  # term, kind, shape, value, fingerprint
Graph = tuple[Computed, ...]  # its outputs


def enumerate_graphs(profile: Profile, *, rng: np.random.Generator) -> dict[frozenset[Term], tuple[int, Graph]]:
    """Return every graph of at most `max_operators` operators: its operators, its fingerprint and its outputs."""
    field = FiniteField()
    scope: list[Computed] = []
    for term, dims in profile.inputs:
        value = field.draw(rng, dims)
        scope.append((term, term.kind, Shape(dims), value, tensor_fingerprint(Shape(dims), value)))
    found: dict[frozenset[Term], tuple[int, Graph]] = {}

    def build(count: int, scope: list[Computed]) -> None:
        inner = scope[len(profile.inputs) :]
        if inner:
            used = {argument for term, *_ in inner for argument in term.args}
            outputs = tuple(tensor for tensor in inner if tensor[0] not in used)
            key = frozenset(tensor[0] for tensor in inner)
            found[key] = graph_fingerprint(tensor[4] for tensor in outputs), outputs
        if count == profile.max_operators:
            return
        values = {tensor[4] for tensor in scope}
        for new in _one_more(profile, scope, field):
            if new[4] not in values:  # a graph that computes a value twice is pruned
                build(count + 1, [*scope, new])

    build(0, scope)
    return found


def _one_more(profile: Profile, scope: list[Computed], field: FiniteField) -> Iterator[Computed]:
    """Yield the result of every operator on every choice of tensors in scope."""
    for name, params in profile.operators:
        wanted, gives = SIGNATURES[name]
        for arguments in itertools.product(scope, repeat=len(wanted)):
            kinds = [kind for _, kind, *_ in arguments]
            if any(want not in ("*", kind) for want, kind in zip(wanted, kinds, strict=True)):
                continue
            if len(arguments) == 2 and arguments[0] is arguments[1]:
                continue
            texts = [(_size(term), str(term)) for term, *_ in arguments]
            if OPERATORS[name].commutative and texts != sorted(texts):
                continue
            shapes = [shape for _, _, shape, *_ in arguments]
            term = Term(name, params, (term for term, *_ in arguments))
            try:
                shape = apply_shape(term, shapes)
            except ShapeError:
                continue
            value = OPERATORS[name].value(field, shapes, *(tensor[3] for tensor in arguments), **dict(params))
            yield term, kinds[0] if gives == "*" else gives, shape, value, tensor_fingerprint(shape, value)


def _size(term: Term) -> int:
    return sum(1 for node in term._subterms if not node.is_variable)


def equal_graphs(found: dict[frozenset[Term], tuple[int, Graph]]) -> Iterator[Pair]:
    """Yield every pair of graphs of equal fingerprint, outputs matched by value."""
    groups: dict[Hashable, list[Graph]] = defaultdict(list)
    for fingerprint, outputs in found.values():
        groups[fingerprint].append(tuple(sorted(outputs, key=lambda tensor: tensor[4])))
    for graphs in groups.values():
        for one, other in itertools.combinations(graphs, 2):
            yield tuple(tensor[0] for tensor in one), tuple(tensor[0] for tensor in other)
