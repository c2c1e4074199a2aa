"""The kernel of a tensorised stage, from the state of a schedule."""

from __future__ import annotations

from collections.abc import Mapping

from ansor_mini.bounds import inlined_bodies
from ansor_mini.gpu_rules.contraction import contraction
from ansor_mini.gpu_rules.tensor_lowering import Result, tensor_nest
from ansor_mini.schedule import ScheduleError, Stage, State
from ansor_mini.tensor_steps import TENSORIZED, TensorPlan
from runtime.expr import Buffer, Expr, Load
from runtime.expr_tree import substitute, transform_loads
from runtime.loop_nest import Stmt


def tensorized_nest(state: State, root: Stage, buffers: Mapping[str, Buffer]) -> Stmt:
    """The nest of a stage with a tensor plan, and of the sum that is computed in it.

    Raises: ScheduleError: the stage is no matrix product any more.
    """
    plan = root.tensor.attributes[TENSORIZED]
    assert isinstance(plan, TensorPlan)
    work = contraction(state, plan.stage)
    if work is None:
        raise ScheduleError(f"{plan.stage} is no sum of products of two operands of one dtype", state)
    tensor, target = state[plan.stage].tensor, buffers[root.name]
    if root.name == plan.stage:
        return tensor_nest(work, plan.tiling, Result(target, tuple(tensor.axes), lambda total: total), buffers)
    # The consumer reads element by element: its axes are those of the sum under other names.
    same: dict[str, Expr] = {mine.name: theirs for mine, theirs in zip(root.tensor.axes, tensor.axes)}
    body = substitute(inlined_bodies(state)[root.name], same)

    def value(total: Expr) -> Expr:
        return transform_loads(body, lambda load: total if _reads(load, plan.stage) else None)

    return tensor_nest(work, plan.tiling, Result(target, tuple(tensor.axes), value), buffers)


def _reads(load: Load, name: str) -> bool:
    return load.buffer.name == name
