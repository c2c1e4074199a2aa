"""Run a loop nest slowly and plainly: the oracle for the emitters.

Every loop runs as a serial loop and every operation is done in the dtype it is written in, one element at a time.
What a program may not do shows: memory that was never written holds NaN (integers: `POISON`), an index outside its
buffer raises, an integer that leaves its dtype raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.expr import Binary, Buffer, Call, Cast, Const, Expr, Load, Select, Var
from runtime.expr_text import show
from runtime.loop_nest import Allocate, Block, For, If, LoopNest, Prefetch, Stmt, Store
from runtime.narrow_floats import from_bfloat16, storage, to_bfloat16

POISON = -(2**31) + 12345
Value = object  # np.float32, np.float64, int or bool
OnStore = Callable[[str, "tuple[int, ...]"], None]


def interpret(nest: LoopNest, *inputs: np.ndarray, on_store: OnStore | None = None) -> tuple[np.ndarray, ...]:
    """Run a nest on arrays and return its outputs.

    on_store: told of every store, in order: the buffer's name and the element's position.
    Raises: TypeError, ValueError: the inputs do not match the declaration.  IndexError: an access outside its buffer.
        OverflowError: an integer leaves its dtype.  ZeroDivisionError: an integer is divided by zero.

    >>> from runtime.loop_nest_text import parse
    >>> nest = parse("def f(A: float32[3]) -> (B: float32[3]):\\n  for i in range(3):\\n    B[i] = A[2 - i] * 2.0")
    >>> interpret(nest, np.array([1, 2, 3], np.float32))
    (array([6., 4., 2.], dtype=float32),)
    >>> _ = interpret(nest, np.ones(3, np.float32), on_store=lambda name, where: print(name, where))
    B (0,)
    B (1,)
    B (2,)
    """
    if len(inputs) != len(nest.inputs):
        raise TypeError(f"{nest.name} takes {len(nest.inputs)} inputs, got {len(inputs)}")
    machine = _Machine(on_store)
    for buffer, array in zip(nest.inputs, inputs):
        if array.dtype != storage(buffer.dtype):
            raise TypeError(f"`{buffer.name}` must be {buffer.dtype}, got {array.dtype}")
        if array.shape != buffer.shape:
            raise ValueError(f"`{buffer.name}` must have shape {buffer.shape}, got {array.shape}")
        machine.memory[buffer.name] = array
    for buffer in nest.outputs:
        machine.memory[buffer.name] = uninitialised(buffer)
    with np.errstate(all="ignore"):
        machine.run(nest.body)
    return tuple(machine.memory[buffer.name] for buffer in nest.outputs)


def uninitialised(buffer: Buffer) -> np.ndarray:
    """Memory in which a read before the first write shows."""
    poison = {"bool": True, "int32": POISON, "int64": POISON}.get(buffer.dtype, math.nan)
    if buffer.dtype == "bfloat16":
        return to_bfloat16(np.full(buffer.shape, poison))
    return np.full(buffer.shape, poison, dtype=buffer.dtype)


class _Machine:
    """The buffers and loop variables of a running nest."""

    def __init__(self, on_store: OnStore | None = None) -> None:
        self.on_store = on_store
        self.memory: dict[str, np.ndarray] = {}
        self.variables: dict[str, int] = {}

    def run(self, stmt: Stmt) -> None:
        if isinstance(stmt, Block):
            for part in stmt.stmts:
                self.run(part)
        elif isinstance(stmt, For):
            for value in range(stmt.extent):
                self.variables[stmt.var.name] = value
                self.run(stmt.body)
            self.variables.pop(stmt.var.name, None)
        elif isinstance(stmt, Store):
            where = self.position(stmt.buffer, stmt.indices)
            self.memory[stmt.buffer.name][where] = (
                self.value(stmt.value)
                if stmt.buffer.dtype != "bfloat16"
                else (
                    to_bfloat16(self.value(stmt.value))  # type: ignore[arg-type]
                )
            )
            if self.on_store is not None:
                self.on_store(stmt.buffer.name, where)
        elif isinstance(stmt, If):
            if self.value(stmt.condition):
                self.run(stmt.body)
        elif isinstance(stmt, Allocate):
            self.memory[stmt.buffer.name] = uninitialised(stmt.buffer)
            self.run(stmt.body)
            del self.memory[stmt.buffer.name]
        elif not isinstance(stmt, Prefetch):
            raise TypeError(f"not a statement: {stmt!r}")

    def position(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[int, ...]:
        if buffer.name not in self.memory:
            raise IndexError(f"`{buffer.name}` does not exist here")
        where = tuple(int(self.value(index)) for index in indices)  # type: ignore[call-overload]
        if len(where) != len(buffer.shape) or not all(0 <= i < extent for i, extent in zip(where, buffer.shape)):
            access, shape = show(Load(buffer, indices)), list(buffer.shape)
            element, limits = f"{buffer.name}{list(where)}", f"{buffer.name}{shape}"
            raise IndexError(f"{access} is {element}, outside {limits} at {self.variables}")
        return where

    def value(self, expr: Expr) -> Value:
        if isinstance(expr, Const):
            return _typed(expr.value, expr.dtype)
        if isinstance(expr, Var):
            return self.variables[expr.name]
        if isinstance(expr, Load):
            element = self.memory[expr.buffer.name][self.position(expr.buffer, expr.indices)]
            if expr.dtype == "bfloat16":
                return np.float32(from_bfloat16(element))
            return element if expr.dtype.startswith("float") else element.item()
        if isinstance(expr, Select):
            return self.value(expr.then if self.value(expr.condition) else expr.otherwise)
        if isinstance(expr, Cast):
            value = self.value(expr.value)
            return _typed(value, expr.dtype)
        if isinstance(expr, Call):
            return _typed(_CALLS[expr.name](*(self.value(arg) for arg in expr.args)), expr.dtype)
        if isinstance(expr, Binary):
            return self.binary(expr)
        raise TypeError(f"not an expression: {expr!r}")

    def binary(self, expr: Binary) -> Value:
        if expr.op == "and":
            return self.value(expr.a) and self.value(expr.b)
        if expr.op == "or":
            return self.value(expr.a) or self.value(expr.b)
        return _typed(_OPERATORS[expr.op](self.value(expr.a), self.value(expr.b)), expr.dtype)


def _typed(value: Value, dtype: str) -> Value:
    """Hold a value in its dtype: NumPy scalars for floats, Python's int and bool for the others."""
    if dtype.startswith("float"):
        return np.dtype(dtype).type(value)
    if dtype == "bfloat16":
        return np.float32(from_bfloat16(to_bfloat16(value)))  # type: ignore[arg-type]
    if dtype == "bool":
        return bool(value)
    whole = int(value)  # type: ignore[call-overload]
    if not -(2 ** (31 if dtype == "int32" else 63)) <= whole < 2 ** (31 if dtype == "int32" else 63):
        raise OverflowError(f"{whole} does not fit {dtype}")
    return whole


def _floor_div(a: Value, b: Value) -> Value:
    return a // b if isinstance(a, int) else np.floor(a / b)  # type: ignore[operator]


_OPERATORS: dict[str, Callable] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": _floor_div,
    "%": lambda a, b: a % b,
    "min": lambda a, b: a if a < b else b,
    "max": lambda a, b: a if a > b else b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_CALLS: dict[str, Callable] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "erf": lambda x: math.erf(float(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "abs": abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "pow": lambda x, y: x**y,
}
