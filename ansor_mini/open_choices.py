"""The last steps of every sketch: where untiled stages are computed, and how the loops of each stage run.

Paper: Ansor §4.2

These steps have one numeric choice each, which annotation fills. Stages go from the output to the inputs, so that a
stage's location is known before that of what it reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ansor_mini import sketch_hints as hints
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.hole_extents import IteratorKey, hole_extents
from ansor_mini.holes import LOCATION, PARALLEL, UNROLL, UNROLL_STEPS, VECTORIZE, HoleSpec, LoopExtent
from ansor_mini.schedule import INLINE, ROOT, SPATIAL, At, Iterator, Stage, State
from ansor_mini.sketch import Derivation, Sketch, StageFacts
from ansor_mini.steps import (
    AutoUnroll,
    FuseParallel,
    FuseVectorize,
    Hole,
    Locate,
    Reorder,
    Rfactor,
    Step,
    Unroll,
    candidate_locations,
)
from runtime.expr import Binary, Expr, Var
from runtime.expr_tree import free_variables
from runtime.loop_nest import SERIAL

MAX_FUSED_VECTOR = 3  # innermost loops of an untiled stage that may become one vector


def add_open_choices(dag: ComputeDAG, derivation: Derivation) -> Sketch:
    """Append location, parallel, unroll and vector steps with their holes, and make the sketch of `dag`."""
    partial = {f"{step.stage}.rf" for step in derivation.steps if isinstance(step, Rfactor)}
    plain = [stage for stage in reversed(derivation.state.stages) if not is_tiled(stage) and stage.location == ROOT]
    for stage in plain:
        if stage.name not in partial:
            derivation = derivation.then("", vector_innermost(stage))
    gathered = derivation.state
    for stage in plain:
        derivation, gathered = _open_location(derivation, gathered, stage.name)
    extents = hole_extents((*dag.ops, *derivation.state.dag.ops), derivation.steps, derivation.holes)
    for stage in reversed(derivation.state.stages):
        if stage.location != INLINE:
            derivation = _open_loops(derivation, stage.name, extents)
    return Sketch(dag, derivation.steps, derivation.holes, derivation.rules, stage_facts(derivation.state))


def is_tiled(stage: Stage) -> bool:
    """Whether a stage's axes have been split or fused."""
    return bool(stage.relations)


def stage_facts(state: State) -> tuple[StageFacts, ...]:
    """What a cost estimate needs to know about each stage that is not inlined."""
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


def vector_innermost(stage: Stage) -> list[Reorder]:
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


def _open_location(derivation: Derivation, gathered: State, name: str) -> tuple[Derivation, State]:
    """Leave open where an untiled stage is computed; an output stays at the root.

    How many places there are depends on where its readers are: two readers at the root share no loop, the same two in
    one loop do. `gathered` is the state with all stages so far as far inside as can be; the larger number counts, and
    replay rejects a place that a program does not have.
    """
    if derivation.state.dag.is_output(name):
        return derivation, gathered
    inside = len(candidate_locations(gathered, name))
    places = max(inside, len(candidate_locations(derivation.state, name)))
    inline = () if derivation.state.dag[name].combiner else (0,)
    hole = HoleSpec(f"{name}.{LOCATION}", name, LOCATION, choices=(1, *inline, *range(2, 2 + places)))
    if inside:
        gathered = Locate(name, 1 + inside).apply(gathered)
    return derivation.then("", [Locate(name, Hole(hole.name))], [hole]), gathered


def _open_loops(derivation: Derivation, name: str, extents: dict[IteratorKey, LoopExtent | None]) -> Derivation:
    """Leave open how many outer loops run in parallel, how much is unrolled, and how many inner loops are a vector."""
    derivation = derivation.then("", _hinted_unrolls(derivation.state[name]))
    stage = derivation.state[name]
    outer = _extents(stage, _outer_loops(derivation.state, stage), extents)
    inner = _extents(stage, _inner_loops(derivation.state, stage), extents)
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
        inner = inner[::-1]
        hole = HoleSpec(f"{name}.{VECTORIZE}", name, VECTORIZE, choices=tuple(range(len(inner) + 1)), loops=inner)
        holes.append(hole)
        steps.append(FuseVectorize(name, Hole(hole.name)))
    return derivation.then("", steps, holes)


def _extents(
    stage: Stage, names: Sequence[str], extents: dict[IteratorKey, LoopExtent | None]
) -> tuple[LoopExtent, ...]:
    """The extents of loops, up to the first that no single hole decides."""
    found = (extents.get((stage.name, name)) for name in names)
    return tuple(loop for loop in itertools.takewhile(lambda loop: loop is not None, found) if loop is not None)


def _hinted_unrolls(stage: Stage) -> list[Step]:
    """Unroll what the user's hints name, where it is still plain."""
    whole = hints.names(stage.tensor, hints.ALWAYS_UNROLL)
    inner = hints.names(stage.tensor, hints.ALWAYS_UNROLL_INNER)
    last = {name.split(".")[0]: name for name in stage.names()}
    chosen = [name for name in stage.names() if name.split(".")[0] in whole or name in {last.get(n) for n in inner}]
    return [Unroll(stage.name, name) for name in chosen if stage.iterators[stage.positions[name]].annotation == SERIAL]


def _outer_loops(state: State, stage: Stage) -> tuple[str, ...]:
    """The outermost loops that may be fused, outer to inner: spatial ones, up to where another stage is computed.

    An untiled stage without a reduction keeps its last loop, which may become a vector.
    """
    free = list(_free_spatial(stage.iterators))
    for position, name in enumerate(free):
        if At(stage.name, name) in state.attached:
            return tuple(free[: position + 1])
    if is_tiled(stage):
        return tuple(free[: len(stage.tensor.axes)])
    return tuple(free[:-1] or free) if len(free) == len(stage.iterators) else tuple(free)


def _inner_loops(state: State, stage: Stage) -> tuple[str, ...]:
    """The innermost loops that may become one vector, inner to outer; one of them in a tiled stage."""
    free = _free_spatial(stage.iterators[::-1])
    plain = itertools.takewhile(lambda name: At(stage.name, name) not in state.attached, free)
    return tuple(itertools.islice(plain, 1 if is_tiled(stage) else MAX_FUSED_VECTOR))


def _free_spatial(iterators: Sequence[Iterator]) -> list[str]:
    """The first spatial loops that nothing has been said about yet."""
    free = itertools.takewhile(lambda it: it.kind == SPATIAL and it.annotation == SERIAL, iterators)
    return [iterator.name for iterator in free]
