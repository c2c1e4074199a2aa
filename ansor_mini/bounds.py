"""Bound inference: how long each loop runs, and which region of a stage each consumer's iteration needs.

Paper: Ansor §4

Going from consumers to producers:

1. A stage at the root computes all of its tensor. A stage attached at a loop computes the bounding box of what is read
   inside one iteration of that loop: for an affine index, `1 + Σ |coefficient| · (extent - 1)` over the loops inside;
   for the quotient of one, that divided, where every iteration starts at a multiple.
   One in a GPU's shared memory computes what all threads of the block read, so loops bound to threads count as inside.
2. The extents of a stage's axes give those of its iterators through its relations, in order.

Extents are combined by the generic arithmetic of `regions` only, with no branch on a value, so that split lengths may
also be NumPy arrays with one entry for each program of a population, or symbols for such arrays. So may be the place
where a stage is attached, as a list of `Choice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ansor_mini.feature_symbols import where
from ansor_mini.regions import (
    ZERO,
    Extent,
    Region,
    Span,
    Start,
    Term,
    ceil_divide,
    clip,
    index_span,
    index_term,
    minimum,
    union,
)
from ansor_mini.schedule import INLINE, At, FuseRelation, ScheduleError, SplitRelation, Stage, State
from ansor_mini.tensor_expression import MEMORY
from runtime.expr import Expr, Load
from runtime.expr_tree import loads, substitute, transform
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import THREAD, VTHREAD


@dataclass(frozen=True)
class StageBounds:
    """What lowering needs to know about a stage that is not inlined.

    body: its expression with inlined producers put in. extents: of every iterator, axes included. region: the span of
    the tensor that is computed, for each axis. strides: how far each part of a split moves the iterator it came from.
    """

    stage: Stage
    body: Expr
    extents: Mapping[str, Extent]
    region: Region
    strides: Mapping[str, Extent]


def iterator_extents(stage: Stage, axes: Mapping[str, Extent]) -> tuple[dict[str, Extent], dict[str, Extent]]:
    """The extents of all iterators from those of the axes, and the strides of all parts of splits.

    A part is never longer than what it splits: tiles of a small region shrink from the outside in.
    """
    extents = dict(axes)
    strides: dict[str, Extent] = {}
    for relation in stage.relations:
        if isinstance(relation, FuseRelation):
            product: Extent = 1
            for name in relation.iterators:
                product = product * extents[name]
            extents[relation.fused] = product
            continue
        rest, stride = extents[relation.iterator], 1
        for part, length in zip(relation.parts[:0:-1], reversed(relation.lengths)):
            extents[part], strides[part] = minimum(length, rest), stride
            rest, stride = ceil_divide(rest, length), stride * extents[part]
        extents[relation.parts[0]], strides[relation.parts[0]] = rest, stride
    return extents, strides


@dataclass(frozen=True)
class Choice:
    """A place where a stage may be computed, and the programs in which it is computed there or further in."""

    place: At
    reached: Extent


def infer(state: State, choices: Mapping[str, Sequence[Choice]] | None = None) -> dict[str, StageBounds]:
    """Bounds of every stage that is not inlined, producers first.

    choices: for stages whose place differs between programs, the possible ones, outer to inner; where not even the
    first is reached, the stage is at the root.
    Raises: ScheduleError: a stage is attached where not all of its readers are.
    """
    return _Inference(state, choices or {}).run()


def inlined_bodies(state: State) -> dict[str, Expr]:
    """The body of every stage with inlined producers put in."""
    bodies: dict[str, Expr] = {}

    def expand(node: Expr) -> Expr | None:
        if not isinstance(node, Load) or node.buffer.name not in inlined:
            return None
        tensor = state.dag[node.buffer.name]
        return substitute(bodies[tensor.name], {axis.name: index for axis, index in zip(tensor.axes, node.indices)})

    inlined: set[str] = set()
    for stage in state.stages:
        body = stage.tensor.expression
        if any(producer.name in inlined for producer in state.dag.producers(stage.name)):
            body = transform(body, expand)
        bodies[stage.name] = body
        if stage.location == INLINE:
            inlined.add(stage.name)
    return bodies


class _Inference:
    """One run of bound inference over a state."""

    def __init__(self, state: State, choices: Mapping[str, Sequence[Choice]]) -> None:
        self.state, self.choices = state, choices
        self.bodies = inlined_bodies(state)
        self.done: dict[str, StageBounds] = {}
        self.reads: dict[str, dict[str, list[tuple[Optional[Term], ...]]]] = {}
        for stage in state.stages:
            if stage.location != INLINE:
                self._collect_reads(stage)

    def _collect_reads(self, stage: Stage) -> None:
        """Note what the stage reads of attached stages."""
        ranges = None
        for load in loads(self.bodies[stage.name]):
            name = load.buffer.name
            if self.state.dag[name].is_placeholder or not isinstance(self.state[name].location, At):
                continue
            if ranges is None:
                ranges = {a.name: (0, a.extent - 1) for a in (*stage.tensor.axes, *stage.tensor.reduce_axes)}
            indices = tuple(index_term(index, Simplifier(ranges)) for index in load.indices)
            self.reads.setdefault(name, {}).setdefault(stage.name, []).append(indices)

    def run(self) -> dict[str, StageBounds]:
        for stage in reversed(self.state.stages):
            if stage.location == INLINE:
                continue
            tensor = stage.tensor
            region = {axis.name: Span(ZERO, axis.extent) for axis in tensor.axes}
            if stage.name in self.choices:
                for choice in self.choices[stage.name]:
                    region = _pick(choice.reached, self._needed(stage, choice.place), region)
            elif isinstance(stage.location, At):
                region = self._needed(stage, stage.location)
            axes = {name: span.extent for name, span in region.items()}
            axes |= {axis.name: axis.extent for axis in tensor.reduce_axes}
            extents, strides = iterator_extents(stage, axes)
            self.done[stage.name] = StageBounds(stage, self.bodies[stage.name], extents, region, strides)
        return {stage.name: self.done[stage.name] for stage in self.state.stages if stage.name in self.done}

    def _needed(self, stage: Stage, scope: At) -> Region:
        """The part of a stage that is read within one iteration of the loop `scope`."""
        region: Region = {}
        for reader, accesses in self.reads.get(stage.name, {}).items():
            axes = self._axis_spans(self.state[reader], scope)
            if stage.tensor.attributes.get(MEMORY) == "shared":
                axes = self._of_all_threads(self.state[reader], axes, scope)
            for indices in accesses:
                for axis, index in zip(stage.tensor.axes, indices):
                    span = index_span(index, axes, axis)
                    region[axis.name] = union(region[axis.name], span, axis) if axis.name in region else span
        region = {axis.name: clip(region[axis.name], axis) for axis in stage.tensor.axes if axis.name in region}
        if len(region) < len(stage.tensor.axes):
            raise ScheduleError(f"{stage.name} is not read at {scope.stage}'s {scope.iterator}", self.state)
        return region

    def _of_all_threads(self, reader: Stage, axes: Region, scope: At) -> Region:
        """What the axes of a reader run over in all threads of a block together."""
        moving = {
            (name, iterator)
            for name in (scope.stage, *self._around(scope.stage))
            for iterator in thread_iterators(self.state[name])
        }
        spans = {}
        for axis in (*reader.tensor.axes, *reader.tensor.reduce_axes):
            span = axes[axis.name]
            start, extent = Start(span.start.const, {}), span.extent
            for key, coefficient in span.start.terms.items():
                if key in moving:
                    reach = coefficient * (self.done[key[0]].extents[key[1]] - 1)
                    start = Start(start.const + minimum(reach, 0), start.terms)
                    extent = extent + abs(reach)
                else:
                    start = start.plus(Start(0, {key: coefficient}))
            spans[axis.name] = clip(Span(start, extent), axis)
        return spans

    def _axis_spans(self, reader: Stage, scope: At) -> Region:
        """What each axis of a reader runs over within one iteration of the loop `scope`."""
        if reader.name == scope.stage:
            return self._own_spans(reader, scope.iterator)
        region = self.done[reader.name].region
        spans = {axis.name: clip(self._widen(region[axis.name], scope), axis) for axis in reader.tensor.axes}
        return spans | {axis.name: Span(ZERO, axis.extent) for axis in reader.tensor.reduce_axes}

    def _widen(self, span: Span, scope: At) -> Span:
        """What a span covers when all iterators that start it, except those still within `scope`, run."""
        around = self._around(scope.stage)
        still = self._still(scope)
        start, extent = Start(span.start.const, {}), span.extent
        for (stage, iterator), coefficient in span.start.terms.items():
            if stage in around or (stage == scope.stage and iterator in still):
                start = start.plus(Start(0, {(stage, iterator): coefficient}))
            else:
                # starts of regions are sums over tiles, so coefficients are not negative unless an index runs backwards
                reach = coefficient * (self.done[stage].extents[iterator] - 1)
                start = Start(start.const + minimum(reach, 0), start.terms)
                extent = extent + abs(reach)
        return Span(start, extent)

    def _around(self, name: str) -> set[str]:
        """The stages in whose loops a stage is computed."""
        found: set[str] = set()
        location = self.state[name].location
        while isinstance(location, At):
            found.add(location.stage)
            location = self.state[location.stage].location
        return found

    def _still(self, scope: At) -> set[str]:
        """The iterators of a stage that stand still within one iteration of its loop `scope.iterator`."""
        stage = self.state[scope.stage]
        still = set(stage.names()[: stage.positions[scope.iterator] + 1])
        for relation in reversed(stage.relations):
            if isinstance(relation, SplitRelation):
                if all(part in still for part in relation.parts):
                    still.add(relation.iterator)
            elif relation.fused in still:
                still.update(relation.iterators)
        return still

    def _own_spans(self, stage: Stage, iterator: str) -> Region:
        """What each axis of a stage runs over within one iteration of its loop `iterator`."""
        bounds = self.done[stage.name]
        still = self._still(At(stage.name, iterator))

        def single(name: str) -> Span:
            if name in still:
                return Span(Start(0, {(stage.name, name): 1}), 1)
            return Span(ZERO, bounds.extents[name])

        spans = {leaf.name: single(leaf.name) for leaf in stage.iterators}
        for relation in reversed(stage.relations):
            if isinstance(relation, SplitRelation):
                spans[relation.iterator] = _split_span(relation, spans, bounds)
            else:
                spans.update({name: single(name) for name in relation.iterators})
        for axis, span in bounds.region.items():
            spans[axis] = Span(span.start.plus(spans[axis].start), spans[axis].extent)
        return spans


def thread_iterators(stage: Stage) -> set[str]:
    """The iterators of a stage whose values differ between the threads of a block, virtual ones included."""
    found = {iterator.name for iterator in stage.iterators if iterator.annotation in (THREAD, VTHREAD)}
    for relation in reversed(stage.relations):
        if isinstance(relation, SplitRelation):
            if not found.isdisjoint(relation.parts):
                found.add(relation.iterator)
        elif relation.fused in found:
            found.update(relation.iterators)
    return found


def _pick(condition: Extent, then: Region, otherwise: Region) -> Region:
    """One region where a condition holds, another elsewhere."""
    region: Region = {}
    for axis, span in then.items():
        other = otherwise[axis]
        keys = dict.fromkeys((*other.start.terms, *span.start.terms))
        terms = {k: where(condition, span.start.terms.get(k, 0), other.start.terms.get(k, 0)) for k in keys}
        const = where(condition, span.start.const, other.start.const)
        region[axis] = Span(Start(const, terms), where(condition, span.extent, other.extent))
    return region


def _split_span(relation: SplitRelation, spans: Mapping[str, Span], bounds: StageBounds) -> Span:
    start, extent = ZERO, 1
    for part in relation.parts:
        stride = bounds.strides[part]
        start = start.plus(spans[part].start, stride)
        extent = extent + stride * (spans[part].extent - 1)
    return Span(start, minimum(extent, bounds.extents[relation.iterator]))
