"""The smallest shapes at which a rule is wrong, and the program that shows it.

A refuted rule is looked at in boxes of growing lengths. In the first box that has a counterexample, the one with the
fewest elements is taken. `as_code` prints it as Python with small whole numbers as inputs, to paste into a session.

>>> from taso_mini.rules_text import parse_term
>>> from taso_mini.testing import draw_samples
>>> source, target = ([parse_term(t, {"x": "tensor"})] for t in ("relu(x)", "x"))
>>> wrong = draw_samples(source, target, rng=np.random.default_rng(0), draws=1)[0]
>>> found = smallest_counterexample(source, target, (), wrong)
>>> print(found)
shapes={'x': (1,)}, params={}
>>> print(as_code(source, target, found))
import numpy as np
from taso_mini.arithmetic import Floats
from taso_mini.operator_set import evaluate
from taso_mini.rules_text import parse_term
<BLANKLINE>
kinds = {'x': 'tensor'}
source = [parse_term(text, kinds) for text in ['relu(x)']]
target = [parse_term(text, kinds) for text in ['x']]
inputs = {
    'x': np.array([-1.0]),
}
outputs = evaluate(source + target, inputs, {}, arithmetic=Floats())
for old, new in zip(outputs[:1], outputs[1:]):
    print(old, 'is replaced by', new)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from taso_mini.arithmetic import Arithmetic, FiniteField, Floats
from taso_mini.conditions import holds
from taso_mini.numbered_values import NumberedValues, SmallField
from taso_mini.operator_set import evaluate
from taso_mini.shape_search import ShapeSearch, leaf_name, leaves
from taso_mini.shape_table import ShapeTable
from taso_mini.shapes import Shape
from taso_mini.terms import Term, bind_parameters, subterms, variables
from taso_mini.testing import Sample, draw_inputs

_BOXES = (1, 2, 3)
_MOST_INSTANCES = 4000  # looked at in one box


def smallest_counterexample(
    source: Sequence[Term], target: Sequence[Term], conditions: Sequence[str], wrong: Sample, *, seed: int = 0
) -> Sample:
    """Return the smallest counterexample found in small boxes, with the parameters of `wrong`; `wrong` if none is."""
    old, new = ([bind_parameters(root, wrong.params) for root in side] for side in (source, target))
    table = ShapeTable()
    best: tuple[int, dict[str, Shape]] | None = None
    for largest in _BOXES:
        for rank in _ranks(old, new):
            choices = _box([*old, *new], largest, rank)
            search = ShapeSearch([*old, *new], choices, alike=list(zip(old, new, strict=True)), table=table)
            values = NumberedValues(SmallField(), table, np.random.default_rng(seed))
            tests = [values.comparison(search, one, other, trees=False) for one, other in zip(old, new, strict=True)]
            for known in itertools.islice(search.numbered(), _MOST_INSTANCES):
                shapes = search.assignment(known)
                elements = sum(int(np.prod(shape.dims)) for shape in shapes.values())
                if (
                    (best is None or elements < best[0])
                    and not all(test(known) for test in tests)
                    and all(holds(condition, shapes, wrong.params) for condition in conditions)
                ):
                    best = elements, shapes
        if best is not None:
            return replace(wrong, shapes=best[1], large=False)
    return wrong


def _ranks(*sides: Sequence[Term]) -> Sequence[int]:
    roots = [root for side in sides for root in side]
    axes = [axis for node in subterms(*roots) if isinstance(axis := node.param("axis"), int)]
    least = max(axes, default=0) + 1
    return (
        range(least, 5)
        if any(leaf.operator == "Iewmul" or leaf.is_variable and leaf.kind == "tensor" for leaf in leaves(*roots))
        else (0,)
    )


def _box(roots: Sequence[Term], largest: int, rank: int) -> dict[str, list[Shape]]:
    """Return each leaf's shapes in a box: lengths up to `largest`, windows 1 and 3, images up to 3 high and wide."""
    lengths = range(1, largest + 1)
    image_sides = (1, 3) if largest > 1 else (1,)
    channels = sorted({*lengths, 2 * largest})
    axes: dict[str, Sequence[Sequence[int]]] = {
        "image": (lengths[:1], channels, image_sides, image_sides),
        "scalar": (),
        "kernel": (channels, channels, image_sides, image_sides),
        "vector": (channels,),
        "matrix": (lengths, lengths),
        "tensor": (lengths,) * rank,
    }
    shapes = {kind: [Shape(dims) for dims in itertools.product(*of)] for kind, of in axes.items()}

    def constant(leaf: Term) -> list[Shape]:
        window = leaf.param("kernel")
        if isinstance(window, tuple):
            return [Shape((o, i, *window)) for o in channels for i in sorted({1, o})]
        return shapes["matrix"] if leaf.operator == "Imatmul" else [s for group in shapes.values() for s in group]

    return {leaf_name(leaf): shapes[leaf.kind] if leaf.is_variable else constant(leaf) for leaf in leaves(*roots)}


def as_code(source: Sequence[Term], target: Sequence[Term], found: Sample) -> str:
    """Return a program that computes both sides at a counterexample and prints what differs."""
    inputs, arithmetic = _differing(source, target, found)
    name = type(arithmetic).__name__
    kinds = {v.name: v.kind for v in variables(*source, *target)}
    shape_import = ["from taso_mini.shapes import Shape"] if any(isinstance(x, Shape) for x in inputs.values()) else []
    lines = [
        "import numpy as np",
        f"from taso_mini.arithmetic import {name}",
        "from taso_mini.operator_set import evaluate",
        "from taso_mini.rules_text import parse_term",
        *shape_import,
        "",
        f"kinds = {kinds}",
    ]
    for side, roots in (("source", source), ("target", target)):
        lines.append(f"{side} = [parse_term(text, kinds) for text in {[str(root) for root in roots]}]")
    lines += ["inputs = {", *(f"    {name!r}: {_literal(value)}," for name, value in inputs.items()), "}"]
    count = len(source)
    lines += [
        f"outputs = evaluate(source + target, inputs, {dict(found.params)}, arithmetic={name}())",
        f"for old, new in zip(outputs[:{count}], outputs[{count}:]):",
        "    print(old, 'is replaced by', new)",
    ]
    return "\n".join(lines)


def _differing(
    source: Sequence[Term], target: Sequence[Term], found: Sample
) -> tuple[dict[str, np.ndarray | Shape], Arithmetic]:
    """Return inputs at which the sides differ: small whole numbers where that shows it, else elements of the field."""
    for inputs, arithmetic in _attempts([*source, *target], found.shapes):
        values = evaluate([*source, *target], inputs, found.params, arithmetic=arithmetic)
        if not all(map(arithmetic.equal, values[: len(source)], values[len(source) :])):
            return inputs, arithmetic
    raise ValueError(f"found: expected shapes at which the two sides differ, got {found}")


def _attempts(
    roots: Sequence[Term], shapes: Mapping[str, Shape]
) -> Iterator[tuple[dict[str, np.ndarray | Shape], Arithmetic]]:
    rng, floats, field = np.random.default_rng(0), Floats(), FiniteField()
    for most in (1, 1, 2, 2, 3, 3, 9, 9):
        drawn = draw_inputs(roots, shapes, rng=rng, arithmetic=floats)
        whole = {name: x if isinstance(x, Shape) else np.trunc(x * most) + np.sign(x) for name, x in drawn.items()}
        yield whole, floats
    for _ in range(3):
        yield draw_inputs(roots, shapes, rng=rng, arithmetic=field), field


def _literal(value: np.ndarray | Shape) -> str:
    if isinstance(value, Shape):
        return f"Shape({value.dims})"
    return f"np.array({value.tolist()})"
