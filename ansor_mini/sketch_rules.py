"""The rules that derive sketches for CPUs, as a list of named entries.

Paper: Ansor §4.1, Table 1

`CPU_RULES` are the rules of the table under the conditions of the published code, in its order, and `PAPER_RULES` the
same rules under the table's own conditions, in the table's order. An extension is one more `Rule` in the list given to
`derive`, usually in front: `derive(dag, rules=(my_rule, *CPU_RULES))`. The rules on tiling are in `tiling_rules`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ansor_mini import dag_analysis as facts
from ansor_mini import sketch_hints as hints
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import (
    APPLY,
    APPLY_AND_SKIP_REST,
    SKIP,
    Context,
    Next,
    Rule,
    Verdict,
    index_of,
    stage_at,
    when,
)
from ansor_mini.schedule import REDUCE, SPATIAL
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeInline, Fuse, Hole, Reorder, Rfactor, Split, Step, Unroll
from ansor_mini.tiling_rules import (
    add_cache,
    apply_fusion,
    apply_tiling,
    cache_condition,
    fusible_consumer,
    fusion_condition,
    needs_tiling,
    tiling_condition,
    wants_cache,
)

__all__ = ["CPU_RULES", "CPU_RULES_WITH_RFACTOR", "PAPER_RULES", "RULE_SETS", "Context", "Rule", "Verdict"]


# Rule 1: skip


def _always(context: Context, derivation: Derivation, index: int) -> Verdict:
    return APPLY


def _leave(context: Context, derivation: Derivation, index: int) -> Next:
    return [(derivation, index - 1)]


# Rule 2: always inline


def _inlineable(context: Context, derivation: Derivation, index: int) -> bool:
    stage, dag = stage_at(derivation, index), derivation.state.dag
    return not dag.is_output(stage.name) and facts.is_strictly_inlineable(dag, stage.name)


def _not_inlineable(context: Context, derivation: Derivation, index: int) -> bool:
    return not _inlineable(context, derivation, index)


def _inline(context: Context, derivation: Derivation, index: int) -> Next:
    return [(derivation.then("inline", [ComputeInline(stage_at(derivation, index).name)]), index - 1)]


# Not in the table: simplification with constant tensors


def _reads_constants(context: Context, derivation: Derivation, index: int) -> bool:
    return bool(hints.names(stage_at(derivation, index).tensor, hints.SIMPLIFY_CONST_INDICES))


def _simplify_constants(context: Context, derivation: Derivation, index: int) -> Next:
    """Unroll the axes that index a constant tensor, so that its elements become constants; split the others in two.

    The last of the inner tiles stands inside the unrolled loops, unlike in the published code: there it is a vector.
    """
    stage = stage_at(derivation, index)
    tensor = stage.tensor
    unrolled = hints.names(tensor, hints.SIMPLIFY_CONST_INDICES)
    rest = [axis for axis in tensor.axes if axis.name not in unrolled]
    holes = [HoleSpec(f"{stage.name}.{axis.name}", stage.name, TILE, axis.extent, 2) for axis in rest]
    steps: list[Step] = [Split(stage.name, axis.name, Hole(hole.name)) for axis, hole in zip(rest, holes)]
    outer, inner = ([f"{axis.name}.{part}" for axis in rest] for part in (0, 1))
    kept = [name for name in stage.names() if name in unrolled]
    steps.append(Reorder(stage.name, (*outer, *inner[:-1], *kept, *inner[-1:])))
    steps += [Unroll(stage.name, name) for name in kept]
    return [(derivation.then("simplify-constants", steps, holes), index - 1)]


# Rule 6: reduction factorisation

VECTOR_PARTIALS = 256  # most partial results that are kept as vectors


def _tiles_with_consumer(context: Context, derivation: Derivation, index: int) -> bool:
    return needs_tiling(context, derivation, index) and fusible_consumer(derivation, index) is not None


def _more_reduction_parallel(context: Context, derivation: Derivation, index: int) -> bool:
    name = stage_at(derivation, index).name
    return facts.has_more_reduction_parallel(derivation.state.dag, name, context.machine.cores)


def _rfactor_condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    """The published code's condition: never on a cache, and not twice."""
    name = stage_at(derivation, index).name
    if name in derivation.caches or name.endswith(".rf"):
        return SKIP
    return APPLY if _more_reduction_parallel(context, derivation, index) else SKIP


def _rfactor(context: Context, derivation: Derivation, index: int) -> Next:
    """Two variants: the outer part of the reduction becomes an axis, to run in parallel, or the inner one, a vector."""
    stage = stage_at(derivation, index)
    reduce, spatial = stage.names(REDUCE), stage.names(SPATIAL)
    extent = math.prod(axis.extent for axis in stage.tensor.reduce_axes)
    fused, partial = "@".join(reduce), f"{stage.name}.rf"
    steps: list[Step] = [Fuse(stage.name, reduce)] if len(reduce) > 1 else []
    hole = HoleSpec(f"{stage.name}.{fused}", stage.name, TILE, extent, 2, reduce=True)
    split = Split(stage.name, fused, Hole(hole.name))
    outer: list[Step] = [split, Rfactor(stage.name, f"{fused}.0", len(spatial))]
    inner: list[Step] = [split, Rfactor(stage.name, f"{fused}.1", len(spatial))]
    inner.append(Reorder(partial, (*spatial, f"{fused}.0", f"{fused}.1")))
    variants = ((outer, replace(hole, innermost=extent)), (inner, replace(hole, innermost=VECTOR_PARTIALS)))
    results = []
    for number, (own, limited) in enumerate(variants):
        factored = derivation.then(f"rfactor-{number}", [*steps, *own], [limited])
        results.append((factored, index_of(factored, partial) - 1))
    return results


ALWAYS_INLINE = Rule("always-inline", when(_inlineable, APPLY_AND_SKIP_REST), _inline)
SIMPLIFY_CONSTANTS = Rule("simplify-constants", when(_reads_constants, APPLY_AND_SKIP_REST), _simplify_constants)
RFACTOR = Rule("reduction-factorization", _rfactor_condition, _rfactor)
ADD_CACHE_STAGE = Rule("add-cache-stage", cache_condition, add_cache)
TILE_AND_FUSE = Rule("multi-level-tiling-with-fusion", fusion_condition, apply_fusion)
MULTI_LEVEL_TILING = Rule("multi-level-tiling", tiling_condition, apply_tiling)
SKIP_STAGE = Rule("skip", _always, _leave)

# Tried in this order at every stage; a rule that says "skip the rest" hides those behind it.
CPU_RULES = (
    ALWAYS_INLINE,
    SIMPLIFY_CONSTANTS,
    RFACTOR,
    ADD_CACHE_STAGE,
    TILE_AND_FUSE,
    MULTI_LEVEL_TILING,
    SKIP_STAGE,
)
CPU_RULES_WITH_RFACTOR = CPU_RULES

# The table's rows. Each rule whose condition holds is applied: a stage with data reuse may also be left alone, and a
# cache stage too.
PAPER_RULES = (
    SIMPLIFY_CONSTANTS,
    Rule("skip", when(_not_inlineable), _leave),
    Rule("always-inline", when(_inlineable), _inline),
    Rule("multi-level-tiling", when(needs_tiling), apply_tiling),
    Rule("multi-level-tiling-with-fusion", when(_tiles_with_consumer), apply_fusion),
    Rule("add-cache-stage", when(wants_cache), add_cache),
    Rule("reduction-factorization", when(_more_reduction_parallel), _rfactor),
)

RULE_SETS = {"published": CPU_RULES, "paper": PAPER_RULES}
