"""What the features of a program are computed from: its statements, the loops around them, and what they access.

Paper: Ansor App. B

A stage that is not inlined is one `Statement`: the loops around it, what it computes, and each buffer it touches with
an affine form in those loops for each dimension. All numbers come from bound inference and are integers, or arrays with
one integer for each program: nothing here branches on a value.

A fused loop is seen as the loops that it was made of, since fusing changes neither how often nor in which order memory
is touched. So loops that annotation fuses look alike in all programs of a sketch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ansor_mini.bounds import Choice, StageBounds
from ansor_mini.feature_operations import count_operations
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, IteratorKey, Start
from ansor_mini.schedule import REDUCE, At, FuseRelation, SplitRelation, Stage, State
from ansor_mini.tensor_expression import MEMORY
from runtime.expr import ITEM_SIZE, Expr, Load, Var
from runtime.expr_tree import loads
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import BLOCK, GPU_KINDS, THREAD, VTHREAD

READ, WRITE, READ_WRITE = 0, 1, 2


@dataclass(frozen=True)
class Loop:
    """A loop around a statement.

    leaf: the loop of the schedule that it is, or is a part of. around: whether the statement is inside it: True, or the
    programs in which it is; in the others its extent counts as 1.
    """

    key: IteratorKey
    leaf: str
    extent: Extent
    reduce: bool
    annotation: str
    around: Extent = True


@dataclass(frozen=True)
class Dimension:
    """One index of a load: const + Σ terms[loop] · loop + Σ factor · atom; atoms are not linear in the axes."""

    const: Extent
    terms: Mapping[IteratorKey, Extent]
    atoms: tuple[tuple[int, Expr], ...] = ()


@dataclass(frozen=True)
class Access:
    """Everything that a statement does to one buffer.

    kind: read, write, or both. shape: of the buffer, for an attached stage that of its tile. loads: one tuple of
    `Dimension` for each different load (or store).
    """

    buffer: str
    kind: int
    item: int
    shape: tuple[Extent, ...]
    loads: tuple[tuple[Dimension, ...], ...]


@dataclass(frozen=True)
class Statement:
    """A stage that is not inlined.

    loops: all around it, outer to inner; the first `outer` belong to other stages. start: position of its outermost
    reduction loop, right before which its buffer is initialised; None without one. axes: the value of each axis.
    operations: of one iteration, as in `feature_names.OPERATIONS`. uses: how often an index names each axis.
    """

    stage: Stage
    loops: tuple[Loop, ...]
    outer: int
    start: Optional[int]
    axes: Mapping[str, Start]
    accesses: tuple[Access, ...]
    operations: tuple[int, ...]
    uses: Mapping[str, int]


def statements(
    state: State, bounds: Mapping[str, StageBounds], choices: Mapping[str, Sequence[Choice]] | None = None
) -> dict[str, Statement]:
    """The statements of a schedule, producers first.

    choices: as for `infer`; the state has the stages concerned at the last of their places.
    """
    return _Statements(state, bounds, choices or {}).run()


class _Statements:
    def __init__(
        self, state: State, bounds: Mapping[str, StageBounds], choices: Mapping[str, Sequence[Choice]]
    ) -> None:
        self.state, self.bounds, self.choices = state, bounds, choices
        self.loops: dict[str, tuple[Loop, ...]] = {}

    def run(self) -> dict[str, Statement]:
        return {name: self._statement(bounds) for name, bounds in self.bounds.items()}

    def _statement(self, bounds: StageBounds) -> Statement:
        stage, tensor = bounds.stage, bounds.stage.tensor
        loops = self._loops_around(stage)
        own = own_forms(bounds)
        local = {axis.name: own[axis.name] for axis in (*tensor.axes, *tensor.reduce_axes)}
        axes = {name: form.plus(bounds.region[name].start) if name in bounds.region else form
                for name, form in local.items()}  # fmt: skip
        outer = len(loops) - len(self._own_loops(stage))
        start = next((p for p, loop in enumerate(loops) if loop.reduce and p >= outer), None)
        target = tuple(_dimension(local[axis.name]) for axis in tensor.axes)
        kind = WRITE if tensor.combiner is None else READ_WRITE
        shape = tuple(bounds.region[axis.name].extent for axis in tensor.axes)
        accesses = [Access(stage.name, kind, ITEM_SIZE[tensor.dtype], shape, (target,))]
        accesses += self._reads(bounds, axes)
        operations, uses = count_operations(tensor, bounds.body)
        return Statement(stage, loops, outer, start, axes, tuple(accesses), operations, uses)

    def _loops_around(self, stage: Stage) -> tuple[Loop, ...]:
        if stage.name not in self.loops:
            around: tuple[Loop, ...] = ()
            if isinstance(stage.location, At):
                place = stage.location
                loops = self._loops_around(self.state[place.stage])
                place_of = [(loop.key[0], loop.leaf) for loop in loops]
                last = max(p for p, found in enumerate(place_of) if found == (place.stage, place.iterator))
                around = tuple(self._may_be_around(stage, loop) for loop in loops[: last + 1])
                if stage.tensor.attributes.get(MEMORY) == "shared":
                    # the threads of a block fill it together, once
                    around = tuple(loop for loop in around if loop.annotation not in (THREAD, VTHREAD))
            self.loops[stage.name] = around + self._own_loops(stage)
        return self.loops[stage.name]

    def _may_be_around(self, stage: Stage, loop: Loop) -> Loop:
        """A loop around the last of a stage's places, for the programs whose place is that far in."""
        for choice in self.choices.get(stage.name, ()):
            if (choice.place.stage, choice.place.iterator) == (loop.key[0], loop.leaf):
                return replace(loop, extent=where(choice.reached, loop.extent, 1), around=choice.reached)
        return loop

    def _own_loops(self, stage: Stage) -> tuple[Loop, ...]:
        fused = {r.fused: r.iterators for r in stage.relations if isinstance(r, FuseRelation)}
        extents = self.bounds[stage.name].extents
        found: list[Loop] = []

        def expand(name: str, leaf: str, reduce: bool, annotation: str) -> None:
            if name in fused:
                for part in fused[name]:
                    expand(part, leaf, reduce, annotation)
            else:
                found.append(Loop((stage.name, name), leaf, extents[name], reduce, annotation))

        for iterator in stage.iterators:
            expand(iterator.name, iterator.name, iterator.kind == REDUCE, iterator.annotation)
        return tuple(found)

    def _reads(self, bounds: StageBounds, axes: Mapping[str, Start]) -> list[Access]:
        """One access for each buffer that the body reads, in the order of first reading."""
        tensor = bounds.stage.tensor
        simplifier = Simplifier({axis.name: (0, axis.extent - 1) for axis in (*tensor.axes, *tensor.reduce_axes)})
        found: dict[str, dict[tuple[Expr, ...], Load]] = {}
        for load in loads(bounds.body):
            found.setdefault(load.buffer.name, {}).setdefault(load.indices, load)
        accesses = []
        for name, distinct in found.items():
            source = self.state.dag[name]
            shape, starts = tuple(source.shape), [Start(0, {})] * len(source.shape)
            if name in self.bounds:
                region = self.bounds[name].region
                shape = tuple(region[axis.name].extent for axis in source.axes)
                starts = [region[axis.name].start for axis in source.axes]
            forms = tuple(
                tuple(self._index(simplifier, index, axes, start) for index, start in zip(load.indices, starts))
                for load in distinct.values()
            )
            accesses.append(Access(name, READ, ITEM_SIZE[source.dtype], shape, forms))
        return accesses

    def _index(self, simplifier: Simplifier, index: Expr, axes: Mapping[str, Start], start: Start) -> Dimension:
        form = simplifier.affine(index)
        total = Start(form.const, {})
        atoms = []
        for atom, factor in form.terms.items():
            if isinstance(atom, Var):
                total = total.plus(axes[atom.name], factor)
            else:
                atoms.append((factor, atom))
        return _dimension(total.plus(start, -1), tuple(atoms))


def gpu_features(loops: Sequence[Loop], is_gpu: bool) -> list[Extent]:
    """The features `feature_names.GPU` of a statement: 1 on a GPU, then blocks, threads and virtual threads.

    Only the first of the three dimensions of blocks and of threads is used.
    """
    lengths: dict[str, Extent] = dict.fromkeys(GPU_KINDS, 1)
    for loop in loops:
        if loop.annotation in lengths:
            lengths[loop.annotation] = lengths[loop.annotation] * loop.extent
    return [float(is_gpu), lengths[BLOCK], 1, 1, lengths[THREAD], 1, 1, lengths[VTHREAD]]


def is_for_gpu(state: State) -> bool:
    """Whether a schedule has loops for the hardware of a GPU."""
    return any(iterator.annotation in GPU_KINDS for stage in state.stages for iterator in stage.iterators)


def _dimension(form: Start, atoms: tuple[tuple[int, Expr], ...] = ()) -> Dimension:
    terms = {key: c for key, c in form.terms.items() if not isinstance(c, (int, float)) or c}
    return Dimension(form.const, terms, atoms)


def own_forms(bounds: StageBounds) -> dict[str, Start]:
    """The value of every iterator of a stage in terms of its loops, fused ones taken apart."""
    stage = bounds.stage
    forms = {name: Start(0, {(stage.name, name): 1}) for name in stage.names()}
    for relation in reversed(stage.relations):
        if isinstance(relation, SplitRelation):
            form = Start(0, {})
            for part in relation.parts:
                form = form.plus(forms[part], bounds.strides[part])
            forms[relation.iterator] = form
        elif relation.fused in stage.positions or len(forms[relation.fused].terms) == 1:
            for name in relation.iterators:
                forms[name] = Start(0, {(stage.name, name): 1})
        else:
            # The parts of a split fused loop move all of its components.
            for name in relation.iterators:
                forms[name] = Start(0, dict.fromkeys(forms[relation.fused].terms, 1))
    return forms
