"""Draws a state as the skeleton of its loops.

Extents are those that bound inference finds; a state that it cannot bound is drawn with `?`. Loop names may repeat:
each stage has its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from ansor_mini.bounds import StageBounds, infer
from ansor_mini.schedule import INLINE, ROOT, At, Iterator, ScheduleError, Stage, State
from runtime.loop_nest import SERIAL, UNROLL, VECTORIZE

_ASSIGN = {None: "=", "sum": "+=", "max": "max=", "min": "min="}


def show_state(state: State) -> str:
    """The loops of a state, root stages one after the other."""
    try:
        bounds = infer(state)
    except ScheduleError:
        bounds = {}
    lines = [f"placeholders: {', '.join(tensor.name for tensor in state.dag.inputs)}"]
    inlined = [stage.name for stage in state.stages if stage.location == INLINE]
    if inlined:
        lines.append(f"inlined: {', '.join(inlined)}")
    for stage in state.stages:
        if stage.location == ROOT:
            lines.extend(_show_stage(state, stage, bounds, 0))
    return "\n".join(lines)


def _show_stage(state: State, stage: Stage, bounds: Mapping[str, StageBounds], depth: int) -> list[str]:
    lines: list[str] = []
    unrolled = auto_unrolled(state, bounds[stage.name]) if stage.name in bounds else frozenset()
    for iterator in stage.iterators:
        extent = bounds[stage.name].extents[iterator.name] if stage.name in bounds else "?"
        kind = UNROLL if iterator.name in unrolled else iterator.annotation
        loop = "range" if kind == SERIAL else kind
        lines.append(f"{'    ' * depth}for {iterator.name} in {loop}({extent}):")
        depth += 1
        for attached in state.attached.get(At(stage.name, iterator.name), ()):
            lines.extend(_show_stage(state, attached, bounds, depth))
    lines.append(f"{'    ' * depth}{stage.name} {_ASSIGN[stage.tensor.combiner]} ...")
    return lines


def auto_unrolled(state: State, bounds: StageBounds) -> frozenset[str]:
    """The loops that the stage's unroll limit unrolls: the innermost ones while the product of extents allows it.

    A vectorised loop is one step. Loops with another stage inside are left alone.
    """
    stage = bounds.stage
    found: set[str] = set()
    product = 1
    for iterator in reversed(stage.iterators):
        if not _can_unroll(iterator) or At(stage.name, iterator.name) in state.attached:
            break
        if iterator.annotation != VECTORIZE:
            product *= bounds.extents[iterator.name]
            if product > stage.unroll_limit:
                break
            if iterator.annotation == SERIAL:
                found.add(iterator.name)
    return frozenset(found)


def _can_unroll(iterator: Iterator) -> bool:
    return iterator.annotation in (SERIAL, UNROLL, VECTORIZE)
