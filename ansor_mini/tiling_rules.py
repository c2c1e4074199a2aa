"""Rules 3 to 5: multi-level tiling, tiling with a fused consumer, and the cache stage that gives a consumer to fuse.

Paper: Ansor §4.1, Table 1, rule 3
Paper: Ansor §4.1, Table 1, rule 4
Paper: Ansor §4.1, Table 1, rule 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansor_mini import dag_analysis as facts
from ansor_mini import sketch_hints as hints
from ansor_mini.holes import TILE, HoleSpec, rounded_extents, whole_warps
from ansor_mini.rule_types import APPLY, APPLY_AND_SKIP_REST, SKIP, Context, Next, Verdict, index_of, stage_at
from ansor_mini.schedule import SPATIAL, Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import CacheWrite, ComputeAt, FollowSplit, Hole, Reorder, Split, Step
from ansor_mini.tensor_expression import Axis, Tensor
from runtime.gpu import Gpu

FUSION_LEVELS = (1, 2)


def needs_tiling(context: Context, derivation: Derivation, index: int) -> bool:
    """Whether a stage has data reuse.  Paper: Ansor §4.1, Table 1 (HasDataReuse)"""
    return facts.needs_multi_level_tiling(derivation.state.dag, stage_at(derivation, index).name)


def fusible_consumer(derivation: Derivation, index: int) -> str | None:
    """The consumer that a stage can be fused into.  Paper: Ansor §4.1, Table 1 (HasFusibleConsumer)"""
    name = facts.fusible_consumer(derivation.state.dag, stage_at(derivation, index).name)
    # The consumer's loops follow the stage's; another rule (a user's hint) may have given it loops of its own.
    return name if name is not None and derivation.state[name].is_untouched else None


# Rule 3: multi-level tiling


def tiling_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    """The published code's condition of rule 3."""
    return APPLY_AND_SKIP_REST if needs_tiling(context, derivation, index) else SKIP


def _unsplit(tensor: Tensor) -> tuple[str, ...]:
    """Axes that hints keep whole."""
    return hints.names(tensor, hints.NO_SPLIT_AT_INNER) + hints.names(tensor, hints.NO_SPLIT_AT_OUTER)


def _tile_hole(context: Context, tensor: Tensor, axis: Axis, letter: str) -> HoleSpec:
    levels = context.structure.count(letter)
    hole = HoleSpec(f"{tensor.name}.{axis.name}", tensor.name, TILE, axis.extent, levels, reduce=letter == "R")
    if axis.name in hints.names(tensor, hints.LAST_SPLIT_IS_ONE):
        return replace(hole, innermost=1)
    if letter == "R":
        return hole
    if isinstance(context.machine, Gpu):
        return replace(hole, rounded=whole_warps(axis.extent))
    lanes = context.machine.lanes if axis == tensor.axes[-1] else 1
    return replace(hole, rounded=rounded_extents(axis.extent, lanes), step=lanes)


def tile(context: Context, stage: Stage) -> tuple[list[Step], list[HoleSpec]]:
    """The steps and holes that tile a stage by the context's structure, e.g. SSRSRS: i0 j0 i1 j1 k0 i2 j2 k1 i3 j3."""
    tensor = stage.tensor
    steps: list[Step] = []
    holes: list[HoleSpec] = []
    levels: dict[str, list[list[str]]] = {}
    for letter, axes in (("S", tensor.axes), ("R", tensor.reduce_axes)):
        count = context.structure.count(letter)
        level: list[list[str]] = [[] for _ in range(count)]
        for axis in axes:
            if axis.name in hints.names(tensor, hints.NO_SPLIT_AT_OUTER):
                level[0].append(axis.name)
            elif count == 1 or axis.name in hints.names(tensor, hints.NO_SPLIT_AT_INNER):
                level[-1].append(axis.name)
        for axis in axes:
            if count > 1 and axis.name not in _unsplit(tensor):
                hole = _tile_hole(context, tensor, axis, letter)
                holes.append(hole)
                steps.append(Split(tensor.name, axis.name, Hole(hole.name)))
                for number in range(count):
                    level[number].append(f"{axis.name}.{number}")
        levels[letter] = level
    order: list[str] = []
    for letter in context.structure:
        order += levels[letter].pop(0)
    return [*steps, Reorder(tensor.name, tuple(order))], holes


def apply_tiling(context: Context, derivation: Derivation, index: int) -> Next:
    """Tile a stage."""
    steps, holes = tile(context, stage_at(derivation, index))
    return [(derivation.then("tile", steps, holes), index - 1)]


# Rule 4: multi-level tiling with fusion


def fusion_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    """The published code's condition of rule 4."""
    if not needs_tiling(context, derivation, index) or fusible_consumer(derivation, index) is None:
        return SKIP
    # A cache stage exists to be fused, so leaving it alone is no alternative.
    return APPLY_AND_SKIP_REST if stage_at(derivation, index).name in derivation.caches else APPLY


def fusion_levels(context: Context) -> list[int]:
    """The levels of a consumer's tiles at which a tiled stage may be computed."""
    return [n for n in FUSION_LEVELS if context.structure[:n] == "S" * n and context.spatial_levels > n]


def apply_fusion(context: Context, derivation: Derivation, index: int) -> Next:
    """Tile a stage and compute it inside its consumer's tiles, once for each level where that can be."""
    consumer = fusible_consumer(derivation, index)
    assert consumer is not None
    return fuse_into(context, derivation, index, consumer, fusion_levels(context))


def fuse_into(
    context: Context, derivation: Derivation, index: int, consumer_name: str, levels: Sequence[int]
) -> list[tuple[Derivation, int]]:
    """Tile a stage and compute it inside a consumer's tiles, once for each of the levels."""
    stage = stage_at(derivation, index)
    whole = _unsplit(stage.tensor)
    if not levels or all(name in whole for name in stage.names(SPATIAL)):
        return list(apply_tiling(context, derivation, index))
    steps, holes = tile(context, stage)
    pairs = list(zip(derivation.state[consumer_name].names(), stage.names(SPATIAL)))
    split = [(own, source) for own, source in pairs if source not in whole]
    outer = [own for own, source in pairs if source in hints.names(stage.tensor, hints.NO_SPLIT_AT_OUTER)]
    inner = [own for own, source in pairs if source in hints.names(stage.tensor, hints.NO_SPLIT_AT_INNER)]
    results = []
    for level in levels:
        follow: list[Step] = [FollowSplit(consumer_name, own, (stage.name, source), level + 1) for own, source in split]
        parts = [[f"{own}.{part}" for own, _ in split] for part in range(level + 1)]
        order = (*outer, *(name for part in parts[:-1] for name in part), *inner, *parts[-1])
        attach = ComputeAt(stage.name, consumer_name, parts[level - 1][-1])
        fused = derivation.then(
            f"tile-and-fuse-{level}", [*steps, *follow, Reorder(consumer_name, order), attach], holes
        )
        followers = (*derivation.followers, (consumer_name, stage.name, level))
        results.append((replace(fused, followers=followers), index - 1))
    return results


# Rule 5: add a cache stage


def cache_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    """The published code's condition of rule 5."""
    return APPLY if wants_cache(context, derivation, index) else SKIP


def wants_cache(context: Context, derivation: Derivation, index: int) -> bool:
    """Whether a stage has data reuse and no consumer to fuse with.  Paper: Ansor §4.1, Table 1, rule 5"""
    if hints.is_set(stage_at(derivation, index).tensor, hints.NO_CACHE_WRITE):
        return False
    return needs_tiling(context, derivation, index) and fusible_consumer(derivation, index) is None


def add_cache(context: Context, derivation: Derivation, index: int) -> Next:
    """Compute a stage in a cache that it then copies; the cache is looked at next."""
    name = stage_at(derivation, index).name
    cached = derivation.then("cache-write", [CacheWrite(name)])
    cached = replace(cached, caches=(*cached.caches, f"{name}.local"))
    return [(cached, index_of(cached, f"{name}.local"))]
