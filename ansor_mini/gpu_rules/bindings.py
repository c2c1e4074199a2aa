"""The last steps of every sketch for a GPU: which loops run on blocks, virtual threads and threads.

Paper: Ansor §4.3

The published code binds when it annotates a program; which loops are bound does not depend on any number that is drawn,
so the steps are part of the sketch here, and annotation only fills in their numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.gpu_rules.cross_thread import thread_hole
from ansor_mini.gpu_steps import SHARED, Bind, FollowFusedSplit
from ansor_mini.holes import GPU_UNROLL_STEPS, TILE, UNROLL, HoleSpec
from ansor_mini.open_choices import stage_facts
from ansor_mini.schedule import INLINE, REDUCE, ROOT, SPATIAL, At, SplitRelation, Stage, State
from ansor_mini.sketch import Derivation, Sketch
from ansor_mini.steps import AutoUnroll, Fuse, Hole, Reorder, Split, Step, Vectorize
from ansor_mini.tensor_expression import MEMORY
from ansor_mini.tensor_steps import is_tensorized
from runtime.expr import ITEM_SIZE
from runtime.gpu import Gpu
from runtime.loop_nest import BLOCK, SERIAL, THREAD, VTHREAD

LEVELS = (BLOCK, VTHREAD, THREAD)


def add_bindings(dag: ComputeDAG, derivation: Derivation, gpu: Gpu) -> Sketch:
    """Append the bindings and the unroll limits with their holes, and make the sketch of `dag`."""
    loops = [
        stage for stage in reversed(derivation.state.stages) if stage.location != INLINE and not is_tensorized(stage)
    ]
    for name in [stage.name for stage in loops]:
        stage = derivation.state[name]
        if stage.location == ROOT:
            derivation = derivation.then("", *_bind_root(derivation.state, stage, gpu))
        elif stage.tensor.attributes.get(MEMORY) == SHARED:
            derivation = derivation.then("", *_share_copy(derivation.state, stage, gpu))
    for stage in reversed(derivation.state.stages):
        if stage.location != INLINE and stage.tensor.reduce_axes and not is_tensorized(stage):
            hole = HoleSpec(f"{stage.name}.{UNROLL}", stage.name, UNROLL, choices=GPU_UNROLL_STEPS)
            derivation = derivation.then("", [AutoUnroll(stage.name, Hole(hole.name))], [hole])
    return Sketch(dag, derivation.steps, derivation.holes, derivation.rules, stage_facts(derivation.state), gpu)


Opened = tuple[list[Step], list[HoleSpec]]


def _bind_root(state: State, stage: Stage, gpu: Gpu) -> Opened:
    if _reduces_across_threads(state, stage):
        return _bound(stage, _free_outer(state, stage), BLOCK)[0], []
    if any(iterator.annotation == THREAD for iterator in stage.iterators):
        return [], []
    levels = [[name for name in stage.names(SPATIAL) if name.endswith(f".{level}")] for level in range(len(LEVELS))]
    if all(levels) and any(name.endswith(f".{len(LEVELS)}") for name in stage.names()):
        return _bind_tiles(stage, levels, gpu), []
    return _bind_untiled(state, stage, gpu)


def _reduces_across_threads(state: State, stage: Stage) -> bool:
    """Whether the threads of a block share a reduction, of the stage itself or of one computed in its loops."""
    own = any(iterator.kind == REDUCE and iterator.annotation == THREAD for iterator in stage.iterators)
    inside = (inner for stages in state.attached_to(stage.name).values() for inner in stages)
    return own or any(_reduces_across_threads(state, inner) for inner in inside)


def _bind_tiles(stage: Stage, levels: Sequence[Sequence[str]], gpu: Gpu) -> list[Step]:
    """Blocks, virtual threads and threads from the three outermost levels; threads alone where they are few enough."""
    if math.prod(axis.extent for axis in stage.tensor.axes) <= gpu.warp:
        return _bound(stage, [name for level in levels for name in level], THREAD)[0]
    outer = list(itertools.takewhile(lambda name: name not in levels[1], stage.names(SPATIAL)))
    steps = []
    for names, kind in zip((outer, *levels[1:]), LEVELS):
        steps += _bound(stage, names, kind)[0]
    return steps


def _bind_untiled(state: State, stage: Stage, gpu: Gpu) -> Opened:
    """Blocks of threads over all outer loops together; a thread of an elementwise stage may take a vector of them."""
    names = _free_outer(state, stage)
    if not names:
        return [], []
    whole = _elements(stage, names)
    fused = "@".join(names)
    steps: list[Step] = [Fuse(stage.name, tuple(names))] if len(names) > 1 else []
    holes: list[HoleSpec] = []
    if not stage.tensor.reduce_axes and len(names) == len(stage.iterators):
        vectors = _vector_lengths(stage.tensor.shape[-1], stage.tensor.dtype, gpu)
        if len(vectors) > 1 and whole > gpu.warp:
            hole = HoleSpec(f"{stage.name}.vector", stage.name, TILE, whole, 2, choices=vectors)
            steps += [Split(stage.name, fused, Hole(hole.name)), Vectorize(stage.name, f"{fused}.1")]
            holes.append(hole)
            fused = f"{fused}.0"
    if whole <= gpu.warp:
        return [*steps, Bind(stage.name, fused, THREAD)], holes
    hole = thread_hole(stage.name, whole, gpu)
    steps += [Split(stage.name, fused, Hole(hole.name))]
    steps += [Bind(stage.name, f"{fused}.0", BLOCK), Bind(stage.name, f"{fused}.1", THREAD)]
    return steps, [*holes, hole]


def _elements(stage: Stage, names: Sequence[str]) -> int:
    """How many iterations loops make together: whole axes, and tiles of an axis that count when all of it is there."""
    extents = {axis.name: axis.extent for axis in stage.tensor.axes}
    whole = math.prod(extents.get(name, 1) for name in names)
    for relation in stage.relations:
        if isinstance(relation, SplitRelation) and set(relation.parts) <= set(names):
            whole *= extents[relation.iterator]
    return whole


def _vector_lengths(row: int, dtype: str, gpu: Gpu) -> tuple[int, ...]:
    """Lengths of loads and stores that stay within a row."""
    return tuple(n for n in (1, 2, 4, 8) if row % n == 0 and n * ITEM_SIZE[dtype] <= gpu.vector_bytes)


def _share_copy(state: State, stage: Stage, gpu: Gpu) -> Opened:
    """Cooperative fetching: the threads of a block copy vectors, one after the other through the whole copy."""
    assert isinstance(stage.location, At)
    reader = state[stage.location.stage]
    # in the order of what is copied, whatever the order of the copy, so that neighbouring threads read neighbours
    names = copied_order(stage)
    whole = "@".join(names)
    steps: list[Step] = [Reorder(stage.name, names)] if names != stage.names() else []
    steps += [Fuse(stage.name, names)] if len(names) > 1 else []
    lengths = tuple(n for n in (1, 2, 4, 8) if n * ITEM_SIZE[stage.tensor.dtype] <= gpu.vector_bytes)
    hole = HoleSpec(f"{stage.name}.vector", stage.name, TILE, stage.tensor.size, 2, choices=lengths)
    steps += [Split(stage.name, whole, Hole(hole.name)), Vectorize(stage.name, f"{whole}.1")]
    axes = [axis.name for axis in reader.tensor.axes if f"{axis.name}.2" in reader.positions]
    if axes:
        sources = tuple((reader.name, axis) for axis in axes)
        steps += [FollowFusedSplit(stage.name, f"{whole}.0", sources, 2), Bind(stage.name, f"{whole}.0.1", THREAD)]
    return steps, [hole]


def copied_order(stage: Stage) -> tuple[str, ...]:
    """The loops of a copy in the order of the dimensions of what it copies."""
    return tuple(sorted(stage.names(), key=lambda name: int(name[1:])))


def _bound(stage: Stage, names: Sequence[str], kind: str) -> Opened:
    """Bind adjacent loops, as one."""
    if not names:
        return [], []
    steps: list[Step] = [Fuse(stage.name, tuple(names))] if len(names) > 1 else []
    return [*steps, Bind(stage.name, "@".join(names), kind)], []


def _free_outer(state: State, stage: Stage) -> list[str]:
    """The outermost spatial loops that nothing is said about, up to one that another stage is computed in."""
    names = []
    for iterator in stage.iterators:
        if iterator.kind != SPATIAL or iterator.annotation != SERIAL:
            break
        names.append(iterator.name)
        if At(stage.name, iterator.name) in state.attached:
            break
    return names
