"""Steps for GPUs: what hardware a loop runs on, copies in shared memory, and loops shared out over a block's threads.

Paper: Ansor §4.3
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ansor_mini.annotation_steps import annotate
from ansor_mini.cache_read import copy_axes
from ansor_mini.loop_steps import split
from ansor_mini.schedule import ScheduleError, SplitRelation, State, Step, untouched_stage
from ansor_mini.stage_steps import replace_stage
from ansor_mini.tensor_expression import CACHE_COPY, MEMORY, ROW_PADDING, Tensor
from runtime.expr import Expr, Load, Var
from runtime.expr_tree import transform
from runtime.loop_nest import BLOCK, THREAD, VTHREAD

BINDINGS = (BLOCK, VTHREAD, THREAD)
SHARED = "shared"


def shared_name(tensor: str, reader: str) -> str:
    """The name of the copy of a tensor that one stage reads."""
    return f"{tensor}.{reader.split('.')[0]}.{SHARED}"


@dataclass(frozen=True)
class Bind(Step):
    """Run the iterations of a loop on the blocks, the virtual threads or the threads of a GPU.

    Loops over the axes of a reduction can be bound to threads: each thread reduces a part, then the parts are combined.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [Bind("C", "i", "block"), Bind("C", "j", "thread")]))
    placeholders: A, B
    for i in block(8):
        for j in thread(8):
            for k in range(16):
                C += ...
    """

    stage: str
    iterator: str
    kind: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        if self.kind not in BINDINGS:
            raise ScheduleError(f"{self}: kind must be one of {', '.join(BINDINGS)}, got {self.kind!r}", state)
        return annotate(state, self, self.stage, self.iterator, self.kind)


@dataclass(frozen=True)
class CacheReadShared(Step):
    """Let a stage read another tensor through a copy that the threads of a block share, A.C.shared.

    Computed at one of the stage's loops, the copy holds what all threads of a block read in one iteration of it.
    order: of the tensor's dimensions in the copy, outer to inner; as they are when empty. padding: unused elements at
    the end of each row of the copy, which spread columns over the banks of shared memory.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> from ansor_mini.location_steps import ComputeAt
    >>> steps = [CacheReadShared("C", "A"), Bind("C", "i", "thread"), ComputeAt("A.C.shared", "C", "j")]
    >>> print(replay(matmul(8, 6, 16), steps))
    placeholders: A, B
    for i in thread(8):
        for j in range(6):
            for p0 in range(8):
                for p1 in range(16):
                    A.C.shared = ...
            for k in range(16):
                C += ...
    """

    stage: str
    tensor: str
    order: tuple[int, ...] = ()
    padding: int = 0

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        old = stage.tensor
        if not stage.is_untouched or state.attached_to(self.stage):
            raise ScheduleError(f"{self}: {self.stage} must not be scheduled before", state)
        source = next((tensor for tensor in state.dag.producers(self.stage) if tensor.name == self.tensor), None)
        if source is None:
            raise ScheduleError(f"{self}: {self.stage} does not read {self.tensor}", state)
        axes = copy_axes(source)
        order = self.order or tuple(range(len(axes)))
        if sorted(order) != list(range(len(axes))) or self.padding < 0:
            raise ScheduleError(f"{self}: order must name {len(axes)} dimensions, padding must not be negative", state)
        copy = Tensor(
            shared_name(self.tensor, self.stage),
            tuple(source.shape[number] for number in order),
            source.dtype,
            axes=tuple(axes[number] for number in order),
            body=source[tuple(Var(axis.name) for axis in axes)],
            attributes={CACHE_COPY: True, MEMORY: SHARED, ROW_PADDING: self.padding},
        )
        if copy.name in state.dag.tensors:
            raise ScheduleError(f"{self}: {self.stage} already reads a copy of {self.tensor}", state)

        def read_copy(node: Expr) -> Expr | None:
            if isinstance(node, Load) and node.buffer.name == self.tensor:
                return copy[tuple(node.indices[number] for number in order)]
            return None

        reader = replace(old, body=transform(old.expression, read_copy))
        return replace_stage(state, old.name, untouched_stage(copy), untouched_stage(reader))


@dataclass(frozen=True)
class FollowFusedSplit(Step):
    """Split a loop in two so that the inner part is as long as certain parts of other splits together.

    The threads of a block are what i.2 and j.2 of the tiled stage make; a copy into shared memory is split so that it
    has as many. sources: (stage, iterator) that Splits were applied to. part: which part of each, 0 is the outermost.

    >>> from ansor_mini.loop_steps import Fuse, Split
    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> steps = [Split("D", "i", (4,)), Split("D", "j", (2,)), Fuse("C", ("i", "j"))]
    >>> print(replay(matmul(8, 8, 16, relu=True), [*steps, FollowFusedSplit("C", "i@j", (("D", "i"), ("D", "j")), 1)]))
    placeholders: A, B
    for i@j.0 in range(8):
        for i@j.1 in range(8):
            for k in range(16):
                C += ...
    for i.0 in range(2):
        for i.1 in range(4):
            for j.0 in range(4):
                for j.1 in range(2):
                    D = ...
    """

    stage: str
    iterator: str
    sources: tuple[tuple[str, str], ...]
    part: int

    def apply(self, state: State) -> State:
        """The state after this step."""
        lengths = []
        for stage, iterator in self.sources:
            splits = [r for r in state[stage].relations if isinstance(r, SplitRelation) and r.iterator == iterator]
            if not splits:
                raise ScheduleError(f"{self}: {stage} has no split of {iterator!r}", state)
            if not 1 <= self.part < len(splits[0].parts):
                raise ScheduleError(f"{self}: part must be 1 to {len(splits[0].parts) - 1}, got {self.part}", state)
            lengths.append(splits[0].lengths[self.part - 1])
        return split(state, self, self.stage, self.iterator, (math.prod(lengths),))
