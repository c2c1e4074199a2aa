"""The rules that derive sketches for CPUs, as a list of named entries.

Paper: Ansor §4.1, Table 1

Each rule has a condition, which says Skip, Apply or Apply-and-skip-the-rest for a state and a stage, and an
application, which gives new states with the stage to look at next. An extension is one more `Rule` in the list given
to `derive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ansor_mini import dag_analysis as facts
from ansor_mini.holes import TILE, HoleSpec, rounded_extents
from ansor_mini.schedule import REDUCE, SPATIAL, Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import (
    CacheWrite,
    ComputeAt,
    ComputeInline,
    FollowSplit,
    Fuse,
    Hole,
    Reorder,
    Rfactor,
    Split,
    Step,
)
from runtime.machine import Machine


class Verdict(Enum):
    """What a condition says."""

    SKIP = "skip"
    APPLY = "apply"
    APPLY_AND_SKIP_REST = "apply and skip the rest"

    @property
    def applies(self) -> bool:
        """The rule is to be applied."""
        return self is not Verdict.SKIP

    @property
    def last(self) -> bool:
        """No later rule is to be tried."""
        return self is Verdict.APPLY_AND_SKIP_REST


SKIP, APPLY, APPLY_AND_SKIP_REST = Verdict.SKIP, Verdict.APPLY, Verdict.APPLY_AND_SKIP_REST


@dataclass(frozen=True)
class Context:
    """What the rules may depend on besides the state: the machine and the structure of tiled loops."""

    machine: Machine
    structure: str = "SSRSRS"

    @property
    def spatial_levels(self) -> int:
        """Parts that a spatial axis is split into."""
        return self.structure.count("S")

    @property
    def reduce_levels(self) -> int:
        """Parts that a reduction axis is split into."""
        return self.structure.count("R")


Next = Sequence[tuple[Derivation, int]]


@dataclass(frozen=True)
class Rule:
    """One derivation rule; both functions get the context, the derivation so far and the index of the stage."""

    name: str
    condition: Callable[[Context, Derivation, int], Verdict]
    apply: Callable[[Context, Derivation, int], Next]


def _stage(derivation: Derivation, index: int) -> Stage:
    return derivation.state.stages[index]


def _index_of(derivation: Derivation, name: str) -> int:
    return next(index for index, stage in enumerate(derivation.state.stages) if stage.name == name)


def _needs_tiling(derivation: Derivation, index: int) -> bool:
    return facts.needs_multi_level_tiling(derivation.state.dag, _stage(derivation, index).name)


def _fusible_consumer(derivation: Derivation, index: int) -> str | None:
    return facts.fusible_consumer(derivation.state.dag, _stage(derivation, index).name)


# Rule 1: skip


def _always(context: Context, derivation: Derivation, index: int) -> Verdict:
    return APPLY


def _leave(context: Context, derivation: Derivation, index: int) -> Next:
    return [(derivation, index - 1)]


# Rule 2: always inline


def _inlineable(context: Context, derivation: Derivation, index: int) -> Verdict:
    stage, dag = _stage(derivation, index), derivation.state.dag
    inline = not dag.is_output(stage.name) and facts.is_strictly_inlineable(dag, stage.name)
    return APPLY_AND_SKIP_REST if inline else SKIP


def _inline(context: Context, derivation: Derivation, index: int) -> Next:
    return [(derivation.then("inline", [ComputeInline(_stage(derivation, index).name)]), index - 1)]


# Rule 3: multi-level tiling


def _tiling_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    return APPLY_AND_SKIP_REST if _needs_tiling(derivation, index) else SKIP


def tile(context: Context, stage: Stage) -> tuple[list[Step], list[HoleSpec]]:
    """The steps and holes that tile a stage by the context's structure, e.g. SSRSRS: i0 j0 i1 j1 k0 i2 j2 k1 i3 j3."""
    steps: list[Step] = []
    holes: list[HoleSpec] = []
    parts: dict[str, list[list[str]]] = {"S": [], "R": []}
    for letter, axes in (("S", stage.tensor.axes), ("R", stage.tensor.reduce_axes)):
        levels = context.structure.count(letter)
        for axis in axes:
            parts[letter].append([axis.name] if levels == 1 else [f"{axis.name}.{level}" for level in range(levels)])
            if levels > 1:
                hole = HoleSpec(
                    f"{stage.name}.{axis.name}", stage.name, TILE, axis.extent, levels, reduce=letter == "R"
                )
                if letter == "S":
                    lanes = context.machine.lanes if axis == axes[-1] else 1
                    hole = replace(hole, rounded=rounded_extents(axis.extent, lanes))
                holes.append(hole)
                steps.append(Split(stage.name, axis.name, Hole(hole.name)))
    seen = {"S": 0, "R": 0}
    order: list[str] = []
    for letter in context.structure:
        order += [names[seen[letter]] for names in parts[letter]]
        seen[letter] += 1
    return [*steps, Reorder(stage.name, tuple(order))], holes


def _tile(context: Context, derivation: Derivation, index: int) -> Next:
    steps, holes = tile(context, _stage(derivation, index))
    return [(derivation.then("tile", steps, holes), index - 1)]


# Rule 4: multi-level tiling with fusion

FUSION_LEVELS = (1, 2)


def _fusion_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    if not _needs_tiling(derivation, index) or _fusible_consumer(derivation, index) is None:
        return SKIP
    # A cache stage exists to be fused, so leaving it alone is no alternative.
    return APPLY_AND_SKIP_REST if _stage(derivation, index).name in derivation.caches else APPLY


def _tile_and_fuse(context: Context, derivation: Derivation, index: int) -> Next:
    stage, consumer_name = _stage(derivation, index), _fusible_consumer(derivation, index)
    assert consumer_name is not None
    consumer = derivation.state[consumer_name]
    steps, holes = tile(context, stage)
    results = []
    for level in FUSION_LEVELS:
        if context.structure[:level] != "S" * level or context.spatial_levels <= level:
            continue
        own = consumer.names()
        follow: list[Step] = [
            FollowSplit(consumer_name, name, (stage.name, source), level + 1)
            for name, source in zip(own, stage.names(SPATIAL))
        ]
        order = tuple(f"{name}.{part}" for part in range(level + 1) for name in own)
        attach = ComputeAt(stage.name, consumer_name, f"{own[-1]}.{level - 1}")
        fused = derivation.then(
            f"tile-and-fuse-{level}", [*steps, *follow, Reorder(consumer_name, order), attach], holes
        )
        followers = (*derivation.followers, (consumer_name, stage.name, level))
        results.append((replace(fused, followers=followers), index - 1))
    return results


# Rule 5: add a cache stage


def _cache_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    return APPLY if _needs_tiling(derivation, index) and _fusible_consumer(derivation, index) is None else SKIP


def _add_cache(context: Context, derivation: Derivation, index: int) -> Next:
    name = _stage(derivation, index).name
    cached = derivation.then("cache-write", [CacheWrite(name)])
    cached = replace(cached, caches=(*cached.caches, f"{name}.local"))
    return [(cached, _index_of(cached, f"{name}.local"))]


# Rule 6: reduction factorisation


def _rfactor_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    stage = _stage(derivation, index)
    if stage.name in derivation.caches or stage.name.endswith(".rf"):
        return SKIP
    parallel = facts.has_more_reduction_parallel(derivation.state.dag, stage.name, context.machine.cores)
    return APPLY if parallel else SKIP


def _rfactor(context: Context, derivation: Derivation, index: int) -> Next:
    stage = _stage(derivation, index)
    reduce = stage.names(REDUCE)
    extent = math.prod(axis.extent for axis in stage.tensor.reduce_axes)
    steps: list[Step] = [Fuse(stage.name, reduce)] if len(reduce) > 1 else []
    fused = "@".join(reduce)
    spatial = len(stage.iterators) - len(reduce)
    hole = HoleSpec(f"{stage.name}.{fused}", stage.name, TILE, extent, 2, reduce=True)
    results = []
    for part in (0, 1):
        factored = derivation.then(
            f"rfactor-{part}",
            [*steps, Split(stage.name, fused, Hole(hole.name)), Rfactor(stage.name, f"{fused}.{part}", spatial)],
            [hole],
        )
        results.append((factored, _index_of(factored, f"{stage.name}.rf") - 1))
    return results


ALWAYS_INLINE = Rule("always-inline", _inlineable, _inline)
TILE_AND_FUSE = Rule("multi-level-tiling-with-fusion", _fusion_condition, _tile_and_fuse)
MULTI_LEVEL_TILING = Rule("multi-level-tiling", _tiling_condition, _tile)
ADD_CACHE_STAGE = Rule("add-cache-stage", _cache_condition, _add_cache)
RFACTOR = Rule("reduction-factorization", _rfactor_condition, _rfactor)
SKIP_STAGE = Rule("skip", _always, _leave)

# Tried in this order at every stage; a rule that says "skip the rest" hides those behind it.
CPU_RULES = (ALWAYS_INLINE, ADD_CACHE_STAGE, TILE_AND_FUSE, MULTI_LEVEL_TILING, SKIP_STAGE)
CPU_RULES_WITH_RFACTOR = (ALWAYS_INLINE, RFACTOR, *CPU_RULES[1:])
