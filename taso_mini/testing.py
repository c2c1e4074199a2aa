"""Test a rule on random shapes, parameters and values.

Paper: TASO §2.2. The paper re-tests candidates once, on floats. Here every rule is computed on many shapes in a finite
field, where equal means equal. Grouped convolutions are test classes of their
own, because a mixed draw rarely hits them (see `shape_classes`). Half of the shapes are drawn so that the source is
defined and nothing more: where the target is then not defined, the rule needs a condition. What a rule's tests say all
together is `identity_testing`.

>>> from taso_mini.rules_text import parse_term
>>> x, y = (parse_term(t, {"x": "tensor", "y": "tensor"}) for t in ("relu(add(x, y))", "add(relu(x), relu(y))"))
>>> samples = draw_samples([x], [y], rng=np.random.default_rng(0))
>>> sum(sample.equal for sample in samples)
0
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from taso_mini.arithmetic import Arithmetic, FiniteField
from taso_mini.operator_set import CONVOLUTIONS, Plan, plan
from taso_mini.shape_classes import GROUP_CLASSES, GroupClass, World, draw_parameters, restriction
from taso_mini.shape_search import Assignment, ShapeSearch, leaf_name, leaves
from taso_mini.shape_table import ShapeTable
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, bind_parameters, parameter_variables, subterms, variables

_WORLDS = 4  # at least, unless fewer shapes are drawn
_PER_WORLD = 12  # draws from one world at most
_PER_PARAMETERS = 3  # the same, when the rule has parameters to be drawn with each world
_MANY = 4  # times as many, where very many are wanted
_SMALL_WORLDS = 4  # every so many-th world may have lengths of 1


@dataclass(frozen=True)
class Sample:
    """One test: shapes and parameters for which the source is defined.

    Attributes:
        shapes: of variables by name, of constants by text.
        defined: the target is defined too, with outputs of the same dims.
        equal: the values are equal in the finite field (False when not `defined`).
        groups: the class it was drawn from.
        large: no batch, channel or matrix length is 1, images are 3 x 3 at least and some window is wider and higher
            than one element: smaller shapes hide most errors.
    """

    shapes: Mapping[str, Shape]
    params: Mapping[str, Hashable]
    groups: GroupClass
    defined: bool
    equal: bool
    large: bool

    def __str__(self) -> str:
        """Return shapes and parameters as text that can be pasted into a test."""
        dims = {name: shape.dims for name, shape in self.shapes.items()}
        return f"shapes={dims}, params={dict(self.params)}"


def draw_samples(
    source: Sequence[Term],
    target: Sequence[Term],
    *,
    rng: np.random.Generator,
    draws: int = 10,
    group_classes: Sequence[GroupClass] = GROUP_CLASSES,
    many: bool = False,
) -> list[Sample]:
    """Test a rule on up to `2 * draws` shapes per class of groups (one class only when the source has no convolution).

    Half of them are drawn for the source alone, half so that both sides are defined; fewer, when a world of shapes has
    none.
    """
    convolves = any(node.operator in CONVOLUTIONS for node in subterms(*source))
    field, samples = FiniteField(), []
    for group_class in group_classes if convolves else group_classes[:1]:
        for shapes, params in draw_instances(source, target, group_class, rng=rng, draws=draws, many=many):
            steps = bound_plan(tuple(source), tuple(target), tuple(params.items()))
            known = _defined_alike(steps, shapes, len(source))
            equal = known is not None and _agree(steps, known, drawn(steps, shapes, rng, field), len(source), field)
            samples.append(
                Sample(shapes, params, group_class, known is not None, equal, is_large(source, shapes, group_class))
            )
    return samples


@lru_cache(maxsize=256)
def bound_plan(source: tuple[Term, ...], target: tuple[Term, ...], params: tuple[tuple[str, Hashable], ...]) -> Plan:
    """Return the plan of both sides of a rule with its parameters bound."""
    return plan(*(bind_parameters(root, dict(params)) for root in (*source, *target)))


def draw_instances(
    source: Sequence[Term],
    target: Sequence[Term],
    group_class: GroupClass,
    *,
    rng: np.random.Generator,
    draws: int,
    many: bool = False,
) -> Iterator[tuple[Assignment, dict[str, Hashable]]]:
    """Yield shapes and parameters for which the source is defined, half of them with the target defined alike.

    With `many`, all of them with the target defined, and more of them from each world.
    """
    most = (_PER_PARAMETERS if parameter_variables(*source, *target) else _PER_WORLD) * (_MANY if many else 1)
    per_world = max(1, min(-(-draws // _WORLDS), most))
    for number, left in enumerate(range(draws, 0, -per_world)):
        params = draw_parameters([*source, *target], rng)
        large = number % _SMALL_WORLDS != _SMALL_WORLDS - 1
        search = _Searches(source, target, group_class, params, rng, large=large, many=many)
        ways = [search.both.sample] * 2 if many else [search.source_only, search.both.sample]
        for _ in range(min(left, per_world)):
            found = [way(rng) for way in ways]
            yield from ((shapes, params) for shapes in found if shapes is not None)
            ways = [way for way, shapes in zip(ways, found, strict=True) if shapes is not None]  # a world without some


class _Searches:
    """The searches for shapes in one world."""

    def __init__(
        self,
        source: Sequence[Term],
        target: Sequence[Term],
        group_class: GroupClass,
        params: Mapping[str, Hashable],
        rng: np.random.Generator,
        *,
        large: bool,
        many: bool,
    ) -> None:
        self._old, self._new = ([bind_parameters(root, params) for root in side] for side in (source, target))
        world = World([*self._old, *self._new], group_class, rng, large=large)
        self._table = ShapeTable(restriction(self._old, group_class))
        self._choices = world.choices()
        self._source = ShapeSearch(self._old, self._choices, table=self._table)
        self.both = self._both(self._choices, _earlier(self._old) if many else ())
        self._complete = set(leaves(*self._new)) <= set(self._source.leaves)

    def _both(self, choices: Mapping[str, Sequence[Shape]], earlier: Sequence[Term] = ()) -> ShapeSearch:
        alike = list(zip(self._old, self._new, strict=True))
        return ShapeSearch([*earlier, *self._old, *self._new], choices, alike=alike, table=self._table)

    def source_only(self, rng: np.random.Generator) -> Assignment | None:
        """Draw for the source; what the target alone has, constants as a rule, is drawn to fit if anything fits."""
        found = self._source.sample(rng)
        if found is None or self._complete:
            return found
        fixed = {name: [shape] for name, shape in found.items()}
        wider = self._both({**self._choices, **fixed}).sample(rng)
        if wider is not None:
            return wider
        extra = (leaf for leaf in leaves(*self._new) if leaf_name(leaf) not in found)
        return {**found, **{leaf_name(leaf): self._choices[leaf_name(leaf)][0] for leaf in extra}}


def _earlier(source: Sequence[Term]) -> list[Term]:
    """Return what must be defined too and is known to be or not before the source is: convolutions without their bias.

    >>> from taso_mini.rules_text import parse_term
    >>> found = _earlier([parse_term("relu(conv_bias(x, w, v))", {"x": "image", "w": "kernel", "v": "vector"})])
    >>> print(*found)
    conv(x, w)
    """
    return [Term("conv", node.params, node.args[:2]) for node in subterms(*source) if node.operator == "conv_bias"]


def is_large(source: Sequence[Term], given: Mapping[str, Shape], group_class: GroupClass) -> bool:
    """Whether a test at these shapes shows most errors (see `Sample`); depthwise kernels have one input channel."""
    windows = []
    for v in variables(*source):
        dims = given[v.name].dims
        if v.kind == "kernel":
            windows.append(min(dims[2:]))
            dims = dims[: 1 if group_class == "depthwise" else 2]
        elif v.kind == "image" and min(dims[2:]) < 3:
            return False
        if any(length == 1 for length in dims[:2]):
            return False
    return not windows or max(windows) > 1


def _defined_alike(steps: Plan, shapes: Mapping[str, Shape], outputs: int) -> list[Shape] | None:
    """Return the steps' shapes if both sides are defined and their outputs have the same dims."""
    try:
        known = steps.shapes(shapes)
    except ShapeError:
        return None
    found = [shape.dims for shape in steps.outputs(known)]
    return known if found[:outputs] == found[outputs:] else None


def _agree(
    steps: Plan, known: Sequence[Shape], inputs: Mapping[str, np.ndarray | Shape], outputs: int, arithmetic: Arithmetic
) -> bool:
    values = steps.values(inputs, known, arithmetic)
    return all(map(arithmetic.equal, values[:outputs], values[outputs:]))


def draw_inputs(
    roots: Sequence[Term], shapes: Mapping[str, Shape], *, rng: np.random.Generator, arithmetic: Arithmetic
) -> dict[str, np.ndarray | Shape]:
    """Draw values for the variables; constants keep their shapes, from which their values follow."""
    return drawn(plan(*roots), shapes, rng, arithmetic)


def drawn(
    steps: Plan, shapes: Mapping[str, Shape], rng: np.random.Generator, arithmetic: Arithmetic
) -> dict[str, np.ndarray | Shape]:
    """Draw values for the variables of a plan."""
    return {
        name: arithmetic.draw(rng, shape.dims) if name in steps.variables else shape for name, shape in shapes.items()
    }


def values_agree(
    source: Sequence[Term],
    target: Sequence[Term],
    shapes: Mapping[str, Shape],
    params: Mapping[str, Hashable],
    *,
    rng: np.random.Generator,
    arithmetic: Arithmetic,
) -> bool:
    """Whether both sides give equal values on one random input."""
    steps = bound_plan(tuple(source), tuple(target), tuple(params.items()))
    return _agree(steps, steps.shapes(shapes), drawn(steps, shapes, rng, arithmetic), len(source), arithmetic)
