"""The step that hands a sum of products to the Tensor Cores.

Beyond the paper, which names special instructions as a limitation (§9). What the step leaves to `lowering` is the whole
nest of the stage, since blocks, warps and fragments follow from one choice, the tiling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansor_mini.gpu_rules.contraction import future_contraction
from ansor_mini.gpu_rules.tensor_lowering import TensorTiling
from ansor_mini.schedule import ROOT, At, ScheduleError, Stage, State, Step
from ansor_mini.stage_steps import replace_stage
from runtime.loop_nest import TENSOR

# Attribute of a tensor computed on Tensor Cores, and of the consumer that its results go into.
TENSORIZED = "tensorized"

# The tilings to choose from, largest first. Large ones read the least for each product; small ones leave enough blocks
# for all multiprocessors, and little padding, where the result is small.
TENSOR_TILINGS = (
    TensorTiling(128, 256, 32, 64, 64, 4),
    TensorTiling(256, 128, 32, 64, 64, 4),
    TensorTiling(128, 256, 64, 64, 64, 3),
    TensorTiling(256, 128, 64, 64, 64, 3),
    TensorTiling(128, 128, 32, 64, 64, 3),
    TensorTiling(128, 128, 32, 64, 64, 4),
    TensorTiling(128, 128, 64, 64, 64, 3),
    TensorTiling(128, 128, 32, 64, 32, 3),
    TensorTiling(64, 256, 32, 64, 64, 4),
    TensorTiling(256, 64, 32, 64, 64, 4),
    TensorTiling(64, 128, 32, 64, 32, 3),
    TensorTiling(128, 64, 32, 64, 32, 3),
    TensorTiling(64, 64, 64, 32, 32, 3),
    TensorTiling(64, 64, 32, 32, 32, 3),
    TensorTiling(32, 128, 32, 32, 32, 3),
    TensorTiling(128, 32, 32, 32, 32, 3),
    TensorTiling(32, 64, 32, 16, 32, 3),
    TensorTiling(32, 32, 64, 16, 16, 3),
    TensorTiling(32, 32, 32, 16, 16, 2),
    TensorTiling(16, 64, 64, 16, 16, 3),
    TensorTiling(64, 16, 64, 16, 16, 3),
    TensorTiling(16, 16, 32, 16, 16, 2),
)


@dataclass(frozen=True)
class TensorPlan:
    """What lowering is told: the stage with the sum, and the tiling."""

    stage: str
    tiling: TensorTiling


@dataclass(frozen=True)
class Tensorize(Step):
    """Compute a stage on Tensor Cores with one of `TENSOR_TILINGS`, each result going straight into `consumer`.

    tiling: one number in a tuple, as holes for tiles have it. consumer: a stage that reads the other element by
    element, or "" for none.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> state = replay(matmul(64, 64, 64, relu=True), [Tensorize("C", (11,), "D")])
    >>> state["C"].location
    At(stage='D', iterator='i')
    """

    stage: str
    tiling: tuple[int, ...]
    consumer: str = ""

    def apply(self, state: State) -> State:
        """The state after this step."""
        touched = [name for name in (self.stage, self.consumer) if name and not state[name].is_untouched]
        if touched:
            raise ScheduleError(f"{self}: {touched[0]} must not be scheduled before", state)
        if future_contraction(state, self.stage) is None:
            raise ScheduleError(f"{self}: {self.stage} is no sum of products of two operands of one dtype", state)
        if not 0 <= self.tiling[0] < len(TENSOR_TILINGS):
            raise ScheduleError(f"{self}: there are {len(TENSOR_TILINGS)} tilings", state)
        plan = TensorPlan(self.stage, TENSOR_TILINGS[self.tiling[0]])
        state = _planned(state, state[self.stage], plan)
        if not self.consumer:
            return state
        if [stage.name for stage in state.readers(self.stage)] != [self.consumer]:
            raise ScheduleError(f"{self}: {self.consumer} must be the one stage that reads {self.stage}", state)
        state = _planned(state, state[self.consumer], plan)
        place = At(self.consumer, state[self.consumer].iterators[0].name)
        return state.with_stage(replace(state[self.stage], location=place)).check_attachments()


def _planned(state: State, stage: Stage, plan: TensorPlan) -> State:
    tensor = replace(stage.tensor, attributes={**stage.tensor.attributes, TENSORIZED: plan})
    iterators = tuple(replace(iterator, annotation=TENSOR) for iterator in stage.iterators)
    return replace_stage(state, stage.name, replace(stage, tensor=tensor, iterators=iterators))


def is_tensorized(stage: Stage) -> bool:
    """Whether Tensor Cores compute a stage, or what goes into it."""
    return TENSORIZED in stage.tensor.attributes


def is_tensorized_root(stage: Stage) -> bool:
    """Whether a stage is the one to be lowered as a kernel for Tensor Cores."""
    return is_tensorized(stage) and stage.location == ROOT
