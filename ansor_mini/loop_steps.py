"""Steps that change the loops of one stage: split, fuse, reorder, and what kind of loop each is.

Paper: Ansor §4

The examples schedule a matmul, which starts as

>>> from ansor_mini.schedule_examples import matmul, replay
>>> print(replay(matmul(8, 8, 16), []))
placeholders: A, B
for i in range(8):
    for j in range(8):
        for k in range(16):
            C += ...
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Union

from ansor_mini.schedule import (
    At,
    FuseRelation,
    Iterator,
    ScheduleError,
    SplitRelation,
    State,
    Step,
)
from runtime.loop_nest import SERIAL


@dataclass(frozen=True)
class Hole:
    """A number, or a tuple of numbers, that a sketch leaves open; `fill` puts a value in."""

    name: str


Int = Union[int, Hole]
Ints = Union[tuple[Union[int, Hole], ...], Hole]


def known(value: Int, step: Step) -> int:
    """The number itself.  Raises: ScheduleError: it is still a hole or not an integer."""
    if isinstance(value, Hole) or not hasattr(value, "__index__"):
        raise ScheduleError(f"{step} needs an integer where it has {value}; fill its holes first")
    return int(value)


@dataclass(frozen=True)
class Split(Step):
    """Split a loop into nested ones; `lengths` are the extents of all but the outermost, outer to inner.

    The parts are named i.0, i.1, …. Lengths need not divide the extent: lowering adds the guard.
    Other systems: `divide_loop` (Exo), `split` (Halide, TVM).

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(16, 8, 16), [Split("C", "i", (2, 4))]))
    placeholders: A, B
    for i.0 in range(2):
        for i.1 in range(2):
            for i.2 in range(4):
                for j in range(8):
                    for k in range(16):
                        C += ...
    """

    stage: str
    iterator: str
    lengths: Ints

    def apply(self, state: State) -> State:
        """The state after this step."""
        if isinstance(self.lengths, Hole):
            raise ScheduleError(f"{self} has an open hole; fill it first", state)
        return split(state, self, self.stage, self.iterator, tuple(known(n, self) for n in self.lengths))


@dataclass(frozen=True)
class FollowSplit(Step):
    """Split a loop into `parts` as another stage's was: the first lengths are copied, the last ones multiplied.

    Lets a consumer's tiles match its producer's. source: (stage, iterator) that a Split was applied to.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> steps = [Split("D", "i", (2, 4)), FollowSplit("C", "i", ("D", "i"), 2)]
    >>> print(replay(matmul(16, 8, 16, relu=True), steps))
    placeholders: A, B
    for i.0 in range(2):
        for i.1 in range(8):
            for j in range(8):
                for k in range(16):
                    C += ...
    for i.0 in range(2):
        for i.1 in range(2):
            for i.2 in range(4):
                for j in range(8):
                    D = ...
    """

    stage: str
    iterator: str
    source: tuple[str, str]
    parts: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        parts = known(self.parts, self)
        stage, iterator = self.source
        splits = [r for r in state[stage].relations if isinstance(r, SplitRelation) and r.iterator == iterator]
        if not splits:
            raise ScheduleError(f"{self}: {stage} has no split of {iterator!r}", state)
        relation = splits[0]
        if not 1 <= parts <= len(relation.parts):
            raise ScheduleError(f"{self}: parts must be 1 to {len(relation.parts)}, got {parts}", state)
        if parts == 1:
            return state
        lengths = (*relation.lengths[: parts - 2], math.prod(relation.lengths[parts - 2 :]))
        return split(state, self, self.stage, self.iterator, lengths)


def split(state: State, step: Step, stage_name: str, iterator: str, lengths: tuple[int, ...]) -> State:
    """Replace an iterator by 1 + len(lengths) parts; what was attached to it moves to the innermost part."""
    old = state.iterator(stage_name, iterator)
    if not lengths or any(length < 1 for length in lengths):
        raise ScheduleError(f"{step}: expected one or more lengths of at least 1, got {lengths}", state)
    if old.annotation != SERIAL:
        raise ScheduleError(f"{step}: {iterator} is already {old.annotation}", state)
    names = tuple(f"{iterator}.{part}" for part in range(len(lengths) + 1))
    stage = state[stage_name]
    position = stage.positions[iterator]
    parts = tuple(Iterator(name, old.kind) for name in names)
    iterators = (*stage.iterators[:position], *parts, *stage.iterators[position + 1 :])
    relations = (*stage.relations, SplitRelation(iterator, lengths, names))
    state = state.with_stage(replace(stage, iterators=iterators, relations=relations))
    return state.relocate({At(stage_name, iterator): At(stage_name, names[-1])})


@dataclass(frozen=True)
class Fuse(Step):
    """Make one loop of adjacent ones, named i@j.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [Fuse("C", ("i", "j"))]))
    placeholders: A, B
    for i@j in range(64):
        for k in range(16):
            C += ...
    """

    stage: str
    iterators: tuple[str, ...]

    def apply(self, state: State) -> State:
        """The state after this step."""
        return fuse(state, self, self.stage, self.iterators)


def fuse(state: State, step: Step, stage_name: str, names: Sequence[str]) -> State:
    """Replace adjacent iterators by one; what was attached to the innermost of them moves to the new one."""
    old = [state.iterator(stage_name, name) for name in names]
    if len(old) < 2:
        raise ScheduleError(f"{step}: fusing needs two iterators or more, got {tuple(names)}", state)
    stage = state[stage_name]
    first = stage.positions[names[0]]
    if stage.names()[first : first + len(names)] != tuple(names):
        raise ScheduleError(f"{step}: {', '.join(names)} are not adjacent in this order", state)
    if len({iterator.kind for iterator in old}) > 1 or any(iterator.annotation != SERIAL for iterator in old):
        raise ScheduleError(f"{step}: only serial loops of one kind can be fused", state)
    attached = state.attached_to(stage_name)
    for name in names[:-1]:
        if name in attached:
            raise ScheduleError(f"{step}: {attached[name][0].name} is attached at {name}", state)
    fused = "@".join(names)
    iterators = (*stage.iterators[:first], Iterator(fused, old[0].kind), *stage.iterators[first + len(names) :])
    relations = (*stage.relations, FuseRelation(tuple(names), fused))
    state = state.with_stage(replace(stage, iterators=iterators, relations=relations))
    return state.relocate({At(stage_name, names[-1]): At(stage_name, fused)})


@dataclass(frozen=True)
class Reorder(Step):
    """Put the loops of a stage into another order; `order` names all of them.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [Reorder("C", ("k", "i", "j"))]))
    placeholders: A, B
    for k in range(16):
        for i in range(8):
            for j in range(8):
                C += ...
    """

    stage: str
    order: tuple[str, ...]

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        if sorted(self.order) != sorted(stage.names()):
            raise ScheduleError(f"{self}: order must name all of {', '.join(stage.names())}", state)
        if self.order == stage.names():
            return state
        iterators = tuple(stage.iterators[stage.positions[name]] for name in self.order)
        return state.with_stage(replace(stage, iterators=iterators)).check_attachments()
