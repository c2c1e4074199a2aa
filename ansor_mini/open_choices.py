"""The last steps of every sketch: where untiled stages are computed, and how the loops of each stage run.

Paper: Ansor §4.2

These steps have one numeric choice each, which annotation fills. Stages go from the output to the inputs, so that a
stage's location is known before that of what it reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.holes import LOCATION, PARALLEL, TILE, UNROLL, UNROLL_STEPS, VECTORIZE, HoleSpec, LoopExtent
from ansor_mini.schedule import INLINE, ROOT, At, Stage, State
from ansor_mini.sketch import Derivation, Sketch, StageFacts
from ansor_mini.steps import AutoUnroll, FuseParallel, FuseVectorize, Hole, Locate, Reorder, Step, candidate_locations
from runtime.expr import Binary, Expr, Var
from runtime.expr_tree import free_variables

MAX_FUSED_VECTOR = 3  # innermost loops of an untiled stage that may become one vector


def add_open_choices(dag: ComputeDAG, derivation: Derivation) -> Sketch:
    """Append location, parallel, unroll and vector steps with their holes, and make the sketch of `dag`."""
    followers = {consumer: (tiled, level) for consumer, tiled, level in derivation.followers}
    tiled = {hole.node for hole in derivation.holes if hole.kind == TILE}
    for stage in reversed(derivation.state.stages):
        if stage.name not in tiled and stage.name not in followers and stage.location == ROOT:
            derivation = derivation.then("", _vector_innermost(stage))
            derivation = _open_location(derivation, stage.name)
    for stage in reversed(derivation.state.stages):
        if stage.location != INLINE:
            derivation = _open_loops(derivation, stage, followers)
    return Sketch(dag, derivation.steps, derivation.holes, derivation.rules, _facts(derivation.state))


def _facts(state: State) -> tuple[StageFacts, ...]:
    return tuple(
        StageFacts(
            stage.name,
            stage.location.stage if isinstance(stage.location, At) else stage.name,
            tuple(axis.extent for axis in stage.tensor.axes),
            tuple(axis.extent for axis in stage.tensor.reduce_axes),
        )
        for stage in state.stages
        if stage.location != INLINE
    )


def _vector_innermost(stage: Stage) -> list[Step]:
    """Move the last spatial loop inside the reduction loops of an untiled stage, if it walks through memory in order.

    A pooling or a sum over rows then works on vectors; where the loads are not contiguous nothing would be gained.
    """
    tensor = stage.tensor
    if not tensor.reduce_axes or not tensor.axes:
        return []
    last = tensor.axes[-1].name
    for load in tensor.loads():
        using = [last in free_variables(index) for index in load.indices]
        if any(using[:-1]) or (using and using[-1] and _coefficient(load.indices[-1], last) != 1):
            return []
    if not any(load.indices and last in free_variables(load.indices[-1]) for load in tensor.loads()):
        return []
    order = [name for name in stage.names() if name != last]
    return [Reorder(stage.name, (*order, last))]


def _coefficient(index: Expr, name: str) -> int | None:
    """1 when the index is the variable plus something free of it; None otherwise."""
    if isinstance(index, Var):
        return 1 if index.name == name else None
    if isinstance(index, Binary) and index.op in ("+", "-"):
        if name not in free_variables(index.b):
            return _coefficient(index.a, name)
        if index.op == "+" and name not in free_variables(index.a):
            return _coefficient(index.b, name)
    return None


def _open_location(derivation: Derivation, name: str) -> Derivation:
    """Leave open where an untiled stage is computed; an output stays at the root."""
    if derivation.state.dag.is_output(name):
        return derivation
    places = len(candidate_locations(derivation.state, name))
    inline = () if derivation.state.dag[name].reduce_axes else (0,)
    hole = HoleSpec(f"{name}.{LOCATION}", name, LOCATION, choices=(1, *inline, *range(2, 2 + places)))
    return derivation.then("", [Locate(name, Hole(hole.name))], [hole])


def _open_loops(derivation: Derivation, stage: Stage, followers: Mapping[str, tuple[str, int]]) -> Derivation:
    """Leave open how many outer loops run in parallel, how much is unrolled, and how many inner loops are a vector."""
    name = stage.name
    outer, inner = _outer_and_inner_loops(derivation, stage, followers)
    steps: list[Step] = []
    holes: list[HoleSpec] = []
    if stage.location == ROOT and outer:
        hole = HoleSpec(f"{name}.{PARALLEL}", name, PARALLEL, choices=tuple(range(len(outer) + 1)), loops=outer)
        holes.append(hole)
        steps.append(FuseParallel(name, Hole(hole.name)))
    if stage.tensor.reduce_axes:
        hole = HoleSpec(f"{name}.{UNROLL}", name, UNROLL, choices=UNROLL_STEPS)
        holes.append(hole)
        steps.append(AutoUnroll(name, Hole(hole.name)))
    if inner:
        hole = HoleSpec(f"{name}.{VECTORIZE}", name, VECTORIZE, choices=tuple(range(len(inner) + 1)), loops=inner)
        holes.append(hole)
        steps.append(FuseVectorize(name, Hole(hole.name)))
    return derivation.then("", steps, holes)


def _outer_and_inner_loops(
    derivation: Derivation, stage: Stage, followers: Mapping[str, tuple[str, int]]
) -> tuple[tuple[LoopExtent, ...], tuple[LoopExtent, ...]]:
    """The outermost loops that may be fused, outer to inner, and the innermost ones that may become a vector."""
    source, level = followers.get(stage.name, (stage.name, None))
    tiles = [hole for hole in derivation.holes if hole.node == source and hole.kind == TILE and not hole.reduce]
    if len(tiles) == len(stage.tensor.axes) and tiles:
        outer = tuple(LoopExtent(hole.extent, hole.name, 0, 1) for hole in tiles)
        last = tiles[-1]
        first = last.parts - 1 if level is None else level
        return outer, (LoopExtent(last.extent, last.name, first, last.parts),)
    extents = {axis.name: axis.extent for axis in stage.tensor.axes}
    loops = [LoopExtent(extents[name]) if name in extents else None for name in stage.names()]
    leading = tuple(loop for loop in itertools.takewhile(lambda loop: loop is not None, loops) if loop)
    trailing = tuple(loop for loop in itertools.takewhile(lambda loop: loop is not None, reversed(loops)) if loop)
    return leading[:-1] or leading, trailing[:MAX_FUSED_VECTOR][::-1]
