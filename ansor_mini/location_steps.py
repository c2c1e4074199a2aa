"""Steps that say where a stage is computed: at the root, inlined into its consumers, or inside a consumer's loop.

Paper: Ansor §4
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansor_mini.annotation_steps import annotate
from ansor_mini.loop_steps import Int, fuse, known
from ansor_mini.schedule import INLINE, ROOT, SPATIAL, At, Location, ScheduleError, Stage, State, Step
from runtime.loop_nest import PARALLEL, SERIAL, UNROLL, VECTORIZE


@dataclass(frozen=True)
class ComputeAt(Step):
    """Compute a stage inside a loop of one of its consumers: only the part that one iteration reads, in a local tile.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16, relu=True), [ComputeAt("C", "D", "i")]))
    placeholders: A, B
    for i in range(8):
        for i in range(1):
            for j in range(8):
                for k in range(16):
                    C += ...
        for j in range(8):
            D = ...
    """

    stage: str
    target: str
    iterator: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        iterator = state.iterator(self.target, self.iterator)
        stage = state[self.stage]
        if state.has_parallel(stage):
            raise ScheduleError(f"{self}: {self.stage} has a parallel loop and must stay at the root", state)
        if iterator.annotation == VECTORIZE:
            raise ScheduleError(f"{self}: {self.iterator} is vectorised", state)
        inner: Stage | None = state[self.target]
        while inner is not None:
            if inner.name == self.stage:
                raise ScheduleError(f"{self}: {self.target} is itself computed inside {self.stage}", state)
            inner = state[inner.location.stage] if isinstance(inner.location, At) else None
        return move(state, stage, At(self.target, self.iterator))


@dataclass(frozen=True)
class ComputeInline(Step):
    """Put the expression of a stage into its consumers. The stage must have no reduction and untouched loops.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16, transposed=True), [ComputeInline("T")]))
    placeholders: A, B
    inlined: T
    for i in range(8):
        for j in range(8):
            for k in range(16):
                C += ...
    """

    stage: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        reason = why_not_inline(state, self.stage)
        if reason:
            raise ScheduleError(f"{self}: {reason}", state)
        return move(state, state[self.stage], INLINE)


@dataclass(frozen=True)
class ComputeRoot(Step):
    """Compute a stage completely, before its consumers, in a buffer of its own.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> replay(matmul(8, 8, 16, relu=True), [ComputeAt("C", "D", "i"), ComputeRoot("C")])["C"].location
    'root'
    """

    stage: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        return move(state, state[self.stage], ROOT)


def move(state: State, stage: Stage, location: Location) -> State:
    """The state with a stage computed elsewhere."""
    return state.with_stage(replace(stage, location=location)).check_attachments()


def why_not_inline(state: State, name: str) -> str:
    """The reason why a stage cannot be inlined; empty when it can."""
    stage = state[name]
    if state.dag.is_output(name):
        return f"{name} is an output"
    if stage.tensor.combiner:
        return f"{name} has a reduction"
    if not replace(stage, location=ROOT, unroll_limit=0).is_untouched:
        return f"the loops of {name} are already scheduled"
    if state.attached_to(name):
        return f"{next(iter(state.attached_to(name).values()))[0].name} is computed inside {name}"
    return ""


@dataclass(frozen=True)
class Locate(Step):
    """Choose a stage's location by number: 0 inline, 1 root, 2 + i the i-th of `candidate_locations`.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16, relu=True), [Locate("C", 3)]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for i in range(1):
                for j in range(1):
                    for k in range(16):
                        C += ...
            D = ...
    """

    stage: str
    choice: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        choice = known(self.choice, self)
        if choice == 0:
            return ComputeInline(self.stage).apply(state)
        if choice == 1:
            return ComputeRoot(self.stage).apply(state)
        candidates = candidate_locations(state, self.stage)
        if not 0 <= choice - 2 < len(candidates):
            raise ScheduleError(f"{self}: {self.stage} has {len(candidates)} candidate locations", state)
        place = candidates[choice - 2]
        return ComputeAt(self.stage, place.stage, place.iterator).apply(state)


def candidate_locations(state: State, stage: str) -> tuple[At, ...]:
    """The loops in which a stage may be computed, outer to inner.

    Paper: Ansor §4.2

    They are the loops around all its readers: those of the root that the readers share, then those of a reader attached
    there. An untiled reader's loops end at its first reduction, a tiled reader's at the first spatial loop after one;
    both end at an unrolled or vectorised loop.
    """
    if state.dag.is_output(stage) or state.has_parallel(state[stage]):
        return ()
    found: list[At] = []
    for target in _shared_targets(state, stage):
        for iterator in _walk_outer(state[target]):
            place = At(target, iterator)
            trial = state.with_stage(replace(state[stage], location=place))
            try:
                trial.check_attachments()
            except ScheduleError:
                break
            found.append(place)
    return tuple(found)


def _shared_targets(state: State, stage: str) -> tuple[str, ...]:
    """The stages around all readers of a stage, outermost first."""
    chains: list[tuple[str, ...]] = []
    for reader in state.readers(stage):
        chain = [reader.name]
        while isinstance(reader.location, At):
            reader = state[reader.location.stage]
            chain.append(reader.name)
        chains.append(tuple(reversed(chain)))
    shared = []
    for names in zip(*chains):
        if len(set(names)) > 1 or names[0] == stage:
            break
        shared.append(names[0])
    return tuple(shared)


def _walk_outer(stage: Stage) -> tuple[str, ...]:
    tiled = len(stage.iterators) > len(stage.tensor.axes) + len(stage.tensor.reduce_axes)
    names: list[str] = []
    reduced = False
    for iterator in stage.iterators:
        if iterator.annotation in (UNROLL, VECTORIZE) or (iterator.kind != SPATIAL and not tiled):
            break
        if iterator.kind == SPATIAL and reduced:
            break
        reduced = reduced or iterator.kind != SPATIAL
        names.append(iterator.name)
    return tuple(names)


@dataclass(frozen=True)
class FuseParallel(Step):
    """Fuse the first `width` loops of a stage and run the result on several cores; width 0 does nothing.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 16), [FuseParallel("C", 2)]))
    placeholders: A, B
    for i@j in parallel(64):
        for k in range(16):
            C += ...
    """

    stage: str
    width: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        names, width = _names_and_width(state, self, self.stage, self.width)
        return _fuse_and_annotate(state, self, self.stage, names[:width], PARALLEL)


@dataclass(frozen=True)
class FuseVectorize(Step):
    """Fuse the last `width` loops of a stage and vectorise the result; width 0 does nothing.

    >>> from ansor_mini.schedule_examples import matmul, replay
    >>> print(replay(matmul(8, 8, 4, relu=True), [FuseVectorize("D", 1)]))
    placeholders: A, B
    for i in range(8):
        for j in range(8):
            for k in range(4):
                C += ...
    for i in range(8):
        for j in vectorize(8):
            D = ...
    """

    stage: str
    width: Int

    def apply(self, state: State) -> State:
        """The state after this step."""
        names, width = _names_and_width(state, self, self.stage, self.width)
        return _fuse_and_annotate(state, self, self.stage, names[len(names) - width :], VECTORIZE)


def _names_and_width(state: State, step: Step, stage: str, width: Int) -> tuple[tuple[str, ...], int]:
    names, count = state[stage].names(), known(width, step)
    if not 0 <= count <= len(names):
        raise ScheduleError(f"{step}: width must be 0 to {len(names)}, the number of loops of {stage}", state)
    return names, count


def _fuse_and_annotate(state: State, step: Step, stage: str, names: tuple[str, ...], kind: str) -> State:
    if not names:
        return state
    if len(names) > 1:
        if any(state.iterator(stage, name).annotation != SERIAL for name in names):
            raise ScheduleError(f"{step}: only serial loops can be fused", state)
        state = fuse(state, step, stage, names)
    return annotate(state, step, stage, "@".join(names), kind)
