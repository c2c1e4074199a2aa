"""Adding up (or comparing) the lanes of one vector: what is left of a reduction whose partial results are a vector.

    for lane in range(16):
        total[()] = total[()] + partial[lane]       ->       total[0] += addlanes_f32x16(partial);

The sum is a tree of four additions of whole vectors instead of a chain of sixteen scalar ones, so floating-point sums
may differ in the last bits. Only elements of the thread's own buffers are joined so; arguments are reduced in
the order that the loops say.
"""

from __future__ import annotations

from runtime.expr import ITEM_SIZE, Binary, Load
from runtime.expr_tree import free_variables
from runtime.indices.index_forms import flat_step
from runtime.loop_nest import SERIAL, UNROLL, For, Store

NAMES = {"+": "addlanes", "max": "maxlanes", "min": "minlanes"}
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


def lanes_helper(name: str, short: str, count: int, element: str) -> str | None:
    """The C function that joins the lanes of a vector, half by half; None when the name is not one of `NAMES`.

    >>> print(lanes_helper("addlanes", "f32", 8, "float"))
    static inline float addlanes_f32x8(f32x8 v)
    {
        f32x4 h4 = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
        h4 = h4 + __builtin_shufflevector(h4, h4, 2, 3, 0, 1);
        h4 = h4 + __builtin_shufflevector(h4, h4, 1, 2, 3, 0);
        return h4[0];
    }
    """
    op = next((op for op, helper in NAMES.items() if helper == name), None)
    if op is None:
        return None
    kind, lines, vector = f"{short}x{count}", list[str](), "v"

    def joined(a: str, b: str, lanes: int) -> str:
        return f"{a} + {b}" if op == "+" else f"{op}_{short}x{lanes}({a}, {b})"

    def part(*lanes: int) -> str:
        return f"__builtin_shufflevector({vector}, {vector}, {', '.join(map(str, lanes))})"

    while count > 4:
        count //= 2
        half = joined(part(*range(count)), part(*range(count, 2 * count)), count)
        lines.append(f"    {short}x{count} h{count} = {half};")
        vector = f"h{count}"
    for distance in (2, 1):
        turned = part(*((lane + distance) % count for lane in range(count)))
        lines.append(f"    {vector} = {joined(vector, turned, count)};")
    return "\n".join((f"static inline {element} {name}_{kind}({kind} v)", "{", *lines, f"    return {vector}[0];", "}"))
