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
    FIRST_GPU,
    FIRST_SAMPLE,
    FIRST_SLOT,
    LOOPS,
    OPERATIONS,
    POSITIONS,
    SAMPLES,
)
from ansor_mini.feature_nests import Annotated, ArrayNest, Mask, Touches, Unrolled, product_of
from ansor_mini.feature_statements import gpu_features
from ansor_mini.feature_symbols import where
from ansor_mini.features import float_operations
from ansor_mini.regions import Extent, IteratorKey, maximum
from ansor_mini.register_features import statement_registers
from runtime.loop_nest import PARALLEL, UNROLL, VECTORIZE

KINDS = (VECTORIZE, UNROLL, PARALLEL)  # in the order of `feature_names.ANNOTATIONS`


def feature_row(
    nest: ArrayNest,
    touched: Touches,
    kinds: Mapping[str, list[Annotated]],
    unrolled: Unrolled,
    line: int,
    *,
    on_gpu: bool = False,
) -> list[Any]:
    """All features but the curve, which is left 0.  kinds: loops that steps annotate, of all stages."""
    statement, total = nest.statement, nest.inside[0]
    row: list[Any] = [0] * COUNT
    row[: len(OPERATIONS)] = [total * count for count in _operations(nest)]
    annotated = {kind: _annotated(nest, kinds[kind]) for kind in KINDS}
    if unrolled.loops:
        plain = not kinds[UNROLL] and unrolled.vector_innermost
        by_limit = [Annotated(each.keys, (each.mask,) * len(each.keys)) for each in unrolled.loops]
        annotated[UNROLL] = (
            _unrolled(nest, unrolled, annotated[VECTORIZE]) if plain else _annotated(nest, kinds[UNROLL] + by_limit)
        )
    for name, kind in zip(ANNOTATIONS, KINDS):
        row[LOOPS[name] : LOOPS[name] + 3 + len(POSITIONS)] = annotated[kind]
    row[FIRST_GPU:FIRST_SLOT] = gpu_features(statement.loops, on_gpu)
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
    size = elements * statement.accesses[0].item
    row[FIRST_SAMPLE + SAMPLES :] = [size, elements * outer, outer, total / outer, total, loops, unrolled.limit]
    return row


def register_row(nest: ArrayNest, kinds: Mapping[str, list[Annotated]], unrolled: Unrolled) -> list[Any]:
    """The features beyond the paper's; arguments as for `feature_row`."""
    masks: dict[str, dict[IteratorKey, Mask]] = {kind: {} for kind in KINDS}
    by_limit = [Annotated(each.keys, (each.mask,) * len(each.keys)) for each in unrolled.loops]
    for kind in KINDS:
        for group in [*kinds[kind], *(by_limit if kind == UNROLL else ())]:
            for key, mask in zip(group.keys, group.masks):
                masks[kind][key] = masks[kind].get(key, False) | mask
    of_loops = [[masks[kind].get(loop.key, False) for kind in KINDS] for loop in nest.loops]
    return statement_registers(nest.statement, nest.loops, of_loops)


def _operations(nest: ArrayNest) -> list[Extent]:
    counts: list[Extent] = list(nest.statement.operations)
    steps: Extent = 0
    for axis, uses in nest.statement.uses.items():
        loops: Extent = 0
        for key in nest.statement.axes[axis].terms:
            if key in nest.position and key[0] == nest.statement.stage.name:
                loops = loops + nest.present[nest.position[key]]
        steps = steps + uses * maximum(loops - 1, 0)
    for name in ("int_addsub", "int_mul"):
        counts[OPERATIONS.index(name)] = counts[OPERATIONS.index(name)] + steps
    return counts


def _annotated(nest: ArrayNest, loops: list[Annotated]) -> list[Any]:
    """Number, product, innermost length and place of the annotated loops around a statement."""
    count, product, length, place = 0, 1, 0, 0
    groups = [
        ([(nest.position[k], m) for k, m in zip(group.keys, group.masks) if k in nest.position], group.from_outside)
        for group in loops
    ]
    for members, from_outside in sorted((group for group in groups if group[0]), key=lambda group: group[0][0][0]):
        extent, inside, from_here = _reach(nest, members, from_outside)
        runs = extent > 1
        count = count + runs
        product = product * extent
        length = where(runs, extent, length)
        reduce = 3 if nest.loops[members[-1][0]].reduce else 0
        code = where(inside == 1, 1 + reduce, where(from_here == nest.inside[0], 3 + reduce, 2 + reduce))
        place = where(runs, where((place == 0) | (place == code), code, len(POSITIONS) - 1), place)
    one_hot = [place == number for number in range(len(POSITIONS))]
    return [count, where(count > 0, product, 0), length, *one_hot]


def _unrolled(nest: ArrayNest, unrolled: Unrolled, vector: list[Any]) -> list[Any]:
    """The same of the loops that the limit unrolls: all that run from some loop inwards, but for a vector innermost."""
    counts: list[Extent] = [0, 0]
    product, length = 1, 0
    for each in unrolled.loops:
        extent = product_of([nest.loops[nest.position[key]].extent for key in each.keys if key in nest.position])
        runs = each.mask & (extent > 1)
        counts[each.reduce] = counts[each.reduce] + runs
        length = where(runs, extent, length)
    for each in reversed(unrolled.loops):
        product = where(each.mask, each.product, product)
    count = counts[0] + counts[1]
    inner = vector[0] == 0
    outer = product * where(inner, 1, vector[1]) == nest.inside[0]
    one = where(inner, 1, where(outer, 3, 2)) + 3 * (counts[1] > 0)
    several = where(inner | outer | ((counts[0] > 0) & (counts[1] > 0)), len(POSITIONS) - 1, one)
    place = where(count > 1, several, where(count > 0, one, 0))
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
