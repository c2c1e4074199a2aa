"""Check axioms against the operators' definitions on all small shapes.

Paper: TASO §3. For every combination of small shapes and parameters for which both sides of an axiom are defined and
its conditions hold, both sides are computed on random elements of a finite field and compared, split trees included:
an axiom between tensors that split differently would make any two tensors equal. The paper's axioms were
validated without grouped convolution; here every number of groups that fits is included.

>>> from taso_mini.axioms import WRONG
>>> str(validate(WRONG[0], largest=2))
'refuted  matmul-commutes: 2 instances, fails at m1 (2, 2), m2 (2, 2)'
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taso_mini.arithmetic import FiniteField
from taso_mini.axioms import Axiom
from taso_mini.conditions import holds
from taso_mini.operator_set import CONVOLUTIONS, infer
from taso_mini.pruning import least_kinds
from taso_mini.shape_search import assignments, same_output_shapes
from taso_mini.shapes import Shape
from taso_mini.terms import Term, parameter_variables, rewrite, subterms, variable
from taso_mini.testing import values_agree

Instance = tuple[dict[str, Shape], dict[str, Hashable]]


@dataclass(frozen=True)
class Validation:
    """How many instances of an axiom were checked, and the first that failed, if any."""

    axiom: Axiom
    instances: int
    failure: Instance | None = None

    @property
    def holds(self) -> bool:
        """Whether there were instances and none failed."""
        return self.instances > 0 and self.failure is None

    def __str__(self) -> str:
        """Return one line."""
        verdict = "holds   " if self.holds else "refuted "
        text = f"{verdict} {self.axiom.name}: {self.instances} instances"
        if self.failure:
            shapes, params = self.failure
            given = [f"{name} {shape.dims}" for name, shape in shapes.items()]
            text += ", fails at " + ", ".join(given + [f"{name}={value}" for name, value in params.items()])
        return text


def instances(axiom: Axiom, *, largest: int) -> Iterator[Instance]:
    """Yield every choice of small shapes and parameters at which the axiom speaks, small ones first."""
    kinds = least_kinds([axiom.left, axiom.right])
    left, right = (rewrite(side, lambda node: variable(node.name, kinds[node]) if node in kinds else None)
                   for side in (axiom.left, axiom.right))
    names = parameter_variables(left, right)
    convolves = any(node.operator in CONVOLUTIONS for node in subterms(left, right))
    for values in itertools.product(*(_parameter_choices(name) for name in names)):
        params = dict(zip(names, values, strict=True))
        for rank in _ranks(kinds):
            choices = {v.name: _shapes(kind, rank, largest, convolves) for v, kind in kinds.items()}
            for shapes in assignments([left, right], choices, params):
                if same_output_shapes([left], [right], shapes, params) and all(
                        holds(condition, shapes, params) for condition in axiom.conditions):
                    yield shapes, params


def _parameter_choices(name: str) -> Sequence[Hashable]:
    choices: dict[str, list[Hashable]] = {
        "s": [(1, 1), (2, 1)], "d": [(1, 1), (1, 2)], "p": [(0, 0, 0, 0), (1, 1, 0, 1)], "a": [0, 1],
        "k": [(2, 2), (3, 2)], "f": ["none", "relu"]}
    return choices[name]


def _ranks(kinds: Mapping[Term, str]) -> Sequence[int]:
    return (1, 2, 3) if "tensor" in kinds.values() else (0,)


def _shapes(kind: str, rank: int, largest: int, convolves: bool) -> list[Shape]:
    """Return all shapes of a kind; images under a convolution or pool get few batches but all channels and sizes."""
    lengths = range(1, largest + 1)
    dims: Iterator[tuple[int, ...]]
    if kind == "image":
        dims = itertools.product((1, 2), lengths, (1, 3) if largest > 2 else (3,), lengths)
    elif kind == "kernel":
        windows = (1, 3) if convolves else (1, 2, 3)
        dims = itertools.product(lengths, lengths, windows, windows)
    elif kind == "scalar":
        return [Shape(())]
    else:
        dims = itertools.product(lengths, repeat={"vector": 1, "matrix": 2, "tensor": rank}[kind])
    return [Shape(d) for d in dims]


def validate(axiom: Axiom, *, largest: int = 3, limit: int | None = None) -> Validation:
    """Check an axiom on its instances, or on every n-th so that about `limit` remain; stop at the first failure."""
    rng, field, count = np.random.default_rng(0), FiniteField(), 0
    chosen: Iterator[Instance] = instances(axiom, largest=largest)
    if limit is not None:
        total = sum(1 for _ in instances(axiom, largest=largest))
        chosen = itertools.islice(chosen, 0, None, max(1, total // limit))
    for shapes, params in chosen:
        count += 1
        same_trees = infer(axiom.left, shapes, params) == infer(axiom.right, shapes, params)
        if not (same_trees and values_agree([axiom.left], [axiom.right], shapes, params, rng=rng, arithmetic=field)):
            return Validation(axiom, count, (shapes, params))
    return Validation(axiom, count)


def validate_all(axioms: Sequence[Axiom], *, largest: int = 3, limit: int | None = None) -> Iterator[Validation]:
    """Validate axioms one by one."""
    for axiom in axioms:
        yield validate(axiom, largest=largest, limit=limit)
