"""The rule that lets the threads of a block share a reduction.

Paper: Ansor §4.3

All reduction loops become one, whose inner part is bound to threads: each reduces a share, then the shares are
combined. A stage whose consumer runs over the same outer axes is computed in the consumer's blocks, with as many
threads as work on the consumer; softmax becomes one kernel that way.
"""

from __future__ import annotations

import math

from ansor_mini import dag_analysis as facts
from ansor_mini.gpu_steps import Bind
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import APPLY, APPLY_AND_SKIP_REST, SKIP, Context, Next, Rule, Verdict, stage_at
from ansor_mini.schedule import REDUCE, SPATIAL, At, SplitRelation, Stage, State
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, FollowSplit, Fuse, Hole, Reorder, Split, Step
from runtime.gpu import Gpu


def limits_of(context: Context) -> Gpu:
    """The GPU that a rule is asked for.  Raises: TypeError: the context has none."""
    if not isinstance(context.machine, Gpu):
        raise TypeError(f"rules for GPUs need a Gpu as the machine, got {type(context.machine).__name__}")
    return context.machine


def thread_counts(extent: int, gpu: Gpu) -> tuple[int, ...]:
    """How many threads a loop may be shared by: whole warps, up to the first that is enough.

    >>> from runtime.gpu import gpu
    >>> thread_counts(100, gpu("h100")), thread_counts(5, gpu("h100"))
    ((32, 64, 128), (32,))
    """
    counts = [gpu.warp]
    while counts[-1] < min(extent, gpu.threads_per_block):
        counts.append(counts[-1] * 2)
    return tuple(counts)


def thread_hole(stage: str, extent: int, gpu: Gpu) -> HoleSpec:
    """The choice of how many threads of a block a stage's loop is shared by."""
    return HoleSpec(f"{stage}.threads", stage, TILE, extent, 2, choices=thread_counts(extent, gpu))


def _condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    """The published code's condition: little else to do in parallel, or more to reduce than a warp does at once."""
    stage, gpu = stage_at(derivation, index), limits_of(context)
    op = stage.tensor
    if stage.name in derivation.caches or not op.reduce_axes or not stage.is_untouched:
        return SKIP
    if is_factored(derivation.state, stage.name):
        return APPLY_AND_SKIP_REST  # partial results are there to keep all threads busy
    spatial, reduce = op.size, math.prod(axis.extent for axis in op.reduce_axes)
    if facts.needs_multi_level_tiling(derivation.state.dag, stage.name):
        return APPLY if spatial <= gpu.threads_per_block and spatial < reduce else SKIP
    return APPLY if reduce > gpu.warp else SKIP


def is_factored(state: State, name: str) -> bool:
    """Whether a stage computes partial results of a reduction, or adds them up."""
    return name.endswith(".rf") or f"{name}.rf" in state.dag.tensors


def _apply(context: Context, derivation: Derivation, index: int) -> Next:
    stage, gpu = stage_at(derivation, index), limits_of(context)
    reduce = stage.names(REDUCE)
    fused = "@".join(reduce)
    extent = math.prod(axis.extent for axis in stage.tensor.reduce_axes)
    steps: list[Step] = [Fuse(stage.name, reduce)] if len(reduce) > 1 else []
    holes: list[HoleSpec] = []
    target = _target(derivation.state, stage)
    common = _common_outer(derivation.state, stage.name, target.name) if target else 0
    source = None
    if target is not None and common:
        source, more, opened = _threads_of(target, common, gpu)
        steps, holes = [*more, *steps], opened
    if source is None:
        holes.append(thread_hole(stage.name, extent, gpu))
        steps.append(Split(stage.name, fused, Hole(holes[-1].name)))
    else:
        steps.append(FollowSplit(stage.name, fused, source, 2))
    steps.append(Bind(stage.name, f"{fused}.1", "thread"))
    # a thread's share is a loop inside, so that neighbouring threads read neighbouring elements
    steps.append(Reorder(stage.name, (*stage.names(SPATIAL), f"{fused}.1", f"{fused}.0")))
    if target is not None and common:
        steps.append(ComputeAt(stage.name, target.name, target.names()[common - 1]))
    return [(derivation.then("cross-thread-reduction", steps, holes), index - 1)]


def _target(state: State, stage: Stage) -> Stage | None:
    """The one root stage in whose loops all readers are, unless that is tiled itself."""
    if state.dag.is_output(stage.name) or stage.name.endswith(".rf"):
        return None  # partial results are what blocks are for
    roots = {_root(state, reader) for reader in state.readers(stage.name)}
    if len(roots) != 1:
        return None
    target = state[roots.pop()]
    return None if facts.needs_multi_level_tiling(state.dag, target.name) else target


def _root(state: State, stage: Stage) -> str:
    while isinstance(stage.location, At):
        stage = state[stage.location.stage]
    return stage.name


def _common_outer(state: State, name: str, target: str) -> int:
    """How many leading loops a stage shares with a later one on every way of reads between them."""
    consumers = state.dag.consumers(name)
    counts = [facts.common_outer_axes(state.dag, name, consumer.name) for consumer in consumers]
    counts += [_common_outer(state, consumer.name, target) for consumer in consumers if consumer.name != target]
    names, axes = state[target].names(), state[target].tensor.axes
    untouched = next((n for n, axis in enumerate(axes) if n >= len(names) or names[n] != axis.name), len(axes))
    return min([untouched, *counts])


def _threads_of(target: Stage, common: int, gpu: Gpu) -> tuple[tuple[str, str] | None, list[Step], list[HoleSpec]]:
    """The split of the target's last loop that its threads come from; a new one if it has none yet.

    None when all of the target's loops are common: there is nothing for threads to share but the reduction.
    """
    splits = [relation for relation in target.relations if isinstance(relation, SplitRelation)]
    if splits:
        return (target.name, splits[0].iterator), [], []
    if target.tensor.reduce_axes or common == len(target.iterators):
        return None, [], []
    axis = target.tensor.axes[-1]
    hole = thread_hole(target.name, axis.extent, gpu)
    steps: list[Step] = [
        Split(target.name, axis.name, Hole(hole.name)),
        Bind(target.name, f"{axis.name}.1", "thread"),
    ]
    return (target.name, axis.name), steps, [hole]


CROSS_THREAD_REDUCTION = Rule("cross-thread-reduction", _condition, _apply)
