"""Random legal schedules of a DAG: steps are drawn from what the state offers, and those it refuses are left out."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule import REDUCE, SPATIAL, ScheduleError, SplitRelation, Stage, State, Step, initial_state
from ansor_mini.steps import (
    AutoUnroll,
    CacheWrite,
    ComputeAt,
    ComputeInline,
    ComputeRoot,
    FollowSplit,
    Fuse,
    FuseParallel,
    FuseVectorize,
    Locate,
    Parallel,
    Reorder,
    Rfactor,
    Split,
    Unroll,
    Vectorize,
    candidate_locations,
)
from tests.strategies.dags import dags

LENGTHS = st.lists(st.sampled_from([1, 2, 3, 4, 5, 8]), min_size=1, max_size=3).map(tuple)
MOST_LOOPS = 9


@dataclass(frozen=True)
class Case:
    """A DAG, the steps of a schedule, and the state after them."""

    dag: ComputeDAG
    steps: tuple[Step, ...]
    state: State

    def __repr__(self) -> str:
        return f"{self.dag}\nsteps = {list(self.steps)}\n{self.state}"


def _split(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    if not stage.iterators or len(stage.iterators) > MOST_LOOPS:
        return None
    return Split(stage.name, draw(st.sampled_from(stage.names())), draw(LENGTHS))


def _follow(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    sources = [
        (other.name, r.iterator, len(r.parts))
        for other in state.stages
        for r in other.relations
        if isinstance(r, SplitRelation)
    ]
    if not sources or not stage.iterators or len(stage.iterators) > MOST_LOOPS:
        return None
    source, iterator, parts = draw(st.sampled_from(sources))
    target = iterator if iterator in stage.positions else draw(st.sampled_from(stage.names()))
    return FollowSplit(stage.name, target, (source, iterator), draw(st.integers(2, parts)))


def _fuse(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    names = stage.names()
    if len(names) < 2:
        return None
    first = draw(st.integers(0, len(names) - 2))
    return Fuse(stage.name, names[first : draw(st.integers(first + 2, len(names)))])


def _reorder(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    return Reorder(stage.name, tuple(draw(st.permutations(stage.names()))))


def _annotate(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    kind = draw(st.sampled_from([Parallel, Vectorize, Unroll]))
    names = stage.names() if kind is Unroll else stage.names(SPATIAL)
    return kind(stage.name, draw(st.sampled_from(names))) if names else None


def _width(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    kind = draw(st.sampled_from([FuseParallel, FuseVectorize]))
    return kind(stage.name, draw(st.integers(0, min(3, len(stage.iterators)))))


def _unroll_limit(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    return AutoUnroll(stage.name, draw(st.sampled_from([0, 4, 16, 64])))


def _compute_at(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    readers = [reader for reader in state.readers(stage.name) if reader.iterators]
    if not readers:
        return None
    target = draw(st.sampled_from(readers))
    return ComputeAt(stage.name, target.name, draw(st.sampled_from(target.names())))


def _locate(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    return Locate(stage.name, draw(st.integers(0, 1 + len(candidate_locations(state, stage.name)))))


def _move(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    return draw(st.sampled_from([ComputeInline, ComputeRoot]))(stage.name)


def _cache_write(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    return CacheWrite(stage.name)


def _rfactor(draw: st.DrawFn, state: State, stage: Stage) -> Step | None:
    names = stage.names(REDUCE)
    if not names:
        return None
    return Rfactor(stage.name, draw(st.sampled_from(names)), draw(st.integers(0, len(stage.tensor.axes))))


MOVES = (_split, _split, _split, _follow, _follow, _fuse, _reorder, _annotate, _width, _unroll_limit, _compute_at,
         _compute_at, _compute_at, _locate, _locate, _move, _cache_write, _rfactor)  # fmt: skip


@st.composite
def cases(
    draw: st.DrawFn, source: st.SearchStrategy[ComputeDAG] | None = None, fewest: int = 0, most: int = 20
) -> Case:
    """A DAG and a legal schedule of it, for which between `fewest` and `most` steps were tried."""
    dag = draw(dags() if source is None else source)
    state, steps = initial_state(dag), []
    for _ in range(draw(st.integers(fewest, most))):
        step = draw(st.sampled_from(MOVES))(draw, state, draw(st.sampled_from(state.stages)))
        if step is None:
            continue
        try:
            state = step.apply(state)
        except ScheduleError:
            continue
        steps.append(step)
    return Case(dag, tuple(steps), state)
