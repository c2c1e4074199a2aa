"""The state of a schedule: stages, their iterators, and where each stage is computed.

Paper: Ansor §4

A state is a compute DAG with one `Stage` per computed tensor. Steps (see `steps`) turn a state into a new one and never
change the old. Stages and iterators go by name. A stage remembers how its iterators came from the tensor's axes (its
relations), which is all that lowering needs; extents are inferred only then.

`str(state)` draws the loops:

>>> from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
>>> A, k = placeholder((4, 8), "A"), reduce_axis(8, "k")
>>> print(initial_state(ComputeDAG([compute((4,), lambda i: reduce_sum(A[i, k], k), "S")])))
placeholders: A
for i in range(4):
    for k in range(8):
        S += ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Union

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor
from runtime.loop_nest import PARALLEL, SERIAL

SPATIAL, REDUCE = "spatial", "reduce"
ROOT, INLINE = "root", "inline"


@dataclass(frozen=True, slots=True)
class Iterator:
    """One loop of a stage. kind: spatial or reduce. annotation: one of `runtime.loop_nest.LOOP_KINDS`."""

    name: str
    kind: str
    annotation: str = SERIAL


@dataclass(frozen=True, slots=True)
class SplitRelation:
    """`iterator` became `parts`, outer to inner; lengths are the extents of all parts but the first."""

    iterator: str
    lengths: tuple[int, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FuseRelation:
    """`iterators`, outer to inner, became one."""

    iterators: tuple[str, ...]
    fused: str


@dataclass(frozen=True, slots=True)
class At:
    """A place inside the loop `iterator` of `stage`, before anything else in its body."""

    stage: str
    iterator: str


Relation = Union[SplitRelation, FuseRelation]
Location = Union[str, At]


class ScheduleError(ValueError):
    """A step that is illegal in a state. reason: one sentence; str() adds the state."""

    def __init__(self, reason: str, state: State | None = None) -> None:
        super().__init__(reason)
        self.reason, self.state = reason, state

    def __str__(self) -> str:
        return self.reason if self.state is None else f"{self.reason}\nin the state\n{self.state}"


@dataclass(frozen=True)
class Stage:
    """One computed tensor and its loops, outer to inner.

    location: "root", "inline", or `At` a loop of another stage. unroll_limit: longest body to unroll, 0 for none.
    """

    tensor: Tensor
    iterators: tuple[Iterator, ...]
    relations: tuple[Relation, ...] = ()
    location: Location = ROOT
    unroll_limit: int = 0

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.tensor.name

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Where each iterator stands, 0 for the outermost loop."""
        return {iterator.name: position for position, iterator in enumerate(self.iterators)}

    @property
    def is_untouched(self) -> bool:
        """True while no step has changed its loops or its place."""
        return self == untouched_stage(self.tensor)

    def names(self, kind: str | None = None) -> tuple[str, ...]:
        """Names of the iterators (of one kind), outer to inner."""
        return tuple(iterator.name for iterator in self.iterators if kind in (None, iterator.kind))


def untouched_stage(tensor: Tensor) -> Stage:
    """A stage with one loop for each axis, reductions innermost."""
    spatial = tuple(Iterator(axis.name, SPATIAL) for axis in tensor.axes)
    return Stage(tensor, spatial + tuple(Iterator(axis.name, REDUCE) for axis in tensor.reduce_axes))


@dataclass(frozen=True)
class State:
    """A schedule: the DAG (which some steps extend) and its stages, producers before consumers."""

    dag: ComputeDAG
    stages: tuple[Stage, ...]

    @staticmethod
    def initial(dag: ComputeDAG) -> State:
        """The naive state: every stage at the root, with plain loops over its axes."""
        return State(dag, tuple(untouched_stage(tensor) for tensor in dag.ops))

    @cached_property
    def _by_name(self) -> Mapping[str, Stage]:
        return {stage.name: stage for stage in self.stages}

    def __getitem__(self, name: str) -> Stage:
        """A stage by name.  Raises: ScheduleError: there is none."""
        if name not in self._by_name:
            raise ScheduleError(f"no stage {name!r}; the stages are {', '.join(self._by_name)}", self)
        return self._by_name[name]

    def iterator(self, stage: str, name: str) -> Iterator:
        """An iterator by name.  Raises: ScheduleError: there is none."""
        found = self[stage]
        if name not in found.positions:
            raise ScheduleError(f"{stage} has no iterator {name!r}; its iterators are {', '.join(found.names())}", self)
        return found.iterators[found.positions[name]]

    @cached_property
    def attached(self) -> Mapping[At, tuple[Stage, ...]]:
        """The stages computed at each place, producers first."""
        places: dict[At, tuple[Stage, ...]] = {}
        for stage in self.stages:
            if isinstance(stage.location, At):
                places[stage.location] = (*places.get(stage.location, ()), stage)
        return places

    def attached_to(self, stage: str) -> Mapping[str, tuple[Stage, ...]]:
        """The stages computed at each iterator of a stage."""
        return {place.iterator: stages for place, stages in self.attached.items() if place.stage == stage}

    def readers(self, name: str) -> tuple[Stage, ...]:
        """The stages in whose loops a stage is read: its consumers, seen through inlined ones."""
        found: dict[str, Stage] = {}
        for consumer in self.dag.consumers(name):
            stage = self[consumer.name]
            for reader in self.readers(stage.name) if stage.location == INLINE else (stage,):
                found[reader.name] = reader
        return tuple(stage for stage in self.stages if stage.name in found)

    def with_stage(self, stage: Stage) -> State:
        """The state with one stage replaced."""
        return State(self.dag, tuple(stage if old.name == stage.name else old for old in self.stages))

    def relocate(self, moved: Mapping[At, At]) -> State:
        """The state with the stages at some places moved to others."""
        if not any(place in self.attached for place in moved):
            return self
        stages = (replace(s, location=moved.get(s.location, s.location)) if isinstance(s.location, At) else s
                  for s in self.stages)  # fmt: skip
        return State(self.dag, tuple(stages))

    def check_attachments(self) -> State:
        """Return self.

        Raises: ScheduleError: a stage is read outside the loop that it is computed in, or stands in a vectorised loop.
        """
        for stage in self.stages:
            if isinstance(stage.location, At):
                if self.dag.is_output(stage.name):
                    raise ScheduleError(f"{stage.name} is an output and must stay at the root", self)
                for reader in self.readers(stage.name):
                    self._check_read_inside(stage, reader, stage.location)
        return self

    def _check_read_inside(self, stage: Stage, reader: Stage, place: At) -> None:
        limit = self[place.stage].positions.get(place.iterator)
        if limit is None:
            raise ScheduleError(f"{stage.name} is attached at {place.stage}'s {place.iterator}, which is gone", self)
        position = len(reader.iterators)
        while reader.name != place.stage:
            if not isinstance(reader.location, At):
                raise ScheduleError(f"{stage.name} at {place.stage}'s {place.iterator} is read in {reader.name}", self)
            around = reader.location
            reader = self[around.stage]
            position = reader.positions.get(around.iterator, -1)
        if position < limit:
            raise ScheduleError(f"{stage.name} is read outside {place.stage}'s {place.iterator}", self)

    def has_parallel(self, stage: Stage) -> bool:
        """Whether a stage has a parallel loop."""
        return any(iterator.annotation == PARALLEL for iterator in stage.iterators)

    def __str__(self) -> str:
        from ansor_mini.schedule_text import show_state

        return show_state(self)


@dataclass(frozen=True)
class Step:
    """Base of all transform steps: `apply` gives the state after it."""

    def apply(self, state: State) -> State:
        """The state after this step.  Raises: ScheduleError: the step is illegal here."""
        raise NotImplementedError


def initial_state(dag: ComputeDAG) -> State:
    """The naive state: every stage at the root, with plain loops over its axes."""
    return State.initial(dag)


def replay(dag: ComputeDAG, steps: Iterable[Step]) -> State:
    """Apply steps one after the other to the naive state.  Raises: ScheduleError: a step is illegal."""
    state = initial_state(dag)
    for step in steps:
        state = step.apply(state)
    return state
