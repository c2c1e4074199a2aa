"""Reductions over a small window, such as depthwise convolution: tiles whose window is unrolled.

Beyond the paper, whose unroll limits seldom cover both a register tile and the window around it.

Neighbouring outputs of a small window share most of what they read. With the window unrolled around a register tile,
each input and each weight is loaded once for the whole tile. The reduction needs no tiles of its own:

    for h0, w0, c0:                                  for h0, w0, c0:
        for kh, kw:                                      for kh in unroll(3):
            for h1, w1 in the tile:            ->            for kw in unroll(3):
                for c1 in vectorize(16):                         for h1, w1 in the tile:
                    T[h1, w1, c1] += ...                             for c1 in vectorize(16):
                                                                         T[h1, w1, c1] += ...

Variants: the whole window unrolled, or only its rows, whose outer loop then skips rows beyond the image.

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> for sketch in derive(parse_workload("DEP:112,112,32,3,1,1"), (UNROLLED_WINDOWS, *CPU_RULES)):
...     print(*sketch.rules)
cache-write tile-and-fuse-2 unrolled-window
cache-write tile-and-fuse-2 unrolled-rows
"""

from __future__ import annotations

import math
from dataclasses import replace

from ansor_mini.rule_types import APPLY_AND_SKIP_REST, Context, Next, Rule, stage_at, when
from ansor_mini.sketch import Derivation
from ansor_mini.steps import Step, Unroll
from ansor_mini.tiling_rules import add_cache, apply_fusion, fusible_consumer, needs_tiling

WINDOW_LIMIT = 32  # points of a window that may be unrolled around a register tile
STRUCTURE = "SSRS"  # the window is one level; two levels around it put either the tiles or the channels outside


def _small_window(context: Context, derivation: Derivation, index: int) -> bool:
    stage = stage_at(derivation, index)
    points = math.prod(axis.extent for axis in stage.tensor.reduce_axes)
    return stage.is_untouched and needs_tiling(context, derivation, index) and 1 < points <= WINDOW_LIMIT


def _tile_around_window(context: Context, derivation: Derivation, index: int) -> Next:
    if fusible_consumer(derivation, index) is None:
        ((derivation, index),) = add_cache(context, derivation, index)
    name = stage_at(derivation, index).name
    axes = [axis.name for axis in stage_at(derivation, index).tensor.reduce_axes]
    results: list[tuple[Derivation, int]] = []
    fused, following = apply_fusion(replace(context, structure=STRUCTURE), derivation, index)[-1]
    for label, unrolled in (("window", axes), ("rows", axes[-1:])):
        if label == "window" or len(axes) > 1:
            steps: list[Step] = [Unroll(name, axis) for axis in unrolled]
            results.append((fused.then(f"unrolled-{label}", steps), following))
    return results


UNROLLED_WINDOWS = Rule("unrolled-windows", when(_small_window, APPLY_AND_SKIP_REST), _tile_around_window)
