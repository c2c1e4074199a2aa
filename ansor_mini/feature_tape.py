"""Arithmetic that is written down once and then run on arrays.

A `Symbol` stands for a number of each program that is not known yet. Arithmetic on symbols (Python's operators and
a few NumPy functions) adds to a `Tape`; `Tape.run` computes the results from arrays. Equal operations are written down once,
what nobody needs is left out, and every symbol knows an interval that it lies in, which decides comparisons early and
drops terms: code that runs over symbols may branch on nothing, yet costs only what its structure leaves open.

>>> tape = Tape()
>>> a, b = tape.input("a", 1, 8), tape.input("b", 1, 4)
>>> a > 0, a * 1 is a, np.minimum(a, 9) is a
(True, True, True)
>>> program = tape.compile([where(a < b, a * b, 0), a * b])
>>> [array.tolist() for array in program.run({"a": np.array([2.0, 5.0]), "b": np.array([4.0, 3.0])})]
[[8.0, 0.0], [8.0, 15.0]]
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

Scalar = Union[int, float, bool]
Operation = Callable[..., Any]


def where(condition: Any, then: Any, otherwise: Any) -> Any:
    """`then` where the condition holds, on numbers, arrays and symbols."""
    if isinstance(condition, (bool, np.bool_)):
        return then if condition else otherwise
    return condition.where(then, otherwise) if isinstance(condition, Symbol) else np.where(condition, then, otherwise)


def _cast(flags: np.ndarray) -> np.ndarray:
    return flags.astype(np.float64)


class Symbol:
    """A number, or a truth value, of each program; low and high: what it lies between."""

    __slots__ = ("tape", "index", "low", "high", "is_bool")

    def __init__(self, tape: Tape, index: int, low: float, high: float, is_bool: bool) -> None:
        self.tape, self.index, self.low, self.high, self.is_bool = tape, index, low, high, is_bool

    def __bool__(self) -> bool:
        raise TypeError("the truth of a symbol is not known while a tape is being written; use where")

    def __hash__(self) -> int:
        return self.index

    def number(self) -> Symbol:
        """The symbol itself, or 1 for true and 0 for false."""
        return self.tape.node(_cast, (self,), 0, 1) if self.is_bool else self

    def where(self, then: Any, otherwise: Any) -> Any:
        """`then` where the symbol is true."""
        if then is otherwise or (not {Symbol} & {type(then), type(otherwise)} and then == otherwise):
            return then
        if _is_bool(then) and _is_bool(otherwise):
            return (self & then) | (~self & otherwise)
        then, otherwise = _number(then), _number(otherwise)
        low, high = min(_low(then), _low(otherwise)), max(_high(then), _high(otherwise))
        return self.tape.node(np.where, (self, then, otherwise), low, high)

    def __add__(self, other: Any) -> Any:
        a, b = self.number(), _number(other)
        if not isinstance(b, Symbol) and b == 0:
            return a
        return self.tape.node(operator.add, _ordered(a, b), _low(a) + _low(b), _high(a) + _high(b))

    def __sub__(self, other: Any) -> Any:
        return _subtract(self.tape, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _subtract(self.tape, other, self)

    def __mul__(self, other: Any) -> Any:
        a, b = self.number(), _number(other)
        if not isinstance(b, Symbol) and b in (0, 1):
            return a if b else 0
        corners = [x * y for x in (a.low, a.high) for y in (_low(b), _high(b))]
        return self.tape.node(operator.mul, _ordered(a, b), min(corners), max(corners))

    def __truediv__(self, other: Any) -> Any:
        return _divide(self.tape, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divide(self.tape, other, self)

    def __floordiv__(self, other: Any) -> Any:
        quotient = _divide(self.tape, self, other)
        return quotient if quotient is self else _rounded(np.floor, quotient)

    def __mod__(self, other: Any) -> Any:
        return self - (self // other) * other

    def __neg__(self) -> Any:
        return 0 - self

    def __abs__(self) -> Any:
        if self.low >= 0:
            return self
        return self.tape.node(operator.abs, (self,), 0, max(-self.low, self.high))

    def __lt__(self, other: Any) -> Any:
        return _compare(operator.lt, self, other, self.high < _low(other), self.low >= _high(other))

    def __ge__(self, other: Any) -> Any:
        return _compare(operator.ge, self, other, self.low >= _high(other), self.high < _low(other))

    def __gt__(self, other: Any) -> Any:
        return _compare(operator.gt, self, other, self.low > _high(other), self.high <= _low(other))

    def __le__(self, other: Any) -> Any:
        return _compare(operator.le, self, other, self.high <= _low(other), self.low > _high(other))

    def __eq__(self, other: Any) -> Any:
        never = self.high < _low(other) or self.low > _high(other)
        return _compare(operator.eq, self, other, self is other, never)

    def __ne__(self, other: Any) -> Any:
        never = self.high < _low(other) or self.low > _high(other)
        return _compare(operator.ne, self, other, never, self is other)

    def __and__(self, other: Any) -> Any:
        if not isinstance(other, Symbol):
            return self if other else False
        return self if other is self else self.tape.node(operator.and_, _ordered(self, other), 0, 1, True)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Symbol):
            return True if other else self
        return self if other is self else self.tape.node(operator.or_, _ordered(self, other), 0, 1, True)

    def __invert__(self) -> Any:
        return self.tape.node(operator.invert, (self,), 0, 1, True)

    __radd__, __rmul__, __rand__, __ror__ = __add__, __mul__, __and__, __or__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy functions of symbols: `np.minimum`, `np.maximum`, `np.ceil`, and operators with NumPy numbers."""
        handler = _UFUNCS.get(ufunc)
        if method != "__call__" or options or handler is None:
            return NotImplemented
        return handler(*(x.item() if isinstance(x, np.generic) else x for x in inputs))


def _is_bool(value: Any) -> bool:
    return value.is_bool if isinstance(value, Symbol) else isinstance(value, bool)


def _number(value: Any) -> Any:
    return value.number() if isinstance(value, Symbol) else value


def _low(value: Any) -> float:
    return value.low if isinstance(value, Symbol) else value


def _high(value: Any) -> float:
    return value.high if isinstance(value, Symbol) else value


def _ordered(a: Any, b: Any) -> tuple[Any, Any]:
    """The operands of a commutative operation in one order, so that equal ones are found."""
    if isinstance(a, Symbol) and isinstance(b, Symbol):
        return (a, b) if a.index <= b.index else (b, a)
    return (a, b) if isinstance(a, Symbol) else (b, a)


def _subtract(tape: Tape, a: Any, b: Any) -> Any:
    a, b = _number(a), _number(b)
    if a is b or (not isinstance(b, Symbol) and b == 0):
        return 0 if a is b else a
    return tape.node(operator.sub, (a, b), _low(a) - _high(b), _high(a) - _low(b))


def _divide(tape: Tape, a: Any, b: Any) -> Any:
    a, b = _number(a), _number(b)
    if a is b or (not isinstance(b, Symbol) and b == 1):
        return 1 if a is b else a
    if _low(b) <= 0:
        return tape.node(operator.truediv, (a, b), -np.inf, np.inf)
    corners = [x / y for x in (_low(a), _high(a)) for y in (_low(b), _high(b))]
    return tape.node(operator.truediv, (a, b), min(corners), max(corners))


def _rounded(function: Operation, value: Any) -> Any:
    if not isinstance(value, Symbol):
        return float(function(value))
    return value.tape.node(function, (value,), float(function(value.low)), float(function(value.high)))


def _extreme(function: Operation, pick: Operation) -> Operation:
    def apply(a: Any, b: Any) -> Any:
        a, b = _number(a), _number(b)
        if a is b:
            return a
        low, high = pick(_low(a), _low(b)), pick(_high(a), _high(b))
        for one, other in ((a, b), (b, a)):
            if (_high(one) <= _low(other)) if pick is min else (_low(one) >= _high(other)):
                return one
        return (a if isinstance(a, Symbol) else b).tape.node(function, _ordered(a, b), low, high)

    return apply


def _compare(function: Operation, a: Symbol, b: Any, always: bool, never: bool) -> Any:
    if always or never:
        return bool(always)
    return a.tape.node(function, (a, b), 0, 1, True)


_UFUNCS: dict[np.ufunc, Operation] = {
    np.minimum: _extreme(np.minimum, min), np.maximum: _extreme(np.maximum, max),
    np.ceil: lambda a: _rounded(np.ceil, a), np.floor: lambda a: _rounded(np.floor, a),
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.true_divide: operator.truediv,
}  # fmt: skip


class Tape:
    """Operations in the order in which they were written down."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Operation | str, tuple[Any, ...]]] = []
        self.symbols: list[Symbol] = []
        self.known: dict[tuple[Any, ...], Symbol] = {}

    def input(self, name: str, low: float, high: float) -> Symbol:
        """A number that is given when the tape runs."""
        return self.node(name, (), low, high)

    def node(self, operation: Operation | str, args: tuple[Any, ...], low: float, high: float,
             is_bool: bool = False) -> Symbol:  # fmt: skip
        """The result of an operation, which is written down unless it has been before."""
        key = (operation, *((True, a.index) if isinstance(a, Symbol) else (False, a) for a in args))
        symbol = self.known.get(key)
        if symbol is None:
            symbol = self.known[key] = Symbol(self, len(self.nodes), low, high, is_bool)
            self.nodes.append((operation, args))
            self.symbols.append(symbol)
        return symbol

    def compile(self, results: Sequence[Any]) -> TapeProgram:
        """The program that computes some results: symbols, or numbers, which stay what they are."""
        return _compile(self, results)


@dataclass(frozen=True, eq=False)
class TapeProgram:
    """Instructions over registers. A register is written again as soon as nobody needs what it holds.

    inputs: name and register. start: the registers before the first instruction, with all constants.
    """

    inputs: tuple[tuple[str, int], ...]
    start: tuple[Any, ...]
    instructions: tuple[tuple[Operation, int, tuple[int, ...]], ...]
    results: tuple[int, ...]

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[Any]:
        """The results, arrays where they depend on an input."""
        registers = list(self.start)
        for name, register in self.inputs:
            registers[register] = inputs[name]
        for operation, target, args in self.instructions:
            if len(args) == 2:
                registers[target] = operation(registers[args[0]], registers[args[1]])
            elif len(args) == 1:
                registers[target] = operation(registers[args[0]])
            else:
                registers[target] = operation(registers[args[0]], registers[args[1]], registers[args[2]])
        return [registers[register] for register in self.results]


def _compile(tape: Tape, results: Sequence[Any]) -> TapeProgram:
    needed = _needed(tape, results)
    last = {index: position for position, index in enumerate(needed) for index in _sources(tape, index)}
    kept = {result.index for result in results if isinstance(result, Symbol)}
    start: list[Any] = []
    constants: dict[tuple[type, Scalar], int] = {}
    register: dict[int, int] = {}
    free: list[int] = []
    inputs: list[tuple[str, int]] = []
    instructions: list[tuple[Operation, int, tuple[int, ...]]] = []

    def place(value: Any) -> int:
        if isinstance(value, Symbol):
            return register[value.index]
        key = (type(value), value)
        if key not in constants:
            constants[key] = len(start)
            start.append(value)
        return constants[key]

    for position, index in enumerate(needed):
        operation, args = tape.nodes[index]
        places = tuple(place(arg) for arg in args)
        for source in set(_sources(tape, index)):
            if last[source] == position and source not in kept:
                free.append(register[source])
        if isinstance(operation, str) or not free:
            target = len(start)
            start.append(None)
        else:
            target = free.pop()
        register[index] = target
        if isinstance(operation, str):
            inputs.append((operation, target))
        else:
            instructions.append((operation, target, places))
    found = tuple(place(result) for result in results)  # may add constants
    return TapeProgram(tuple(inputs), tuple(start), tuple(instructions), found)


def _sources(tape: Tape, index: int) -> list[int]:
    return [arg.index for arg in tape.nodes[index][1] if isinstance(arg, Symbol)]


def _needed(tape: Tape, results: Sequence[Any]) -> list[int]:
    """The operations that the results depend on, in order."""
    found = {result.index for result in results if isinstance(result, Symbol)}
    work = list(found)
    while work:
        for source in _sources(tape, work.pop()):
            if source not in found:
                found.add(source)
                work.append(source)
    return sorted(found)
