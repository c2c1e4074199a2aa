"""The conditions under which a statement of a loop nest runs, and where they stand.

Tiles that do not divide their axis, and regions that stick out of their tensor, need guards. So does padding inside a
reduction: instead of adding zero, the nest skips the tap, which also lets the guard leave the inner loops.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansor_mini.bounds import StageBounds
from ansor_mini.schedule import SplitRelation
from ansor_mini.tensor_expression import MEMORY
from runtime.expr import Binary, Const, Expr, Select
from runtime.expr_tree import free_variables, loads
from runtime.indices.affine import Affine
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import If, Stmt


@dataclass(frozen=True)
class Guard:
    """A condition and the position of the innermost loop that it depends on, -1 for none of the stage's own."""

    condition: Expr
    position: int

    @staticmethod
    def of(condition: Expr, loops: Sequence[str | None]) -> Guard:
        """Place a condition among the loops with these variables."""
        used = free_variables(condition)
        return Guard(condition, max((p for p, name in enumerate(loops) if name in used), default=-1))


def wrap(body: Stmt, guards: Sequence[Guard], position: int) -> Stmt:
    """Put the guards that belong at a position around a statement, as one condition."""
    condition: Expr | None = None
    for guard in guards:
        if guard.position == position:
            condition = guard.condition if condition is None else condition & guard.condition
    return body if condition is None else If(condition, body)


def axis_guards(
    bounds: StageBounds,
    local: Mapping[str, Affine],
    everywhere: Mapping[str, Affine],
    simplifier: Simplifier,
    loops: Sequence[str | None],
) -> tuple[list[Guard], list[Guard]]:
    """The guards of a stage that cannot be proved, those on spatial axes apart from those on reduction axes.

    local: value of each iterator. everywhere: value of each axis in the whole tensor, not only the stage's region.
    """
    tensor = bounds.stage.tensor
    reductions = _reduction_iterators(bounds)
    spatial: dict[Expr, None] = {}
    reduce: dict[Expr, None] = {}
    splits = [relation for relation in bounds.stage.relations if isinstance(relation, SplitRelation)]
    if MEMORY in tensor.attributes:
        # a guard on the outer part instead leaves vectors whole
        splits = [relation for relation in splits if not _is_exact(relation, bounds)]
    outermost = {relation.parts[0] for relation in splits}
    for relation in splits:
        name = relation.iterator
        if name in outermost:
            continue  # the guard on what it was split from is at least as strict
        found = reduce if name in reductions else spatial
        _add(found, simplifier, "<", local[name], bounds.extents[name])
    for axis in tensor.axes:
        form = everywhere[axis.name]
        if bounds.region[axis.name].start.terms or bounds.region[axis.name].start.const:
            _add(spatial, simplifier, ">=", form, 0)
            _add(spatial, simplifier, "<", form, axis.extent)
    return [Guard.of(c, loops) for c in spatial], [Guard.of(c, loops) for c in reduce]


def _is_exact(relation: SplitRelation, bounds: StageBounds) -> bool:
    """Whether the parts of a split make no more iterations than there were."""
    return bounds.extents[relation.iterator] == math.prod(bounds.extents[part] for part in relation.parts)


def _add(found: dict[Expr, None], simplifier: Simplifier, op: str, form: Affine, limit: int) -> None:
    condition = simplifier.comparison(op, form, Affine(limit))
    if not isinstance(condition, Const):
        found[condition] = None


def _reduction_iterators(bounds: StageBounds) -> set[str]:
    """All iterators that come from reduction axes."""
    names = {axis.name for axis in bounds.stage.tensor.reduce_axes}
    for relation in bounds.stage.relations:
        if isinstance(relation, SplitRelation):
            if relation.iterator in names:
                names.update(relation.parts)
        elif relation.iterators[0] in names:
            names.add(relation.fused)
    return names


def skip_identities(value: Expr, combiner: str, identity: Const, vectors: Collection[str]) -> tuple[list[Expr], Expr]:
    """Conditions under which a reduction's value can matter, and the value where they hold.

    `sum` of `select(c, x, 0) * w` needs only the points where c holds (for finite w). Conditions on vectorised loops
    stay in the select, since a guard would take the lanes apart; so do those on data, which may not be computed yet
    where the guard would stand.
    """
    if isinstance(value, Select):
        other = value.otherwise
        if isinstance(other, Const) and _never_matters(other, combiner, identity):
            conditions: list[Expr] = []
            kept: list[Expr] = []
            for part in _conjuncts(value.condition):
                stays = free_variables(part) & set(vectors) or loads(part)
                (kept if stays else conditions).append(part)
            inner = value.then if not kept else Select(_all(kept), value.then, other)
            more, inner = skip_identities(inner, combiner, identity, vectors) if not kept else ([], inner)
            return conditions + more, inner
    if combiner == "sum" and isinstance(value, Binary) and value.op == "*":
        left, a = skip_identities(value.a, combiner, identity, vectors)
        right, b = skip_identities(value.b, combiner, identity, vectors)
        if left or right:
            return left + [part for part in right if part not in left], Binary("*", a, b)
    return [], value


def _never_matters(constant: Const, combiner: str, identity: Const) -> bool:
    if combiner == "max":
        return constant.value <= identity.value
    if combiner == "min":
        return constant.value >= identity.value
    return constant.value == 0


def _conjuncts(condition: Expr) -> list[Expr]:
    if isinstance(condition, Binary) and condition.op == "and":
        return _conjuncts(condition.a) + _conjuncts(condition.b)
    return [condition]


def _all(conditions: Sequence[Expr]) -> Expr:
    result = conditions[0]
    for condition in conditions[1:]:
        result = result & condition
    return result
