"""Steps that say what kind of loop each is: parallel, vectorised or unrolled.

Paper: Ansor §4
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansor_mini.loop_steps import Int, known
from ansor_mini.schedule import REDUCE, At, ScheduleError, Stage, State, Step
from runtime.loop_nest import PARALLEL, SERIAL, THREAD, UNROLL, VECTORIZE


def annotate(state: State, step: Step, stage_name: str, name: str, annotation: str) -> State:
    """Set the kind of a loop."""
    iterator = state.iterator(stage_name, name)
    stage = state[stage_name]
    if iterator.annotation != SERIAL:
        raise ScheduleError(f"{step}: {name} is already {iterator.annotation}", state)
    if iterator.kind == REDUCE and annotation not in (UNROLL, THREAD):
        raise ScheduleError(f"{step}: iterations of the reduction {name} depend on each other", state)
    if annotation == PARALLEL:
        _check_parallel(state, step, stage)
    if annotation == VECTORIZE and At(stage_name, name) in state.attached:
        raise ScheduleError(f"{step}: {state.attached[At(stage_name, name)][0].name} is attached at {name}", state)
    changed = tuple(replace(it, annotation=annotation) if it.name == name else it for it in stage.iterators)
    return state.with_stage(replace(stage, iterators=changed))


def _check_parallel(state: State, step: Step, stage: Stage) -> None:
    if isinstance(stage.location, At):
        raise ScheduleError(f"{step}: {stage.name} is computed inside {stage.location.stage}, not at the root", state)
    if state.has_parallel(stage):
        raise ScheduleError(f"{step}: {stage.name} already has a parallel loop", state)


@dataclass(frozen=True)
class Parallel(Step):
    """Run the iterations of a spatial loop of a root stage on several cores.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [Parallel("C", "i")]))
    placeholders: A, B
    for i in parallel(8):
        for j in range(8):
            for k in range(16):
                C += ...
    """

    stage: str
    iterator: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        return annotate(state, self, self.stage, self.iterator, PARALLEL)


@dataclass(frozen=True)
class Vectorize(Step):
    """Run the iterations of a spatial loop as SIMD operations.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16, relu=True), [Vectorize("D", "j")]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for k in range(16):
                C += ...
    for i in range(8):
        for j in vectorize(8):
            D = ...
    """

    stage: str
    iterator: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        return annotate(state, self, self.stage, self.iterator, VECTORIZE)


@dataclass(frozen=True)
class Unroll(Step):
    """Copy the body of a loop once for each iteration.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 4), [Unroll("C", "k")]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for k in unroll(4):
                C += ...
    """

    stage: str
    iterator: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        return annotate(state, self, self.stage, self.iterator, UNROLL)


@dataclass(frozen=True)
class AutoUnroll(Step):
    """Let lowering unroll the innermost loops of a stage while the product of their extents is at most `max_step`.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 4), [AutoUnroll("C", 32)]))
    placeholders: A, B
    for i in range(8):
        for j in unroll(8):
            for k in unroll(4):
                C += ...
    """

    stage: str
    max_step: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        limit = known(self.max_step, self)
        if limit < 0:
            raise ScheduleError(f"{self}: max_step must not be negative, got {limit}", state)
        return state.with_stage(replace(state[self.stage], unroll_limit=limit))
