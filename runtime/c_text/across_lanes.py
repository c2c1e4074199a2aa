"""Adding up (or comparing) the lanes of one vector: what is left of a reduction whose partial results are a vector.

    for lane in range(16):
        total[()] = total[()] + partial[lane]       ->       total[0] += addlanes_f32x16(partial);

The sum is a tree of four additions of whole vectors instead of a chain of sixteen scalar ones, so floating-point sums
may differ in the last bits. Only elements of the thread's own buffers are joined so; arguments are reduced in
the order that the loops say.

Where several vectors are joined, four of them share a tree, and the shuffles in it, of which a vector by itself needs
almost as many; results that are not neighbours in memory are stored one by one:

    for c in range(4):
        Y[c] = 0.0                            ->       Y[0:4] = 0.0 + addfour_f32x16(T[0], T[1], T[2], T[3]);
        for lane in range(16):
            Y[c] = Y[c] + T[c, lane]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from runtime.c_text.expressions import SHORT, ScalarText, VectorText
from runtime.c_text.lane_helpers import FOUR, NAMES, TOGETHER
from runtime.expr import ITEM_SIZE, Binary, Const, Load
from runtime.expr_tree import free_variables, substitute
from runtime.indices.index_forms import flat_step, fold
from runtime.loop_nest import SERIAL, UNROLL, Allocate, Block, For, Store

_MOST = 64  # results written out for one nest of loops
_WIDEST = 64  # bytes of a vector


def joined_vector(loop: For) -> tuple[Store, Load] | None:
    """The accumulation that a loop makes of neighbouring elements, and the load of these; None for other loops.

    >>> from runtime.loop_nest import Allocate
    >>> from runtime.loop_nest_text import parse
    >>> nest = parse('''
    ... def f() -> (S: float32[1]):
    ...     with local(float32[16]) as T:
    ...         for i in range(16):
    ...             S[0] = S[0] + T[i]
    ... ''')
    >>> print(joined_vector(nest.body.body)[1])
    T[i]
    """
    store, name = loop.body, loop.var.name
    if loop.kind not in (SERIAL, UNROLL) or not isinstance(store, Store) or not isinstance(store.value, Binary):
        return None
    value, load = store.value, store.value.b
    if value.op not in NAMES or value.a != Load(store.buffer, store.indices) or not isinstance(load, Load):
        return None
    if any(name in free_variables(index) for index in store.indices) or load.buffer.name == store.buffer.name:
        return None
    size = ITEM_SIZE[load.dtype] * loop.extent
    whole = loop.extent in (4, 8, 16) and 16 <= size <= _WIDEST and load.dtype.startswith("float")
    private = load.buffer.scope != "global"
    if not whole or not private or flat_step(load.indices, load.buffer.shape, name, loop.extent) != 1:
        return None
    return store, load


class JoinedRow(NamedTuple):
    """Several results, each the lanes of one vector joined and put to a constant.

    places, vectors: of the results.  offsets: in memory, from the first.  lane: the loop over the lanes of a vector.
    """

    op: str
    start: Const
    lane: For
    places: list[Load]
    offsets: list[int]
    vectors: list[Load]


def joined_row(loop: For) -> JoinedRow | None:
    """The row of results that a nest of loops around the joining of lanes makes; None for other loops.

    >>> from runtime.loop_nest_text import parse
    >>> from runtime.passes.register_tiles import promote_accumulators
    >>> nest = promote_accumulators(parse('''
    ... def f() -> (S: float32[8]):
    ...     with local(float32[2, 3, 16]) as T:
    ...         for w in range(2):
    ...             for c in range(3):
    ...                 S[w * 3 + c + 1] = 0.0
    ...                 for i in range(16):
    ...                     S[w * 3 + c + 1] = S[w * 3 + c + 1] + T[w, c, i]
    ... '''))
    >>> row = joined_row(nest.body.body)
    >>> print(*row.places, *row.vectors[:2])
    S[1] S[2] S[3] S[4] S[5] S[6] T[0, 0, i] T[0, 1, i]
    """
    loops, inner = [loop], loop.body
    while isinstance(inner, For):
        loops.append(inner)
        inner = inner.body
    if any(each.kind not in (SERIAL, UNROLL) for each in loops) or not isinstance(inner, Allocate):
        return None
    parts = inner.body.stmts if isinstance(inner.body, Block) else ()
    if len(parts) != 3 or not isinstance(parts[1], For):
        return None
    first, lane, last = parts[0], parts[1], parts[2]
    found = joined_vector(lane)
    if found is None or not isinstance(first, Store) or not isinstance(last, Store):
        return None
    total = Load(found[0].buffer, found[0].indices)
    if last.buffer == found[1].buffer:
        return None  # four vectors are read before the first of their results is stored
    inside = total.buffer == inner.buffer == first.buffer and first.indices == total.indices and last.value == total
    steps = [flat_step(last.indices, last.buffer.shape, each.var.name, each.extent) for each in loops]
    few = FOUR <= math.prod(each.extent for each in loops) <= _MOST
    if not inside or not few or not isinstance(first.value, Const) or last.buffer.scope == "register" or None in steps:
        return None
    points = list(itertools.product(*(range(each.extent) for each in loops)))
    offsets = [sum(value * (step or 0) for value, step in zip(point, steps)) for point in points]
    at = [{each.var.name: Const(value) for each, value in zip(loops, point)} for point in points]

    def copies(load: Load) -> list[Load]:
        return [Load(load.buffer, tuple(fold(substitute(i, values)) for i in load.indices)) for values in at]

    assert isinstance(found[0].value, Binary)
    places = copies(Load(last.buffer, last.indices))
    return JoinedRow(found[0].value.op, first.value, lane, places, offsets, copies(found[1]))


def joined_lines(loop: For, scalars: ScalarText, vectors: Callable[[For], VectorText]) -> list[str]:
    """The C lines of a loop that joins lanes, of one vector or of neighbouring ones; none when it does something else.

    vectors: makes the printer for a loop over lanes.
    """
    row, single = joined_row(loop), joined_vector(loop)
    if row is not None:
        return _lines_of_row(row, scalars, vectors(row.lane))
    if single is None:
        return []
    store, load = single
    assert isinstance(store.value, Binary)
    text, target = vectors(loop), scalars.element(store.buffer, store.indices)
    joined = f"{NAMES[store.value.op]}_{text.vector_type(load.dtype)}({text.load(load)})"
    return [f"{target} = {_combined(store.value.op, target, joined, SHORT[load.dtype])};"]


def _lines_of_row(row: JoinedRow, scalars: ScalarText, vectors: VectorText) -> list[str]:
    short, start, lines = SHORT[row.start.dtype], scalars.text(row.start), list[str]()
    kind, whole = vectors.vector_type(row.start.dtype), len(row.places) // FOUR * FOUR
    targets = [scalars.element(place.buffer, place.indices) for place in row.places]
    loaded = [vectors.load(vector) for vector in row.vectors]
    for first in range(0, whole, FOUR):
        joined = f"{TOGETHER[row.op]}_{kind}({', '.join(loaded[first : first + FOUR])})"
        value = _combined(row.op, f"splat_{short}x{FOUR}({start})", joined, f"{short}x{FOUR}")
        if [offset - row.offsets[first] for offset in row.offsets[first : first + FOUR]] == list(range(FOUR)):
            lines.append(f"*({short}x{FOUR}u *)&{targets[first]} = {value};")
        else:
            apart = (f"{targets[first + i]} = four[{i}];" for i in range(FOUR))
            lines.append(f"{{ const {short}x{FOUR} four = {value}; {' '.join(apart)} }}")
    for target, vector in zip(targets[whole:], loaded[whole:]):
        lines.append(f"{target} = {_combined(row.op, start, f'{NAMES[row.op]}_{kind}({vector})', short)};")
    return lines


def _combined(op: str, a: str, b: str, kind: str) -> str:
    return f"{a} + {b}" if op == "+" else f"{op}_{kind}({a}, {b})"
