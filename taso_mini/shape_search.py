"""Find shapes of the variables for which terms are defined, by backtracking over small choices.

>>> from taso_mini.rules_text import parse_term
>>> product = parse_term("matmul(x, y)", {"x": "matrix", "y": "matrix"})
>>> choices = {"x": [Shape((2, 3))], "y": [Shape((2, 2)), Shape((3, 4))]}
>>> [found["y"].dims for found in assignments([product], choices)]
[(3, 4)]
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

from taso_mini.operator_set import apply_shape, infer
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, bind_parameters, subterms, variables

Assignment = dict[str, Shape]


def assignments(roots: Sequence[Term], choices: Mapping[str, Sequence[Shape]],
                params: Mapping[str, Hashable] | None = None, *, tries: int | None = None) -> Iterator[Assignment]:
    """Yield every choice of one shape per variable for which all roots are defined, in the order of the choices.

    A partial choice is given up as soon as a subterm all of whose variables are chosen is undefined. With `tries`, the
    search ends after that many shapes were tried for a variable.
    """
    bound = [bind_parameters(root, params or {}) for root in roots]
    names = variables(*bound)
    rank = {v: level for level, v in enumerate(names)}
    levels: list[list[Term]] = [[] for _ in names]
    depth: dict[Term, int] = {}
    for node in subterms(*bound):
        depth[node] = rank[node] if node.is_variable else max(depth[argument] for argument in node.args)
        if not node.is_variable:
            levels[depth[node]].append(node)
    known: dict[Term, Shape] = {}
    budget = itertools.repeat(None) if tries is None else itertools.repeat(None, tries)

    def search(level: int) -> Iterator[Assignment]:
        if level == len(names):
            yield {v.name: known[v] for v in names}
            return
        for shape, _ in zip(choices[names[level].name], budget, strict=False):
            known[names[level]] = shape
            try:
                for node in levels[level]:
                    known[node] = apply_shape(node, [known[argument] for argument in node.args])
            except ShapeError:
                continue
            yield from search(level + 1)

    yield from search(0)


def same_output_shapes(source: Sequence[Term], target: Sequence[Term], shapes: Mapping[str, Shape],
                       params: Mapping[str, Hashable]) -> bool:
    """Whether both sides are defined and their outputs have the same dims."""
    try:
        return all(infer(old, shapes, params).dims == infer(new, shapes, params).dims
                   for old, new in zip(source, target, strict=True))
    except ShapeError:
        return False
