"""Transforms by constant matrices that stay in registers, tile by tile; see `constant_transforms`.

Beyond the paper, whose rule for constant matrices unrolls each stage where it stands.

>>> from ansor_mini.definitions.winograd import row_of
>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_hints import SIMPLIFY_CONST_INDICES
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.compute_dag import ComputeDAG
>>> from ansor_mini.tensor_expression import compute, placeholder
>>> x, hint = placeholder((2, 2, 8, 64), "X"), {SIMPLIFY_CONST_INDICES: ("e", "v")}
>>> matrix = ((1, 1), (1, -1))
>>> rows = compute(
...     (2, 2, 8, 64), lambda e, v, p, c: row_of(matrix, e, lambda i: x[i, v, p, c]), "rows", attributes=hint
... )
>>> both = compute(
...     (2, 2, 8, 64), lambda e, v, p, c: row_of(matrix, v, lambda j: rows[e, j, p, c]), "both", attributes=hint
... )
>>> for sketch in derive(ComputeDAG([both]), (TILE_TRANSFORMS, *CPU_RULES)):
...     print(*sketch.rules, *(hole.name for hole in sketch.holes))
tile-transforms both.c both.parallel
"""

from __future__ import annotations

from ansor_mini.constant_transforms import tile_steps, tile_transforms
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, Context, Next, Rule, stage_at, when
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeInline, Hole


def _in_tile(context: Context, derivation: Derivation, index: int) -> bool:
    name = stage_at(derivation, index).name
    found = tile_transforms(derivation.state.dag)
    return any(name in (own.root, *own.inlined, *own.transforms) for own in found)


def _apply(context: Context, derivation: Derivation, index: int) -> Next:
    """Put all loops of a transform together at its root; its other stages, which come later, are as they should be."""
    stage = stage_at(derivation, index)
    for transform in tile_transforms(derivation.state.dag):
        if transform.root == stage.name:
            axis = stage.tensor.axes[-1]
            hole = HoleSpec(f"{stage.name}.{axis.name}", stage.name, TILE, axis.extent, 2)
            inlined = [ComputeInline(name) for name in transform.inlined]
            steps = tile_steps(derivation.state.dag, transform, Hole(hole.name))
            derivation = derivation.then("tile-transforms", [*inlined, *steps], [hole])
    return [(derivation, index - 1)]


TILE_TRANSFORMS = Rule("tile-transforms", when(_in_tile, APPLY_AND_SKIP_REST), _apply)
