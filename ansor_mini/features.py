"""The 164 features of each statement of a program: the readable definition.

Paper: Ansor §5.2, App. B

One row for each stage that is not inlined. `feature_arrays` computes the same for a whole population at once; a test
holds the two equal. The rows describe, in the order of `feature_names.FEATURE_NAMES`:

1. Computation: operations of all iterations together by kind; number, product and innermost length of the vectorised,
   unrolled and parallel loops, and where they are.
2. The five buffers with the most cache lines: bytes, lines, reuse, stride.
3. The arithmetic intensity (operations per byte touched) of ten loop levels.
4. The size and place of the buffer that is written, the loops around, and the unroll limit.

Numbers x become log2(x + 1), ones and zeros stay. Where the paper's published code has quirks, this does what the paper
means:

- Multiply-adds are counted as such (the code never sets that column), positions of annotated loops are told apart (the
  code knows only "none" and "mixed"), and all operations of a select count, whichever branch is taken.
- Loops that run once are left out. A fused loop counts as one annotated loop, and as those it was made of otherwise.
- Bytes touched in a loop are those of all statements inside (the code: of those up to this one), each buffer once.
  A reduction's initialisation is one more touch of its buffer.
- `lines` divides by the extents of the loops that do not move the access (the code: by the innermost extent, once for
  each). `unique_lines` and strides take the shape of the tile that is accessed, not that of the whole tensor, and of
  the buffer at hand; contiguous bytes go on through all dimensions that are covered completely.
- A copy that the threads of a GPU's block make together stands in no thread loop but its own.
- A region of a tensor is never larger than the tensor. Indices that are not affine take their interval.
- The ten points of the curve are equal steps of the logarithm of the operations, so that inner levels are seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_names import (
    ALL_NUMERIC,
    ANNOTATIONS,
    COUNT,
    FEATURE_NAMES,
    FIRST_ALLOCATION,
    FIRST_GPU,
    FIRST_OUTER,
    FIRST_SAMPLE,
    FIRST_SLOT,
    LOOPS,
    OPERATIONS,
    POSITIONS,
    REGISTERS,
    SAMPLES,
    SLOTS,
)
from ansor_mini.feature_regions import index_stride, width
from ansor_mini.feature_statements import (
    READ_WRITE,
    Access,
    Loop,
    Statement,
    gpu_features,
    is_for_gpu,
    statements,
)
from ansor_mini.regions import IteratorKey
from ansor_mini.register_features import statement_registers
from ansor_mini.schedule import State
from ansor_mini.schedule_text import auto_unrolled
from ansor_mini.sketch import Program
from runtime.gpu import Gpu
from runtime.loop_nest import PARALLEL, UNROLL, VECTORIZE
from runtime.machine import Machine

__all__ = ["FEATURE_NAMES", "features", "raw_features", "scaled", "statement_features"]

CACHE_LINE = 64
_NUMERIC = np.array(ALL_NUMERIC)
_FLOAT = tuple(OPERATIONS.index(name) for name in OPERATIONS if name.startswith("float"))


def features(program: Program | State, machine: Machine | Gpu | None = None, *, registers: bool = False) -> np.ndarray:
    """The features of a program or a schedule, float32 [statements, 164], producers first.

    machine: gives the length of a cache line (64 bytes without). registers: add those of `register_features`.
    Raises: ScheduleError: the program is not feasible.
    """
    return scaled(raw_features(program, machine, registers=registers).astype(np.float32))


def scaled(raw: np.ndarray) -> np.ndarray:
    """Numbers x as log2(x + 1), the rest as it is; the last axis has the features, those of registers or not."""
    return np.where(_NUMERIC[: raw.shape[-1]], np.log2(raw + 1), raw)


def raw_features(
    program: Program | State, machine: Machine | Gpu | None = None, *, registers: bool = False
) -> np.ndarray:
    """The features before `scaled`, float64 [statements, 164]."""
    rows = statement_features(program, machine, registers=registers)
    return np.array(list(rows.values())).reshape(len(rows), COUNT + len(REGISTERS) * registers)


def statement_features(
    program: Program | State, machine: Machine | Gpu | None = None, *, registers: bool = False
) -> dict[str, np.ndarray]:
    """The raw features of each statement, float64 [164], by the name of its stage."""
    state = program.schedule() if isinstance(program, Program) else program
    bounds = infer(state)
    found = statements(state, bounds)
    unrolled = {(name, leaf) for name, stage_bounds in bounds.items() for leaf in auto_unrolled(state, stage_bounds)}
    nests = {name: Nest.of(statement, unrolled) for name, statement in found.items()}
    touches = _touches(list(nests.values()))
    line = CACHE_LINE if machine is None else machine.cache_line
    on_gpu = is_for_gpu(state)
    rows = {name: _row(nest, touches, line, on_gpu) for name, nest in nests.items()}
    if not registers:
        return rows
    return {name: np.concatenate([row, _registers(nests[name])]) for name, row in rows.items()}


@dataclass(frozen=True)
class Nest:
    """A statement with the loops that run more than once, and what each access touches.

    kinds: of each loop. inside[p]: product of the extents of loops p and further in; inside[-1] is 1.
    widths[p]: for each access its touched region in one run of loop p, one width for each dimension.
    """

    statement: Statement
    loops: tuple[Loop, ...]
    kinds: tuple[str, ...]
    inside: tuple[int, ...]
    widths: tuple[tuple[tuple[int, ...], ...], ...]

    @staticmethod
    def of(statement: Statement, unrolled: set[IteratorKey]) -> Nest:
        """Leave out loops that run once, and measure the regions from every loop."""
        loops = tuple(loop for loop in statement.loops if loop.extent > 1)
        kinds = tuple(UNROLL if (loop.key[0], loop.leaf) in unrolled else loop.annotation for loop in loops)
        inside = tuple(math.prod(loop.extent for loop in loops[p:]) for p in range(len(loops) + 1))
        widths = []
        for p in range(len(loops) + 1):
            free = {loop.key: loop.extent for loop in loops[p:]}
            widths.append(tuple(width(statement, access, free) for access in statement.accesses))
        return Nest(statement, loops, kinds, inside, tuple(widths))

    def bytes(self, position: int) -> list[int]:
        """Bytes that each access touches in one run of the loop at a position."""
        return [a.item * math.prod(w) for a, w in zip(self.statement.accesses, self.widths[position])]


Touches = Mapping[IteratorKey, Mapping[str, Sequence[int]]]


def _touches(nests: Sequence[Nest]) -> Touches:
    """For each loop and buffer, the bytes that each touch by a statement inside covers in one run of the loop."""
    found: dict[IteratorKey, dict[str, list[int]]] = {}
    for nest in nests:
        start = nest.statement.start
        shared = {loop.key for loop in nest.statement.loops[:start]} if start is not None else set()
        for position, loop in enumerate(nest.loops):
            for access, size in zip(nest.statement.accesses, nest.bytes(position)):
                sizes = found.setdefault(loop.key, {}).setdefault(access.buffer, [])
                sizes.extend([size] * (2 if access.kind == READ_WRITE and loop.key in shared else 1))
    return found


def _row(nest: Nest, touches: Touches, line: int, on_gpu: bool) -> np.ndarray:
    statement, total = nest.statement, nest.inside[0]
    row = np.zeros(COUNT)
    row[: len(OPERATIONS)] = [total * count for count in _operations(nest)]
    for kind, annotation in zip(ANNOTATIONS, (VECTORIZE, UNROLL, PARALLEL)):
        row[LOOPS[kind] : LOOPS[kind] + 3 + len(POSITIONS)] = _annotated(nest, annotation)
    row[FIRST_GPU:FIRST_SLOT] = gpu_features(statement.loops, on_gpu)
    accessed = sorted((_access(nest, number, touches, line) for number in range(len(statement.accesses))),
                      key=lambda access: (-access[5], -access[3]))  # fmt: skip
    for slot, access in enumerate(accessed[:SLOTS]):
        row[FIRST_SLOT + slot * len(access) : FIRST_SLOT + (slot + 1) * len(access)] = access
    row[FIRST_SAMPLE : FIRST_SAMPLE + SAMPLES] = _curve(nest)
    written = statement.accesses[0]
    outer = math.prod(loop.extent for loop in statement.loops[: statement.outer])
    elements = math.prod(written.shape)
    row[FIRST_ALLOCATION:FIRST_OUTER] = (elements * written.item, elements * outer, outer, total / outer)
    row[FIRST_OUTER:] = (total, len(nest.loops), statement.stage.unroll_limit)
    return row


def _registers(nest: Nest) -> list[float]:
    masks = [[kind == each for each in (VECTORIZE, UNROLL, PARALLEL)] for kind in nest.kinds]
    return statement_registers(nest.statement, nest.loops, masks)


def _operations(nest: Nest) -> list[int]:
    """Operations of one iteration: an axis of n loops takes n - 1 multiply-adds wherever it is named.

    Only the stage's own loops count: where its tile starts is known outside of them.
    """
    counts = list(nest.statement.operations)
    own = {loop.key for loop in nest.loops if loop.key[0] == nest.statement.stage.name}
    for axis, uses in nest.statement.uses.items():
        steps = uses * max(len(own & set(nest.statement.axes[axis].terms)) - 1, 0)
        counts[OPERATIONS.index("int_addsub")] += steps
        counts[OPERATIONS.index("int_mul")] += steps
    return counts


def _annotated(nest: Nest, annotation: str) -> list[float]:
    """Number, product and innermost length of the loops of a kind, and a one-hot of where they are."""
    groups: dict[IteratorKey, list[int]] = {}
    for position, (loop, kind) in enumerate(zip(nest.loops, nest.kinds)):
        if kind == annotation:
            groups.setdefault((loop.key[0], loop.leaf), []).append(position)
    lengths = [math.prod(nest.loops[p].extent for p in group) for group in groups.values()]
    places = {_place(nest, group) for group in groups.values()}
    place = "none" if not places else places.pop() if len(places) == 1 else "mixed"
    one_hot = [float(place == name) for name in POSITIONS]
    return [len(lengths), math.prod(lengths) if lengths else 0, lengths[-1] if lengths else 0, *one_hot]


def _place(nest: Nest, group: Sequence[int]) -> str:
    kind = "reduce" if nest.loops[group[-1]].reduce else "spatial"
    place = "inner" if group[-1] == len(nest.loops) - 1 else "outer" if group[0] == 0 else "middle"
    return f"{place}_{kind}"


def _access(nest: Nest, number: int, touches: Touches, line: int) -> list[float]:
    """The 18 features of a buffer."""
    access, total = nest.statement.accesses[number], nest.inside[0]
    steps = [index_stride(nest.statement, access, loop.key) for loop in nest.loops]
    moved = [step if depends else None for depends, step in steps]
    kinds = [float(access.kind == kind) for kind in range(3)]
    widths = nest.widths[0][number]
    passed, stride = 1, 0
    for loop, step in zip(reversed(nest.loops), reversed(moved)):
        if step is not None:
            stride = step
            break
        passed *= loop.extent
    numbers: list[float] = [total * access.item, math.prod(widths) * access.item]
    numbers.append(max(total / passed * min(1.0, stride * access.item / line), 1.0))
    numbers.append(max(numbers[1] / min(_contiguous(access, widths), line), 1.0))
    reuse = _reuse(nest, access, [step is not None for step in moved], touches)
    per_reuse = [2 * n if reuse[5] <= 0.5 else n / reuse[5] for n in numbers]
    last = moved[-1] if moved and moved[-1] is not None else 0
    return [*kinds, *numbers, *reuse, *per_reuse, last]


def _contiguous(access: Access, widths: Sequence[int]) -> int:
    """Bytes that lie next to each other in a region."""
    run = access.item
    for extent, whole in zip(reversed(widths), reversed(access.shape)):
        run *= extent
        if extent < whole:
            break
    return run


def _reuse(nest: Nest, access: Access, moves: Sequence[bool], touches: Touches) -> list[float]:
    """One-hot of loop reuse, serial reuse and none; then distance in iterations and in bytes, and the count."""
    for position in range(len(nest.loops) - 1, -1, -1):
        loop = nest.loops[position]
        if not moves[position]:
            # the same elements come back in the loop's next iteration
            if position + 1 < len(nest.loops):
                distance = _touched(touches[nest.loops[position + 1].key])
            else:
                distance = sum(each.item for each in nest.statement.accesses)
            return [1.0, 0.0, 0.0, nest.inside[position + 1], distance, loop.extent]
        sizes = touches[loop.key][access.buffer]
        if len(sizes) > 1:
            # another statement in this loop touches them too
            elements = min(sizes) // access.item
            return [0.0, 1.0, 0.0, elements / loop.extent, _touched(touches[loop.key]) / loop.extent, len(sizes) - 1]
    return [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def _touched(buffers: Mapping[str, Sequence[int]]) -> int:
    """Bytes of all buffers together."""
    return sum(max(sizes) for sizes in buffers.values())


def float_operations(statement: Statement) -> int:
    """Floating-point operations of one iteration; a multiply-add is two."""
    return sum(statement.operations[column] for column in _FLOAT) + statement.operations[0]


def _curve(nest: Nest) -> list[float]:
    """Arithmetic intensity against operations, at ten steps of the logarithm of all operations."""
    one = float_operations(nest.statement)
    if not one:
        return [0.0] * SAMPLES
    levels = range(len(nest.loops), -1, -1)
    operations = [one * nest.inside[p] for p in levels]
    intensity = [count / sum(nest.bytes(p)) for count, p in zip(operations, levels)]
    steps = np.exp2(np.log2(operations[-1]) * (np.arange(1, SAMPLES + 1) / SAMPLES))
    return [float(value) for value in np.interp(steps, operations, intensity)]
