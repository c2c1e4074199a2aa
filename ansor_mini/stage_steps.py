"""Steps that add a stage: a cache for what a stage writes, and partial results of a reduction.

Paper: Ansor §4.1, Table 1

Both rebuild the DAG. They take a stage whose loops nobody has touched (rfactor: whose spatial loops).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansor_mini.bounds import iterator_extents
from ansor_mini.loop_steps import Int, known
from ansor_mini.schedule import (
    REDUCE,
    ScheduleError,
    SplitRelation,
    Stage,
    State,
    Step,
    untouched_stage,
)
from ansor_mini.tensor_expression import CACHE_COPY, Axis
from runtime.expr import Expr, Var, select
from runtime.expr_tree import substitute
from runtime.indices.affine import Affine
from runtime.indices.simplify import Simplifier


@dataclass(frozen=True)
class CacheWrite(Step):
    """Compute a stage in a new stage C.local; C itself only copies.

    Attached inside C's tiles (`ComputeAt`), C.local is a small buffer that the compiler can keep in registers.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [CacheWrite("C")]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for k in range(16):
                C.local += ...
    for i in range(8):
        for j in range(8):
            C = ...
    """

    stage: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        if not stage.is_untouched or state.attached_to(self.stage):
            raise ScheduleError(f"{self}: {self.stage} must not be scheduled before", state)
        old = stage.tensor
        local = replace(old, name=f"{old.name}.local")
        if local.name in state.dag.tensors:
            raise ScheduleError(f"{self}: {self.stage} already has a cache", state)
        indices = tuple(Var(axis.name) for axis in old.axes)
        attributes = {**old.attributes, CACHE_COPY: True}
        copy = replace(old, reduce_axes=(), combiner=None, body=local[indices], attributes=attributes)
        return replace_stage(state, old.name, untouched_stage(local), untouched_stage(copy))


@dataclass(frozen=True)
class Rfactor(Step):
    """Turn one loop of a reduction into a spatial axis of a new stage C.rf of partial results; C adds them up.

    Gives parallel or vector work to a reduction with few outputs. iterator: a loop that comes from the reduction axes.
    position: where the new axis stands among C.rf's spatial axes. Paper: Ansor §4.1, Table 1, rule 6

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> from ansor_mini.loop_steps import Split
    >>> print(replay(matmul(8, 8, 16), [Split("C", "k", (4,)), Rfactor("C", "k.1", 2)]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for k.1 in range(4):
                for k.0 in range(4):
                    C.rf += ...
    for i in range(8):
        for j in range(8):
            for k.1 in range(4):
                C += ...
    """

    stage: str
    iterator: str
    position: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        old = stage.tensor
        position = known(self.position, self)
        self._check(state, stage, position)
        extents, strides = iterator_extents(stage, {axis.name: axis.extent for axis in (*old.axes, *old.reduce_axes)})
        body = _factored_body(stage, extents, strides)
        factored = Axis(self.iterator, "int32", extents[self.iterator])
        axes = (*old.axes[:position], factored, *old.axes[position:])
        rest = tuple(Axis(n, "int32", extents[n]) for n in stage.names(REDUCE) if n != self.iterator)
        partial = replace(
            old,
            name=f"{old.name}.rf",
            shape=tuple(axis.extent for axis in axes),
            axes=axes,
            reduce_axes=rest,
            combiner=old.combiner if rest else None,
            body=body,
        )
        indices = tuple(Var(axis.name) for axis in axes)
        final = replace(old, reduce_axes=(factored,), body=partial[indices])
        return replace_stage(state, old.name, untouched_stage(partial), untouched_stage(final))

    def _check(self, state: State, stage: Stage, position: int) -> None:
        if state.iterator(self.stage, self.iterator).kind != REDUCE:
            raise ScheduleError(f"{self}: {self.iterator} is not part of a reduction", state)
        if not 0 <= position <= len(stage.tensor.axes):
            raise ScheduleError(f"{self}: position must be 0 to {len(stage.tensor.axes)}, got {position}", state)
        plain = {axis.name for axis in stage.tensor.axes} <= set(stage.names())
        if not plain or stage.location != "root" or state.attached_to(self.stage):
            raise ScheduleError(f"{self}: the spatial loops of {self.stage} must not be scheduled before", state)
        if f"{self.stage}.rf" in state.dag.tensors:
            raise ScheduleError(f"{self}: {self.stage} is already factored", state)


def _factored_body(stage: Stage, extents: dict[str, int], strides: dict[str, int]) -> Expr:
    """The body with reduction axes written in terms of the stage's loops; points beyond an axis give the identity."""
    tensor = stage.tensor
    ranges = {name: (0, extent - 1) for name, extent in extents.items()}
    simplifier = Simplifier(ranges)
    values = iterator_values(stage, extents, strides, simplifier, {n: Affine(0, {Var(n): 1}) for n in stage.names()})
    body = substitute(tensor.expression, {axis.name: values[axis.name].to_expr() for axis in tensor.reduce_axes})
    inside: Expr | None = None
    for relation in stage.relations:
        if isinstance(relation, SplitRelation):
            name = relation.iterator
            guard = simplifier.value(values[name].to_expr() < extents[name])
            if not hasattr(guard, "value"):
                inside = guard if inside is None else inside & guard
    return simplifier.value(body) if inside is None else select(inside, simplifier.value(body), tensor.identity)


def iterator_values(
    stage: Stage,
    extents: dict[str, int],
    strides: dict[str, int],
    simplifier: Simplifier,
    loops: dict[str, Affine],
) -> dict[str, Affine]:
    """The value of every iterator, axes included, in terms of those of the stage's loops."""
    values = dict(loops)
    for relation in reversed(stage.relations):
        if isinstance(relation, SplitRelation):
            value = Affine()
            for part in relation.parts:
                value = value.plus(values[part], strides[part])
            values[relation.iterator] = value
            continue
        rest = values[relation.fused]
        for name in reversed(relation.iterators[1:]):
            values[name] = simplifier.mod(rest, extents[name])
            rest = simplifier.floordiv(rest, extents[name])
        values[relation.iterators[0]] = rest
    return values


def replace_stage(state: State, name: str, *stages: Stage) -> State:
    """The state with a stage replaced by several, the last of which keeps its name."""
    dag = state.dag.replace(name, *(stage.tensor for stage in stages))
    # readers keep the old tensor in their loads; tensors compare by name, shape and dtype, so lookups go by name
    new = tuple(part for stage in state.stages for part in (stages if stage.name == name else (stage,)))
    return State(dag, new)
