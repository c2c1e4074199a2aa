"""The features of one statement in all programs of a structure, as expressions over symbols.

Paper: Ansor App. B

The symbolic form of `features._row`; accesses are in `feature_access`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansor_mini.feature_access import access_features
from ansor_mini.feature_names import (
    ACCESS,
    ANNOTATIONS,
    COUNT,
    FIRST_SAMPLE,
    FIRST_SLOT,
    LOOPS,
    OPERATIONS,
    POSITION,
    POSITIONS,
    SAMPLES,
)
from ansor_mini.feature_nests import Annotated, ArrayNest, Mask, Touches
from ansor_mini.feature_symbols import where
from ansor_mini.features import float_operations
from ansor_mini.regions import Extent
from runtime.loop_nest import PARALLEL, UNROLL, VECTORIZE

KINDS = (VECTORIZE, UNROLL, PARALLEL)  # in the order of `feature_names.ANNOTATIONS`


def feature_row(
    nest: ArrayNest, touched: Touches, kinds: Mapping[str, list[Annotated]], limit: Extent, line: int
) -> list[Any]:
    """All features but the curve, which is left 0."""
    statement, total = nest.statement, nest.inside[0]
    row: list[Any] = [0] * COUNT
    row[: len(OPERATIONS)] = [total * count for count in _operations(nest)]
    for name, kind in zip(ANNOTATIONS, KINDS):
        row[LOOPS[name] : LOOPS[name] + 3 + len(POSITIONS)] = _annotated(nest, kinds[kind])
    row[POSITION["blockIdx_x"] : FIRST_SLOT] = [1] * (FIRST_SLOT - POSITION["blockIdx_x"])
    for slot, access in enumerate(access_features(nest, touched, line)):
        row[FIRST_SLOT + slot * len(ACCESS) : FIRST_SLOT + (slot + 1) * len(ACCESS)] = access
    outer: Extent = 1
    for loop in statement.loops[: statement.outer]:
        outer = outer * loop.extent
    elements: Extent = 1
    for extent in statement.accesses[0].shape:
        elements = elements * extent
    loops: Extent = 0
    for present in nest.present:
        loops = loops + present
    item = statement.accesses[0].item
    row[FIRST_SAMPLE + SAMPLES :] = [elements * item, elements * outer, outer, total / outer, total, loops, limit]
    return row


def _operations(nest: ArrayNest) -> list[Extent]:
    counts: list[Extent] = list(nest.statement.operations)
    steps: Extent = 0
    for axis, uses in nest.statement.uses.items():
        loops: Extent = 0
        for key, coefficient in nest.statement.axes[axis].terms.items():
            if key in nest.position:
                loops = loops + (nest.present[nest.position[key]] & (coefficient != 0))
        steps = steps + uses * where(loops > 1, loops - 1, 0)
    for name in ("int_addsub", "int_mul"):
        counts[OPERATIONS.index(name)] = counts[OPERATIONS.index(name)] + steps
    return counts


def _annotated(nest: ArrayNest, loops: list[Annotated]) -> list[Any]:
    """Number, product, innermost length and place of the annotated loops around a statement."""
    count, product, length, place = 0, 1, 0, 0
    for group in loops:
        members = [(nest.position[k], m) for k, m in zip(group.keys, group.masks) if k in nest.position]
        if not members:
            continue
        extent, inside, from_here = _reach(nest, members, group.from_outside)
        runs = extent > 1
        count = count + runs
        product = product * extent
        length = where(runs, extent, length)
        reduce = 3 if nest.loops[members[-1][0]].reduce else 0
        code = where(inside == 1, 1 + reduce, where(from_here == nest.inside[0], 3 + reduce, 2 + reduce))
        place = where(runs, where((place == 0) | (place == code), code, len(POSITIONS) - 1), place)
    one_hot = [place == number for number in range(len(POSITIONS))]
    return [count, where(count > 0, product, 0), length, *one_hot]


def _reach(nest: ArrayNest, members: list[tuple[int, Mask]], from_outside: bool) -> tuple[Extent, Extent, Extent]:
    """The extent of an annotated loop, the product of the extents inside it, and both together."""
    extent: Extent = 1
    for position, mask in members:
        extent = extent * where(mask, nest.loops[position].extent, 1)
    if from_outside:
        whole = nest.inside[members[0][0]]
        return extent, whole / extent, whole
    inside = nest.inside[members[-1][0] + 1]
    return extent, inside, inside * extent


def curve_points(nest: ArrayNest) -> list[list[Any]]:
    """Operations and intensity of each loop level, from one iteration outwards; nothing without operations."""
    one = float_operations(nest.statement)
    if not one:
        return []
    operations = [one * inside for inside in reversed(nest.inside)]
    return [operations, [count / sum(level) for count, level in zip(operations, reversed(nest.bytes))]]
