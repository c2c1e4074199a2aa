"""The rules that derive sketches for GPUs, as a list of named entries.

Paper: Ansor §4.3

Conditions and order are the published code's. Two of its rules look alike from another side here: tensors that are
inputs are no stages, so a copy in shared memory is added where its reader is tiled, not where it is read from.
"""

from __future__ import annotations

from ansor_mini import sketch_hints as hints
from ansor_mini.gpu_rules.block_reduction import REDUCTION_OVER_BLOCKS
from ansor_mini.gpu_rules.cross_thread import CROSS_THREAD_REDUCTION
from ansor_mini.gpu_rules.tiling import (
    ADD_CACHE_STAGE,
    CACHE_READ_SHARED,
    CACHE_READ_TURNED,
    MULTI_LEVEL_TILING,
    TILE_AND_FUSE,
)
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, Context, Next, Rule, index_of, stage_at, when
from ansor_mini.schedule import REDUCE, ROOT
from ansor_mini.sketch import Derivation
from ansor_mini.sketch_rules import SKIP_STAGE
from ansor_mini.steps import ComputeAt, ComputeInline, Hole, Reorder, Split, Step, Unroll

# Special compute location


def _inlineable(context: Context, derivation: Derivation, index: int) -> bool:
    """Every stage without a reduction: arithmetic is cheaper than a trip through memory."""
    stage = stage_at(derivation, index)
    if derivation.state.dag.is_output(stage.name) or not stage.is_untouched or stage.location != ROOT:
        return False
    return not stage.tensor.reduce_axes and not _unrolled(derivation, stage.name)


def _unrolled(derivation: Derivation, name: str) -> tuple[str, ...]:
    return hints.names(derivation.state[name].tensor, hints.SIMPLIFY_CONST_INDICES)


def _has_special_location(context: Context, derivation: Derivation, index: int) -> bool:
    """Its one reader unrolls the loops that read it, so that each element would be computed over and over."""
    if not _inlineable(context, derivation, index):
        return False
    name, state = stage_at(derivation, index).name, derivation.state
    readers = state.readers(name)
    return bool(state.dag.producers(name)) and len(readers) == 1 and bool(_unrolled(derivation, readers[0].name))


def _compute_before_unrolled(context: Context, derivation: Derivation, index: int) -> Next:
    name = stage_at(derivation, index).name
    reader = derivation.state.readers(name)[0]
    first = next(p for p, iterator in enumerate(reader.iterators) if iterator.annotation != "serial")
    if first == 0:
        return [(derivation.then("inline", [ComputeInline(name)]), index - 1)]
    place = reader.iterators[first - 1].name
    return [(derivation.then("special-compute-location", [ComputeAt(name, reader.name, place)]), index - 1)]


def _inline(context: Context, derivation: Derivation, index: int) -> Next:
    return [(derivation.then("inline", [ComputeInline(stage_at(derivation, index).name)]), index - 1)]


# Simplification with constant tensors


def _reads_constants(context: Context, derivation: Derivation, index: int) -> bool:
    return bool(_unrolled(derivation, stage_at(derivation, index).name))


def _simplify_constants(context: Context, derivation: Derivation, index: int) -> Next:
    """Split in two, and unroll innermost, the axes that index a constant tensor; its elements become constants."""
    stage = stage_at(derivation, index)
    unrolled = _unrolled(derivation, stage.name)
    rest = [axis for axis in stage.tensor.axes if axis.name not in unrolled]
    holes = [HoleSpec(f"{stage.name}.{axis.name}", stage.name, TILE, axis.extent, 2) for axis in rest]
    steps: list[Step] = [Split(stage.name, axis.name, Hole(hole.name)) for axis, hole in zip(rest, holes)]
    tiles = [f"{axis.name}.{part}" for part in (0, 1) for axis in rest]
    kept = [name for name in stage.names() if name in unrolled]
    kept += [name for name in stage.names(REDUCE) if name not in unrolled]
    steps.append(Reorder(stage.name, (*tiles, *kept)))
    steps += [Unroll(stage.name, name) for name in kept if name in unrolled]
    return [(derivation.then("simplify-constants", steps, holes), index_of(derivation, stage.name) - 1)]


SPECIAL_COMPUTE_LOCATION = Rule(
    "special-compute-location", when(_has_special_location, APPLY_AND_SKIP_REST), _compute_before_unrolled
)
ALWAYS_INLINE = Rule("always-inline", when(_inlineable, APPLY_AND_SKIP_REST), _inline)
SIMPLIFY_CONSTANTS = Rule("simplify-constants", when(_reads_constants, APPLY_AND_SKIP_REST), _simplify_constants)

GPU_RULES = (
    SPECIAL_COMPUTE_LOCATION,
    ALWAYS_INLINE,
    SIMPLIFY_CONSTANTS,
    CROSS_THREAD_REDUCTION,
    ADD_CACHE_STAGE,
    CACHE_READ_SHARED,
    TILE_AND_FUSE,
    MULTI_LEVEL_TILING,
    SKIP_STAGE,
)

# Beyond the paper: operands that lie along the reduction are also copied so that a thread reads whole vectors of them,
# and blocks share long reductions.
EXTENDED_GPU_RULES = (
    SPECIAL_COMPUTE_LOCATION,
    ALWAYS_INLINE,
    SIMPLIFY_CONSTANTS,
    REDUCTION_OVER_BLOCKS,
    CROSS_THREAD_REDUCTION,
    ADD_CACHE_STAGE,
    CACHE_READ_TURNED,
    CACHE_READ_SHARED,
    TILE_AND_FUSE,
    MULTI_LEVEL_TILING,
    SKIP_STAGE,
)

GPU_RULE_SETS = {"published": GPU_RULES, "extended": EXTENDED_GPU_RULES}
