"""Stores of neighbouring elements: 16 bytes at a time where places and alignment are proved, else one by one."""

from __future__ import annotations

from runtime.cuda_text.expressions import CudaText, cuda_name
from runtime.expr import ITEM_SIZE, Const, Expr, Load, Select, Var
from runtime.expr_tree import children, free_variables, rebuild, substitute
from runtime.indices.index_forms import flat_index, fold, multiple_of, step
from runtime.loop_nest import For, Store

VECTOR_TYPES = {"float32": "float", "int32": "int", "float64": "double", "int64": "longlong"}
VECTOR_BYTES = 16
MEMBERS = "xyzw"
ZERO = {"float32": "0.0f", "float64": "0.0", "int32": "0", "int64": "0ll"}


def vector_width(place: Load, loop: For) -> int:
    """How many neighbouring elements one access may take in a loop over them: 4, 2, or 1 when not proved.

    >>> from runtime.expr import Buffer
    >>> A, i, x = Buffer("A", (8, 12)), Var("i"), Var("x")
    >>> [vector_width(A[i, Var("j") * 4 + x], For(x, n, "vectorize", Store(A, (i, x), A[i, x]))) for n in (4, 2, 3)]
    [4, 2, 1]
    """
    if place.dtype not in VECTOR_TYPES or place.buffer.scope not in ("global", "shared"):
        return 1
    flat = flat_index(place.indices, place.buffer.shape)
    if step(flat, loop.var.name, loop.extent) != 1:
        return 1
    first = multiple_of(fold(substitute(flat, {loop.var.name: Const(0)})))
    for width in (VECTOR_BYTES // ITEM_SIZE[place.dtype], 2):
        if width > 1 and loop.extent % width == 0 and first % width == 0:
            return width
    return 1


def vector_lines(loop: For, store: Store, text: CudaText) -> list[str]:
    """A loop over neighbouring elements, as the lines of its text."""
    lines: list[str] = []
    width = max(vector_width(Load(store.buffer, store.indices), loop), load_width(store.value, loop))
    if width > 1 and loop.extent % width == 0:
        for first in range(0, loop.extent, width):
            lines += _vector(loop, store, text, first, width)
        return lines
    for lane in range(loop.extent):
        at = {loop.var.name: Const(lane)}
        place = tuple(fold(substitute(index, at)) for index in store.indices)
        lines.append(f"{text.element(store.buffer, place)} = {text.text(fold(substitute(store.value, at)))};")
    return lines


def load_width(value: Expr, loop: For) -> int:
    """The widest access among the loads of a value that lie in memory."""
    if isinstance(value, Load):
        return vector_width(value, loop)
    return max((load_width(part, loop) for part in children(value)), default=1)


def _vector(loop: For, store: Store, text: CudaText, first: int, width: int) -> list[str]:
    """The lines for elements first .. first + width - 1."""
    lanes = _Lanes(loop, text, first, width)
    values = [text.text(lanes.value(store.value, lane, ())) for lane in range(width)]
    place = Load(store.buffer, store.indices)
    lines = lanes.lines
    if vector_width(place, loop) >= width:
        kind = f"{VECTOR_TYPES[store.buffer.dtype]}{width}"
        made = f"make_{kind}({', '.join(values)})"
        whole = lanes.whole(store.value)
        lines.append(f"*({kind}*)&{lanes.element(place, 0)} = {whole or made};")
    else:
        lines += [f"{lanes.element(place, lane)} = {values[lane]};" for lane in range(width)]
    return ["{", *(f"    {line}" for line in lines), "}"] if lanes.loaded else lines


class _Lanes:
    """The elements of one vector; `lines` load what they share."""

    def __init__(self, loop: For, text: CudaText, first: int, width: int) -> None:
        self.loop, self.text, self.first, self.width = loop, text, first, width
        self.lines: list[str] = []
        self.loaded: dict[tuple[Load, tuple[Expr, ...]], str] = {}

    def at(self, expr: Expr, lane: int) -> Expr:
        return fold(substitute(expr, {self.loop.var.name: Const(self.first + lane)}))

    def element(self, place: Load, lane: int) -> str:
        return self.text.element(place.buffer, tuple(self.at(index, lane) for index in place.indices))

    def value(self, expr: Expr, lane: int, guards: tuple[Expr, ...]) -> Expr:
        """The expression in one lane; what is loaded for all lanes at once becomes a member of a vector."""
        if self.loop.var.name not in free_variables(expr):
            return expr
        if isinstance(expr, Load) and vector_width(expr, self.loop) >= self.width:
            if not any(self.loop.var.name in free_variables(guard) for guard in guards):
                return Var(f"{self.load(expr, guards)}.{MEMBERS[lane]}", expr.dtype)
        if isinstance(expr, Select) and self.loop.var.name not in free_variables(expr.condition):
            then = self.value(expr.then, lane, (*guards, expr.condition))
            if isinstance(then, Var) and "." in then.name and _is_zero(expr.otherwise):
                return then  # the vector is zero where it is not loaded
            otherwise = self.value(expr.otherwise, lane, (*guards, _not(expr.condition)))
            return Select(expr.condition, then, otherwise)
        inner = (*guards, Var(self.loop.var.name)) if isinstance(expr, Select) else guards
        return (
            rebuild(expr, tuple(self.value(part, lane, inner) for part in children(expr)))
            if children(expr)
            else (self.at(expr, lane))
        )

    def load(self, place: Load, guards: tuple[Expr, ...]) -> str:
        """The variable that holds all lanes of a load, made where the guards hold."""
        key = (place, guards)
        if key not in self.loaded:
            name = f"{cuda_name(place.buffer.name)}_v{len(self.loaded)}"
            kind = f"{VECTOR_TYPES[place.dtype]}{self.width}"
            loaded = f"*(const {kind}*)&{self.element(place, 0)}"
            for guard in reversed(guards):
                nothing = ", ".join([ZERO[place.dtype]] * self.width)
                loaded = f"({self.text.text(guard)}) ? {loaded} : make_{kind}({nothing})"
            self.lines.append(f"const {kind} {name} = {loaded};")
            self.loaded[key] = name
        return self.loaded[key]

    def whole(self, value: Expr) -> str | None:
        """The name of the vector when the value is nothing but it."""
        guards: tuple[Expr, ...] = ()
        while isinstance(value, Select) and _is_zero(value.otherwise):
            guards, value = (*guards, value.condition), value.then
        return self.loaded.get((value, guards)) if isinstance(value, Load) else None


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 0


def _not(condition: Expr) -> Expr:
    from runtime.verify_nest import negation

    opposite = negation(condition)
    return opposite if opposite is not None else Select(condition, Const(False, "bool"), Const(True, "bool"))
