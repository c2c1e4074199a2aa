"""A rule beyond the paper: a long reduction with few results is shared by many blocks, then by the threads of each.

The published rule for GPUs gives each result one block, so a norm of a matrix runs on one multiprocessor of a hundred.
Here the reduction is factored as rule 6 does it for CPUs: blocks write partial results, a second kernel adds them up.
"""

from __future__ import annotations

import math

from ansor_mini import dag_analysis as facts
from ansor_mini.gpu_rules.cross_thread import is_factored, limits_of
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import Context, Next, Rule, index_of, stage_at, when
from ansor_mini.schedule import REDUCE, SPATIAL
from ansor_mini.sketch import Derivation
from ansor_mini.steps import Fuse, Hole, Rfactor, Split, Step

SHORTEST = 8192  # elements to reduce for which a second kernel pays
BLOCKS = (64, 128, 256, 512, 1024)  # partial results of each result


def _condition(context: Context, derivation: Derivation, index: int) -> bool:
    stage, gpu = stage_at(derivation, index), limits_of(context)
    op = stage.tensor
    if not op.reduce_axes or not stage.is_untouched or facts.needs_multi_level_tiling(derivation.state.dag, op.name):
        return False
    if is_factored(derivation.state, op.name):
        return False
    return op.size < gpu.multiprocessors and math.prod(axis.extent for axis in op.reduce_axes) >= SHORTEST


def _apply(context: Context, derivation: Derivation, index: int) -> Next:
    """Factor the reduction; the stage that adds up the partial results is looked at next, then that of the parts."""
    stage = stage_at(derivation, index)
    reduce = stage.names(REDUCE)
    fused, extent = "@".join(reduce), math.prod(axis.extent for axis in stage.tensor.reduce_axes)
    shares = tuple(dict.fromkeys(-(-extent // blocks) for blocks in BLOCKS))
    hole = HoleSpec(f"{stage.name}.share", stage.name, TILE, extent, 2, reduce=True, choices=shares)
    steps: list[Step] = [Fuse(stage.name, reduce)] if len(reduce) > 1 else []
    steps += [
        Split(stage.name, fused, Hole(hole.name)),
        Rfactor(stage.name, f"{fused}.0", len(stage.names(SPATIAL))),
    ]
    factored = derivation.then("reduction-over-blocks", steps, [hole])
    return [(factored, index_of(factored, stage.name))]


REDUCTION_OVER_BLOCKS = Rule("reduction-over-blocks", when(_condition), _apply)
