"""A step that copies what a stage reads, so that a piece of it can lie densely in a buffer of its own.

Beyond the paper, whose cache stages are for what is written (and, on GPUs, for shared memory).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansor_mini.schedule import ScheduleError, State, Step, untouched_stage
from ansor_mini.stage_steps import replace_stage
from ansor_mini.tensor_expression import CACHE_COPY, Axis, Tensor
from runtime.expr import Expr, Load, Var
from runtime.expr_tree import transform


def copy_name(tensor: str) -> str:
    """The name of the copy of a tensor."""
    return f"{tensor}.pack"


def copy_axes(tensor: Tensor) -> tuple[Axis, ...]:
    """The axes of a tensor's copy, one for each dimension."""
    return tuple(Axis(f"p{number}", "int32", extent) for number, extent in enumerate(tensor.shape))


@dataclass(frozen=True)
class CacheRead(Step):
    """Let a stage read an input of the DAG through a copy, B.pack, that is a stage of its own.

    Attached inside the stage's tiles (`ComputeAt`), the copy is a small dense buffer: a packed panel.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [CacheRead("C", "B")]))
    placeholders: A, B
    for p0 in range(16):
        for p1 in range(8):
            B.pack = ...
    for i in range(8):
        for j in range(8):
            for k in range(16):
                C += ...
    """

    stage: str
    tensor: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        old = stage.tensor
        if not stage.is_untouched or state.attached_to(self.stage):
            raise ScheduleError(f"{self}: {self.stage} must not be scheduled before", state)
        source = next((tensor for tensor in state.dag.inputs if tensor.name == self.tensor), None)
        if source is None or all(load.buffer.name != self.tensor for load in old.loads()):
            raise ScheduleError(f"{self}: {self.stage} does not read an input {self.tensor}", state)
        name, axes = copy_name(self.tensor), copy_axes(source)
        if name in state.dag.tensors:
            raise ScheduleError(f"{self}: {self.tensor} already has a copy", state)
        body = source[tuple(Var(axis.name) for axis in axes)]
        copy = Tensor(name, source.shape, source.dtype, axes=axes, body=body, attributes={CACHE_COPY: True})

        def read_copy(node: Expr) -> Expr | None:
            return copy[node.indices] if isinstance(node, Load) and node.buffer.name == self.tensor else None

        reader = replace(old, body=transform(old.expression, read_copy))
        return replace_stage(state, old.name, untouched_stage(copy), untouched_stage(reader))
