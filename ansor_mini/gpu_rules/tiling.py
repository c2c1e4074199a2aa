"""Rules for stages with data reuse: block, virtual thread and thread tiles, and copies of inputs in shared memory.

Paper: Ansor §4.3

The structure is SSSRRSRS. Its first three levels become blocks, virtual threads and threads (`bindings`); a stage is
computed in a consumer's thread tiles, which is a copy of it (`add_cache`) where there is no other. What it reads is
copied into shared memory in each iteration of its outermost reduction tile.
"""

from __future__ import annotations

from ansor_mini import dag_analysis as facts
from ansor_mini import sketch_hints as hints
from ansor_mini.gpu_steps import CacheReadShared
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, SKIP, Context, Next, Rule, Verdict, index_of, stage_at, when
from ansor_mini.schedule import REDUCE, Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, Step
from ansor_mini.tiling_rules import add_cache, apply_tiling, fuse_into, needs_tiling
from runtime.expr_tree import free_variables

FUSION_LEVEL = 3  # a fused stage is computed by each thread for itself
ROW_PADDING = 4  # elements: rows stay multiples of 16 bytes


def fusible_consumer(derivation: Derivation, index: int) -> str | None:
    """The consumer whose tiles a stage can be computed in, seen through what the state has inlined, or None."""
    name, state = stage_at(derivation, index).name, derivation.state
    readers = state.readers(name)
    if len(readers) != 1 or state.dag.is_output(name) or not readers[0].is_untouched:
        return None
    reader = readers[0].tensor
    if state.dag[name].reduce_axes and reader.reduce_axes:
        return None
    return reader.name if facts.elementwise_match(state.dag, name, reader.name) else None


def _wants_cache(context: Context, derivation: Derivation, index: int) -> bool:
    if not needs_tiling(context, derivation, index) or fusible_consumer(derivation, index) is not None:
        return False
    return not hints.is_set(stage_at(derivation, index).tensor, hints.NO_CACHE_WRITE)


def _uncopied(derivation: Derivation, stage: Stage) -> list[str]:
    """What a stage reads directly, not through a copy in shared memory."""
    if not stage.tensor.reduce_axes:
        return []  # the copies are made in its outermost reduction loop
    reads = derivation.state.dag.producers(stage.name)
    return [tensor.name for tensor in reads if tensor.shape and not _is_copy(tensor.name)]


def _is_copy(name: str) -> bool:
    return name.endswith(".shared")


def _reads_uncopied(context: Context, derivation: Derivation, index: int) -> bool:
    return needs_tiling(context, derivation, index) and bool(_uncopied(derivation, stage_at(derivation, index)))


def _copy_reads(context: Context, derivation: Derivation, index: int) -> Next:
    """Read through copies in shared memory; the same stage is looked at next."""
    stage = stage_at(derivation, index)
    steps = [CacheReadShared(stage.name, tensor) for tensor in _uncopied(derivation, stage)]
    copied = derivation.then("cache-read-shared", steps)
    return [(copied, index_of(copied, stage.name))]


def _reduce_last(stage: Stage, tensor: str) -> bool:
    """Whether neighbours in memory of what a stage reads are neighbours along its reduction, and some axis is not."""
    reduce = {axis.name for axis in stage.tensor.reduce_axes}
    spatial = {axis.name for axis in stage.tensor.axes}
    reads = [load for load in stage.tensor.loads() if load.buffer.name == tensor]
    return all(
        free_variables(load.indices[-1]) <= reduce and any(free_variables(index) & spatial for index in load.indices)
        for load in reads
    )


def _turnable(context: Context, derivation: Derivation, index: int) -> bool:
    stage = stage_at(derivation, index)
    if not _reads_uncopied(context, derivation, index):
        return False
    return any(_reduce_last(stage, tensor) for tensor in _uncopied(derivation, stage))


def _turn_reads(context: Context, derivation: Derivation, index: int) -> Next:
    """Read through copies in which neighbours along an axis of the result are neighbours in memory.

    A thread's elements of the operand are then whole vectors. The padding keeps stores of a row, turned into a column,
    from going to one bank of shared memory.
    """
    stage = stage_at(derivation, index)
    steps = []
    for tensor in _uncopied(derivation, stage):
        rank = len(derivation.state.dag[tensor].shape)
        turned = (rank - 1, *range(rank - 1)) if _reduce_last(stage, tensor) else ()
        steps.append(CacheReadShared(stage.name, tensor, turned, ROW_PADDING if turned else 0))
    copied = derivation.then("cache-read-turned", steps)
    return [(copied, index_of(copied, stage.name))]


def _fuse_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    fits = context.structure[:FUSION_LEVEL] == "S" * FUSION_LEVEL and context.spatial_levels > FUSION_LEVEL
    if not fits or not needs_tiling(context, derivation, index):
        return SKIP
    return SKIP if fusible_consumer(derivation, index) is None else APPLY_AND_SKIP_REST


def _tile_and_fuse(context: Context, derivation: Derivation, index: int) -> Next:
    consumer = fusible_consumer(derivation, index)
    assert consumer is not None
    name = stage_at(derivation, index).name
    fused = fuse_into(context, derivation, index, consumer, [FUSION_LEVEL])
    return [_place_copies(result, name) for result, _ in fused]


def _tile(context: Context, derivation: Derivation, index: int) -> Next:
    name = stage_at(derivation, index).name
    return [_place_copies(result, name) for result, _ in apply_tiling(context, derivation, index)]


def _place_copies(derivation: Derivation, name: str) -> tuple[Derivation, int]:
    """Compute a stage's copies in its outermost reduction tile; the stage before them is looked at next."""
    stage = derivation.state[name]
    copies = [t.name for t in derivation.state.dag.producers(name) if _is_copy(t.name)]
    if not copies:
        return derivation, index_of(derivation, name) - 1
    outer = [f"{axis.name}.0" for axis in stage.tensor.reduce_axes if f"{axis.name}.0" in stage.positions]
    place = max(outer or stage.names(REDUCE)[-1:], key=stage.positions.__getitem__)
    steps: list[Step] = [ComputeAt(copy, name, place) for copy in copies]
    placed = derivation.then("", steps)
    return placed, min(index_of(placed, copy) for copy in copies) - 1


ADD_CACHE_STAGE = Rule("add-cache-stage", when(_wants_cache, APPLY_AND_SKIP_REST), add_cache)
CACHE_READ_SHARED = Rule("cache-read-shared", when(_reads_uncopied, APPLY_AND_SKIP_REST), _copy_reads)
CACHE_READ_TURNED = Rule("cache-read-turned", when(_turnable), _turn_reads)
TILE_AND_FUSE = Rule("multi-level-tiling-with-fusion", _fuse_condition, _tile_and_fuse)
MULTI_LEVEL_TILING = Rule("multi-level-tiling", when(needs_tiling, APPLY_AND_SKIP_REST), _tile)
