"""Expressions as C text, for one element and for a vector of lanes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from runtime.expr import COMPARISONS, NARROW_FLOATS, Binary, Buffer, Call, Cast, Const, Expr, Load, Select, Var
from runtime.expr_tree import free_variables, loads, substitute
from runtime.indices.index_forms import divide, flat_index, flat_step, fold, interval
from runtime.loop_nest import For
from runtime.narrow_floats import pack

C_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t", "bool": "_Bool"}
C_TYPES |= {"float16": "uint16_t", "bfloat16": "uint16_t"}  # moved as bits; casts are functions
SHORT = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "b8"}
SHORT |= {"float16": "f16", "bfloat16": "b16"}
_PRECEDENCE = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6} | dict.fromkeys(COMPARISONS, 4)
_C_OPERATOR = {"and": "&&", "or": "||", "//": "/"}
_LIBM = {"exp", "log", "sqrt", "tanh", "erf", "floor", "ceil", "pow"}
# Words that may not name anything in the emitted text.
_RESERVED = set(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm main "
    "workspace lane result all_lanes int32_t int64_t exp log sqrt tanh erf floor ceil pow abs "
    "expf logf sqrtf tanhf erff floorf ceilf "
    "powf fabs fabsf fmod fmodf gamma j0 j1 jn y0 y1 yn signgam".split()
)

Place = Callable[[Buffer, tuple[Expr, ...]], Expr]


@lru_cache(maxsize=1024)  # a nest's few names are printed again and again
def c_name(name: str) -> str:
    """A C identifier for a name of the nest, the same one each time."""
    text = re.sub(r"\W", "_", name)
    reserved = text in _RESERVED or text.startswith("_") or re.fullmatch(r"\w+_[fib]\d+(x\d+u?)?|[fi]\d+x\d+u?", text)
    return f"{text}_" if reserved or text[:1].isdigit() else text


def literal(value: float, dtype: str) -> str:
    """A constant as C text."""
    if dtype == "bool":
        return "1" if value else "0"
    if dtype in NARROW_FLOATS:
        return str(int(pack(np.array(value, np.float32), dtype).view(np.uint16)))
    if dtype.startswith("int"):
        if dtype == "int64":
            return f"{int(value)}ll"
        return "(-2147483647 - 1)" if value == -(2**31) else str(int(value))
    suffix = "f" if dtype == "float32" else ""
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}__builtin_inf{suffix}()"
    return f'__builtin_nan{suffix}("")' if math.isnan(value) else f"{float(value)!r}{suffix}"


class ScalarText:
    """Prints expressions for one element.

    Args: extents: of the loops around.  lanes: how many elements one item of a vector array holds, by buffer name.
        lane: the loop over the lanes of a vector when the text stands inside `EACH_LANE`, which names it `lane`.
        place: the position of an element in memory; by default the row-major one.
    """

    def __init__(
        self,
        extents: Mapping[str, int],
        lanes: Mapping[str, int],
        lane: For | None = None,
        place: Place | None = None,
    ) -> None:
        self.extents = extents
        self.lanes = lanes
        self.lane = lane
        self.place = place

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """C text of an expression, in brackets where an operator of this precedence around it needs them."""
        if isinstance(expr, Var):
            return "lane" if self.lane is not None and expr == self.lane.var else c_name(expr.name)
        if isinstance(expr, Const):
            text = literal(expr.value, expr.dtype)
            return f"({text})" if precedence and text.startswith("-") else text
        if isinstance(expr, Binary):
            return self.binary(expr, precedence)
        if isinstance(expr, Load):
            return self.element(expr.buffer, expr.indices)
        if isinstance(expr, Cast):
            return self.cast(expr)
        if isinstance(expr, Select):
            return f"({self.text(expr.condition, 1)} ? {self.text(expr.then, 1)} : {self.text(expr.otherwise, 1)})"
        if isinstance(expr, Call):
            return self.call(expr)
        raise TypeError(f"not an expression: {expr!r}")

    def cast(self, expr: Cast) -> str:
        """A conversion; one from or to a float of 16 bits goes through float32."""
        value, old = self.text(expr.value, 8), expr.value.dtype
        if old in NARROW_FLOATS:
            value = f"widen_{SHORT[old]}({self.text(expr.value)})"
        if expr.dtype in NARROW_FLOATS:
            return f"narrow_{SHORT[expr.dtype]}({value})"
        return value if old in NARROW_FLOATS and expr.dtype == "float32" else f"(({C_TYPES[expr.dtype]}){value})"

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """One element of a buffer as an lvalue."""
        if buffer.name in self.lanes and self.lane is not None:
            return f"{self.register(buffer, indices, self.lane)}[lane]"
        return f"{c_name(buffer.name)}[{self.offset(buffer, indices)}]"

    def register(self, buffer: Buffer, indices: tuple[Expr, ...], lane: For) -> str:
        """The item of a vector array that holds an element for every lane."""
        flat = flat_index(indices, buffer.shape)
        if lane.var.name in free_variables(flat):
            flat = divide(fold(substitute(flat, {lane.var.name: Const(0)})), self.lanes[buffer.name])
        return f"{c_name(buffer.name)}[{self.text(flat)}]"

    def offset(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The row-major position of an element; 64 bits wide when the buffer needs that."""
        if buffer.size < 2**31:
            if self.place is not None and buffer.scope != "register":
                return self.text(self.place(buffer, indices))
            return self.text(flat_index(indices, buffer.shape))
        stride, terms = buffer.size, []
        for index, extent in zip(indices, buffer.shape):
            stride //= extent
            terms.append(f"(int64_t){self.text(index, 8)} * {stride}")
        return " + ".join(terms)

    def call(self, expr: Call) -> str:
        """An intrinsic: libm's, or a helper of the prelude."""
        args = ", ".join(self.text(arg) for arg in expr.args)
        if expr.name in _LIBM and expr.dtype in ("float32", "float64"):
            return f"{expr.name}{'f' if expr.dtype == 'float32' else ''}({args})"
        return f"{expr.name}_{SHORT[expr.dtype]}({args})"

    def binary(self, expr: Binary, precedence: int) -> str:
        """An operator; floor division and remainder become C's where the operands cannot be negative."""
        op = expr.op
        if op in ("min", "max"):
            return f"{op}_{SHORT[expr.dtype]}({self.text(expr.a)}, {self.text(expr.b)})"
        if op in ("//", "%") and not self._truncation_is_floor(expr):
            name = "floordiv" if op == "//" else "floormod"
            return f"{name}_{SHORT[expr.dtype]}({self.text(expr.a)}, {self.text(expr.b)})"
        level = _PRECEDENCE[op]
        # gcc warns about `a && b || c`, and equality binds looser than `<`: bracket comparisons and logic inside logic.
        left = level + 1 if level == 4 else level
        text = f"{self.text(expr.a, left)} {_C_OPERATOR.get(op, op)} {self.text(expr.b, level + 1)}"
        return f"({text})" if level < precedence else text

    def _truncation_is_floor(self, expr: Binary) -> bool:
        if expr.a.dtype.startswith("float"):
            return False
        return interval(expr.a, self.extents)[0] >= 0 and interval(expr.b, self.extents)[0] > 0


class VectorText:
    """Prints expressions for all lanes of a vectorised loop at once.

    What has one value for all lanes stays scalar; what has no vector form is computed lane by lane.
    """

    def __init__(
        self,
        extents: Mapping[str, int],
        lanes: Mapping[str, int],
        lane: For,
        place: Place | None = None,
    ) -> None:
        self.scalar = ScalarText(extents, lanes, place=place)
        self.one_lane = ScalarText(extents, lanes, lane, place)
        self.lanes = lanes
        self.lane = lane

    def vector_type(self, dtype: str) -> str:
        """The C type of one value per lane."""
        return f"{SHORT[dtype]}x{self.lane.extent}"

    def is_uniform(self, expr: Expr) -> bool:
        """Whether all lanes see one value."""
        return self.lane.var.name not in free_variables(expr) and not any(
            load.buffer.name in self.lanes for load in loads(expr)
        )

    def value(self, expr: Expr) -> str:
        """A vector, also for what is the same in all lanes."""
        if self.is_uniform(expr):
            return f"splat_{self.vector_type(expr.dtype)}({self.scalar.text(expr)})"
        return self.text(expr)

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """A vector, or a scalar for what is the same in all lanes."""
        if self.is_uniform(expr):
            return self.scalar.text(expr, precedence)
        if isinstance(expr, Load):
            return self.load(expr)
        if isinstance(expr, Binary) and expr.op in ("+", "-", "*", "/"):
            level = _PRECEDENCE[expr.op]
            text = f"{self.text(expr.a, level)} {expr.op} {self.text(expr.b, level + 1)}"
            return f"({text})" if level < precedence else text
        if isinstance(expr, Binary) and expr.op in ("min", "max"):
            return f"{expr.op}_{self.vector_type(expr.dtype)}({self.value(expr.a)}, {self.value(expr.b)})"
        if isinstance(expr, Call):
            args = ", ".join(self.value(arg) for arg in expr.args)
            return f"{expr.name}_{self.vector_type(expr.dtype)}({args})"
        by_lane = {"bool", *NARROW_FLOATS}
        if isinstance(expr, Cast) and not by_lane & {expr.dtype, expr.value.dtype} and not self.counts(expr.value):
            return f"__builtin_convertvector({self.value(expr.value)}, {self.vector_type(expr.dtype)})"
        if isinstance(expr, Select) and self.is_uniform(expr.condition):
            condition, kind = self.scalar.text(expr.condition, 1), self.vector_type(expr.dtype)
            # The casts give both branches one type: what is loaded from memory has another alignment.
            return f"({condition} ? ({kind})({self.value(expr.then)}) : ({kind})({self.value(expr.otherwise)}))"
        return self.lane_by_lane(expr)

    def counts(self, expr: Expr) -> bool:
        """Whether an integer expression is made of loop variables only: cheaper lane by lane than from memory."""
        return not loads(expr)

    def load(self, expr: Load) -> str:
        """A register, consecutive elements, or elements gathered one by one."""
        if expr.buffer.name in self.lanes:
            return self.scalar.register(expr.buffer, expr.indices, self.lane)
        if expr.dtype != "bool" and self.stride(expr) == 1:
            return f"({self.vector_type(expr.dtype)})*(const {self.vector_type(expr.dtype)}u *)&{self.first(expr)}"
        return self.lane_by_lane(expr)

    def stride(self, place: Load) -> int | None:
        """Elements between neighbouring lanes."""
        return flat_step(place.indices, place.buffer.shape, self.lane.var.name, self.lane.extent)

    def first(self, place: Load) -> str:
        """The element of lane 0."""
        at_zero = tuple(fold(substitute(index, {self.lane.var.name: Const(0)})) for index in place.indices)
        return self.scalar.element(place.buffer, at_zero)

    def lane_by_lane(self, expr: Expr) -> str:
        """A vector filled by a loop over the lanes; gcc turns the loop into masked or gathered loads."""
        kind, count = self.vector_type(expr.dtype), self.lane.extent
        fill = f"EACH_LANE({count}) result[lane] = {self.one_lane.text(expr)};"
        return f"({{ {C_TYPES[expr.dtype]} result[{count}]; {fill} *(const {kind}u *)result; }})"
