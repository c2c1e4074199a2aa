"""From a schedule to a loop nest.

Paper: Ansor §4

1. Bound inference gives each stage its region and each loop its extent (`bounds`).
2. Each root stage becomes a nest; a stage attached at a loop becomes a nest at the start of that loop's body, in a
   local buffer as large as its region. Loops that run once are left out.
3. A reduction is initialised right before its outermost reduction loop, and updated in place.
4. Indices are simplified in the ranges of the loops. A guard that cannot be proved stands in the outermost loop where
   all its variables are known.

>>> from ansor_mini.loop_steps import Split, Reorder
>>> from ansor_mini.schedule_examples import matmul, replay
>>> print(lower(replay(matmul(8, 10, 16), [Split("C", "j", (4,)), Reorder("C", ("i", "j.0", "k", "j.1"))])))
def kernel(A: float32[8, 16], B: float32[16, 10]) -> (C: float32[8, 10]):
    for i in range(8):
        for j0 in range(3):
            for j1 in range(4):
                if j0 * 4 + j1 < 10:
                    C[i, j0 * 4 + j1] = 0.0
            for k in range(16):
                for j1 in range(4):
                    if j0 * 4 + j1 < 10:
                        C[i, j0 * 4 + j1] = C[i, j0 * 4 + j1] + A[i, k] * B[k, j0 * 4 + j1]
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ansor_mini.bounds import StageBounds, infer
from ansor_mini.gpu_rules.tensor_stages import tensorized_nest
from ansor_mini.guards import Guard, axis_guards, skip_identities, wrap
from ansor_mini.regions import Start
from ansor_mini.schedule import REDUCE, ROOT, At, FuseRelation, Iterator, Stage, State
from ansor_mini.schedule_text import auto_unrolled
from ansor_mini.stage_steps import iterator_values
from ansor_mini.tensor_expression import MEMORY, row_padding
from ansor_mini.tensor_steps import is_tensorized_root
from runtime.expr import Buffer, Expr, Load, Var
from runtime.indices.affine import Affine, Ranges
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import PARALLEL, UNROLL, VECTORIZE, Allocate, For, LoopNest, Stmt, Store, block


def lower(state: State, name: str = "kernel") -> LoopNest:
    """The loop nest of a schedule; intermediates at the root live in the kernel's workspace.

    Raises: ScheduleError: the schedule has no bounds.
    """
    return _Lowering(state).nest(name)


def clean(name: str) -> str:
    """A stage's or iterator's name as an identifier: C.local → C_local, i.0@j.0 → i0_j0."""
    return "_".join("".join(part.split(".", 1)) for part in name.split("@")).replace(".", "_")


@dataclass
class _Loop:
    """A loop to be emitted; one that runs once has no variable."""

    iterator: Iterator
    extent: int
    kind: str
    var: Var | None


@dataclass
class _Nest:
    """A stage being emitted. update_guards hold for the update of a reduction only, guards for its start too.

    together: position of the innermost loop in which all threads of a block fill shared memory; no guard may keep a
    thread from getting there.
    """

    stage: Stage
    loops: list[_Loop]
    ranges: Ranges
    guards: list[Guard] = field(default_factory=list)
    update_guards: list[Guard] = field(default_factory=list)
    inside: dict[int, list[tuple[Buffer, Stmt]]] = field(default_factory=dict)
    together: int = -1

    @property
    def first_reduction(self) -> int:
        """Position of the outermost reduction loop."""
        return next(p for p, loop in enumerate(self.loops) if loop.iterator.kind == REDUCE)


class _Lowering:
    def __init__(self, state: State) -> None:
        self.state = state
        self.bounds = infer(state)
        self.buffers = {tensor.name: Buffer(tensor.name, tensor.shape, tensor.dtype) for tensor in state.dag.inputs}
        for bounds in self.bounds.values():
            tensor, attached = bounds.stage.tensor, isinstance(bounds.stage.location, At)
            shape = tuple(bounds.region[axis.name].extent for axis in tensor.axes)
            scope = str(tensor.attributes.get(MEMORY, "local")) if attached else "global"
            if attached and row_padding(tensor):
                shape = (*shape[:-1], shape[-1] + row_padding(tensor))
            self.buffers[tensor.name] = Buffer(self._buffer_name(tensor.name), shape, tensor.dtype, scope)
        self.names = {buffer.name for buffer in self.buffers.values()}
        self.values: dict[tuple[str, str], Affine] = {}
        self.starts: dict[str, dict[str, Affine]] = {}

    def _buffer_name(self, name: str) -> str:
        taken = {buffer.name for buffer in self.buffers.values()} | set(self.state.dag.tensors)
        result = name.replace(".", "_")
        while result != name and result in taken:
            result += "_"
        return result

    def nest(self, name: str) -> LoopNest:
        roots = [bounds for bounds in self.bounds.values() if bounds.stage.location == ROOT]
        parts = [self._emit_root(bounds) for bounds in roots]
        body: Stmt | None = None
        for bounds, part in zip(reversed(roots), reversed(parts)):
            body = part if body is None else block(part, body)
            if not self.state.dag.is_output(bounds.stage.name):
                body = Allocate(self.buffers[bounds.stage.name], body)
        assert body is not None
        inputs = tuple(self.buffers[tensor.name] for tensor in self.state.dag.inputs)
        return LoopNest(name, inputs, tuple(self.buffers[tensor.name] for tensor in self.state.dag.outputs), body)

    def _emit_root(self, bounds: StageBounds) -> Stmt:
        if is_tensorized_root(bounds.stage):
            return tensorized_nest(self.state, bounds.stage, self.buffers)
        return self._emit(bounds, {}, frozenset())

    def _emit(self, bounds: StageBounds, enclosing: Ranges, known: frozenset[Expr]) -> Stmt:
        """The nest of one stage inside loops with the given ranges, where the conditions `known` hold."""
        stage, tensor = bounds.stage, bounds.stage.tensor
        nest = self._loops(bounds, enclosing)
        simplifier = Simplifier(nest.ranges, {}, self._rewrite_load)
        starts = {axis: self._start(span.start) for axis, span in bounds.region.items()}
        self.starts[stage.name] = starts
        local = self._iterator_values(bounds, nest, simplifier)
        everywhere = {axis.name: local[axis.name] for axis in tensor.reduce_axes}
        everywhere |= {axis.name: starts[axis.name].plus(local[axis.name]) for axis in tensor.axes}
        names = [None if loop.var is None else loop.var.name for loop in nest.loops]
        guards = axis_guards(bounds, local, everywhere, simplifier, names)
        nest.guards, nest.update_guards = ([g for g in some if g.condition not in known] for some in guards)
        nest.together = self._together(stage)
        self._emit_attached(nest, enclosing, known)
        simplifier.values = everywhere
        target = self.buffers[stage.name]
        indices = tuple(local[axis.name].to_expr() for axis in tensor.axes)
        value = simplifier.value(bounds.body)
        if tensor.combiner is None:
            nest.guards = _inside(nest.guards, nest.together)
            return _assemble(nest, Store(target, indices, value))
        vectors = {loop.var.name for loop in nest.loops if loop.kind == VECTORIZE and loop.var is not None}
        conditions, value = skip_identities(value, tensor.combiner, tensor.identity, vectors)
        holds = known | {guard.condition for guard in (*nest.guards, *nest.update_guards)}
        nest.update_guards += [Guard.of(condition, names) for condition in conditions if condition not in holds]
        nest.guards, nest.update_guards = (_inside(some, nest.together) for some in (nest.guards, nest.update_guards))
        update = Store(target, indices, tensor.combine(Load(target, indices), value))
        return _assemble(nest, update, Store(target, indices, tensor.identity))

    def _loops(self, bounds: StageBounds, enclosing: Ranges) -> _Nest:
        """Name the loops of a stage and note their ranges."""
        stage = bounds.stage
        unrolled = auto_unrolled(self.state, bounds) if stage.unroll_limit else frozenset()
        loops, ranges = [], dict(enclosing)
        for iterator in stage.iterators:
            extent = bounds.extents[iterator.name]
            kind = UNROLL if iterator.name in unrolled else iterator.annotation
            var = None
            if extent > 1:
                name = clean(iterator.name)
                if name in ranges or name in self.names:
                    name = f"{clean(stage.name)}_{name}"
                while name in ranges or name in self.names:
                    name += "_"
                var = Var(name)
                ranges[name] = (0, extent - 1)
            loops.append(_Loop(iterator, extent, kind, var))
        return _Nest(stage, loops, ranges)

    def _iterator_values(self, bounds: StageBounds, nest: _Nest, simplifier: Simplifier) -> dict[str, Affine]:
        stage = bounds.stage
        own = {loop.iterator.name: Affine() if loop.var is None else Affine(0, {loop.var: 1}) for loop in nest.loops}
        values = iterator_values(stage, dict(bounds.extents), dict(bounds.strides), simplifier, own)
        if any(isinstance(relation, FuseRelation) for relation in stage.relations):
            values = {name: simplifier.recombine(value) for name, value in values.items()}
        for name, value in values.items():
            self.values[stage.name, name] = value
        return values

    def _start(self, start: Start) -> Affine:
        result = Affine(start.const)
        for key, coefficient in start.terms.items():
            result = result.plus(self.values[key], coefficient)
        return result

    def _emit_attached(self, nest: _Nest, enclosing: Ranges, known: frozenset[Expr]) -> None:
        """Emit the stages that are computed inside this one's loops."""
        ranges = dict(enclosing)
        for position, loop in enumerate(nest.loops):
            if loop.var is not None:
                ranges[loop.var.name] = (0, loop.extent - 1)
            for stage in self.state.attached.get(At(nest.stage.name, loop.iterator.name), ()):
                buffer = self.buffers[stage.name]
                if any(inner.kind == PARALLEL and inner.var is not None for inner in nest.loops[position + 1 :]):
                    # the cores inside share it, so it cannot belong to one of them
                    buffer = self.buffers[stage.name] = Buffer(buffer.name, buffer.shape, buffer.dtype, "global")
                holds = {guard.condition for guard in nest.guards if nest.together < guard.position <= position}
                part = self._emit(self.bounds[stage.name], dict(ranges), known | holds)
                nest.inside.setdefault(position, []).append((buffer, part))

    def _together(self, stage: Stage) -> int:
        """Position of the innermost loop of a stage in which shared memory is filled, -1 for none."""
        places = self.state.attached_to(stage.name)
        inside = [p for p, name in enumerate(stage.names()) if any(map(self._fills_shared, places.get(name, ())))]
        return max(inside, default=-1)

    def _fills_shared(self, stage: Stage) -> bool:
        return self.buffers[stage.name].scope == "shared" or self._together(stage) >= 0

    def _rewrite_load(self, load: Load, forms: list[Affine]) -> Expr:
        """Turn a load of a tensor into one of its buffer, relative to the region that the buffer holds."""
        name = load.buffer.name
        starts = self.starts.get(name)
        if starts is not None:
            forms = [form.plus(start, -1) for form, start in zip(forms, starts.values())]
        return Load(self.buffers[name], tuple(form.to_expr() for form in forms))


def _assemble(nest: _Nest, store: Stmt, start: Stmt | None = None) -> Stmt:
    """Put the loops around a stage's statement, inside out; `start` initialises a reduction."""
    first = nest.first_reduction if start is not None else -1
    body = store
    for position in range(len(nest.loops) - 1, -1, -1):
        guards = nest.guards + nest.update_guards if position >= first else nest.guards
        if position == nest.together:
            body = wrap(body, guards, position)
        for buffer, part in reversed(nest.inside.get(position, [])):
            body = Allocate(buffer, block(part, body))
        if position != nest.together:
            body = wrap(body, guards, position)
        body = _loop(nest.loops[position], body)
        if position == first and start is not None:
            early = [guard for guard in nest.update_guards if guard.position < first]
            for guard in early:
                body = wrap(body, [guard], guard.position)
            body = block(_initialise(nest, start, first), body)
    return wrap(body, nest.guards, -1)


def _initialise(nest: _Nest, start: Stmt, first: int) -> Stmt:
    for position in range(len(nest.loops) - 1, first, -1):
        loop = nest.loops[position]
        if loop.iterator.kind != REDUCE:
            start = _loop(loop, wrap(start, nest.guards, position))
    return wrap(start, nest.guards, nest.together) if nest.together >= first else start


def _inside(guards: list[Guard], together: int) -> list[Guard]:
    """The guards, none of them around the loop in which all threads have to be."""
    return [Guard(guard.condition, max(guard.position, together)) for guard in guards]


def _loop(loop: _Loop, body: Stmt) -> Stmt:
    return body if loop.var is None else For(loop.var, loop.extent, loop.kind, body)
