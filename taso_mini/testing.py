"""Test a rule on random shapes, parameters and values.

Paper: TASO §2.2. The paper re-tests candidates once, on floats. Here every rule is computed on many shapes in a finite
field, where equal means equal, and on floats with true relu and max. Grouped convolutions are test classes of their
own, because a mixed draw rarely hits them. Half of the shapes are drawn so that the source is defined and nothing more:
where the target is then not defined, the rule needs a condition, and `find_conditions` states it.

>>> from taso_mini.rules_text import parse_term
>>> x, y = (parse_term(t, {"x": "tensor", "y": "tensor"}) for t in ("relu(add(x, y))", "add(relu(x), relu(y))"))
>>> samples = draw_samples([x], [y], rng=np.random.default_rng(0))
>>> sum(sample.equal for sample in samples)
0
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taso_mini.arithmetic import Arithmetic, FiniteField, Floats
from taso_mini.conditions import holds
from taso_mini.operator_set import CONVOLUTIONS, evaluate, infer
from taso_mini.shape_search import Assignment, assignments
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, parameter_variables, subterms, variables

GROUP_CLASSES = (1, 2, 3)


@dataclass(frozen=True)
class Sample:
    """One test: shapes and parameters for which the source is defined.

    Attributes:
        defined: the target is defined too, with outputs of the same dims.
        equal: the values are equal in the finite field (False when not `defined`).
        groups: the class it was drawn from.
    """

    shapes: Mapping[str, Shape]
    params: Mapping[str, Hashable]
    groups: int
    defined: bool
    equal: bool

    @property
    def large(self) -> bool:
        """Whether no channel, batch or matrix length is 1: such lengths hide most errors."""
        return all(length > 1 for shape in self.shapes.values() for length in shape.dims[:2])

    def __str__(self) -> str:
        """Return shapes and parameters as text that can be pasted into a test."""
        dims = {name: shape.dims for name, shape in self.shapes.items()}
        return f"shapes={dims}, params={dict(self.params)}"


def draw_samples(source: Sequence[Term], target: Sequence[Term], *, rng: np.random.Generator, draws: int = 10,
                 group_classes: Sequence[int] = GROUP_CLASSES) -> list[Sample]:
    """Test a rule on `draws` shapes per class of groups (one class only when it has no convolution)."""
    convolves = any(node.operator in CONVOLUTIONS for node in subterms(*source, *target))
    samples = []
    for groups in group_classes if convolves else (1,):
        for _ in range(draws):
            params = draw_parameters(source, rng)
            for shapes in _draw_shapes(source, target, groups, params, rng):
                defined = same_output_shapes(source, target, shapes, params)
                equal = defined and values_agree(source, target, shapes, params, rng=rng, arithmetic=FiniteField())
                samples.append(Sample(shapes, params, groups, defined, equal))
    return samples


def _draw_shapes(source: Sequence[Term], target: Sequence[Term], groups: int, params: Mapping[str, Hashable],
                 rng: np.random.Generator) -> Iterator[Assignment]:
    """Yield at most two assignments from one small world: for the source alone, and for both sides."""
    choices = _world(source, groups, rng)
    for roots in ([*source], [*source, *target]):
        shuffled = {name: [shapes[i] for i in rng.permutation(len(shapes))] for name, shapes in choices.items()}
        yield from itertools.islice(assignments(roots, shuffled, params), 1)


def _world(source: Sequence[Term], groups: int, rng: np.random.Generator) -> dict[str, list[Shape]]:
    """Return each variable's possible shapes, made of few lengths so that they often fit together."""
    def lengths(low: int, high: int) -> list[int]:
        return sorted({int(n) for n in rng.integers(low, high + 1, size=2)})

    batches, channels = lengths(1, 3), [groups * n for n in lengths(1, 3)]
    channels = sorted({*channels, sum(channels), 2 * channels[0]})
    sizes = [tuple(int(n) for n in rng.integers(3, 7, size=2)) for _ in range(2)]
    windows = [tuple(int(n) for n in rng.choice([1, 3], size=2)) for _ in range(2)]
    inner = sorted({c // groups for c in channels})
    axis = max([int(str(value)) for node in subterms(*source) for name, value in node.params
                if name == "axis" and isinstance(value, int)], default=0)
    rank = int(rng.integers(max(axis + 1, 2), 5))
    tensor_axes = [lengths(1, 4) for _ in range(rank)]
    matrix = lengths(1, 5)
    matrix = sorted({*matrix, sum(matrix)})
    shapes: dict[str, list[tuple[int, ...]]] = {
        "image": [(n, c, *size) for n in batches for c in channels for size in sizes],
        "kernel": [(o, c, *window) for o in channels for c in inner for window in windows],
        "vector": [(c,) for c in channels],
        "matrix": list(itertools.product(matrix, repeat=2)),
        "scalar": [()],
        "tensor": list(itertools.product(*tensor_axes)),
    }
    return {v.name: [Shape(dims) for dims in shapes[v.kind]] for v in variables(*source)}


def same_output_shapes(source: Sequence[Term], target: Sequence[Term], shapes: Mapping[str, Shape],
                       params: Mapping[str, Hashable]) -> bool:
    """Whether both sides are defined and their outputs have the same dims."""
    try:
        return all(infer(old, shapes, params).dims == infer(new, shapes, params).dims
                   for old, new in zip(source, target, strict=True))
    except ShapeError:
        return False


def draw_parameters(source: Sequence[Term], rng: np.random.Generator) -> dict[str, Hashable]:
    """Draw a value for each parameter variable of the source."""
    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    pools = any(node.operator.endswith("_pool") for node in subterms(*source))
    values: dict[str, Hashable] = {
        "s": pair(1, 2), "d": pair(1, 2), "k": pair(2, 3), "f": ("none", "relu")[int(rng.integers(2))],
        "p": pair(0, 1) + pair(0, 1 if pools else 2),
        "a": int(rng.integers(0, 2)),
    }
    return {name: values[name] for name in parameter_variables(*source)}


def values_agree(source: Sequence[Term], target: Sequence[Term], shapes: Mapping[str, Shape],
                 params: Mapping[str, Hashable], *, rng: np.random.Generator, arithmetic: Arithmetic) -> bool:
    """Whether both sides give equal values on one random input."""
    inputs = {name: arithmetic.draw(rng, shape.dims) for name, shape in shapes.items()}
    values = evaluate([*source, *target], inputs, params, arithmetic=arithmetic)
    return all(map(arithmetic.equal, values[: len(source)], values[len(source) :]))


def float_test(source: Sequence[Term], target: Sequence[Term], samples: Sequence[Sample], *,
               rng: np.random.Generator) -> bool:
    """Whether both sides agree on floats, with true relu and max, on every sample where they should."""
    return all(values_agree(source, target, sample.shapes, sample.params, rng=rng, arithmetic=Floats())
               for sample in samples if sample.equal)


def find_conditions(samples: Sequence[Sample], source: Sequence[Term],
                    proof_conditions: Sequence[str]) -> tuple[str, ...]:
    """Return conditions on the variables' shapes under which the target is defined and equal on all samples.

    These are the proof's conditions, and the equations between lengths that are true wherever the target is defined, as
    few as explain where it is not.
    """
    needed = list(proof_conditions)
    true_when_defined = [equation for equation in _equations(samples, source)
                         if all(holds(equation, s.shapes, s.params) for s in samples
                                if s.defined and all(holds(c, s.shapes, s.params) for c in needed))]
    return tuple(needed + _explain(samples, needed, true_when_defined))


def _explain(samples: Sequence[Sample], needed: Sequence[str], equations: Sequence[str]) -> list[str]:
    """Choose equations, the one that excludes most undefined samples first, until none is left or none helps."""
    left = [s for s in samples if not s.defined and all(holds(c, s.shapes, s.params) for c in needed)]
    chosen: list[str] = []
    while left:
        excluded = {equation: sum(not holds(equation, s.shapes, s.params) for s in left) for equation in equations}
        best = max(equations, key=lambda equation: excluded[equation], default=None)
        if best is None or not excluded[best]:
            break
        chosen.append(best)
        left = [s for s in left if holds(best, s.shapes, s.params)]
    return chosen


def _equations(samples: Sequence[Sample], source: Sequence[Term]) -> list[str]:
    """Return candidate equations between the shapes of two variables, simple ones first."""
    names = [v.name for v in variables(*source)]
    ranks = {name: {len(s.shapes[name].dims) for s in samples} or {0} for name in names}
    pairs = list(itertools.combinations(ranks, 2))
    found = [f"{x}.shape == {y}.shape" for x, y in pairs]
    found += [f"{x}.shape[2:] == {y}.shape[2:]" for x, y in pairs if ranks[x] == ranks[y] == {4}]
    if "a" in parameter_variables(*source):
        found += [f"{x}.shape[a] == {y}.shape[a]" for x, y in pairs]
    for x, y in pairs:
        for i, j in itertools.product(range(min(ranks[x])), range(min(ranks[y]))):
            found.append(f"{x}.shape[{i}] == {y}.shape[{j}]")
    return found
