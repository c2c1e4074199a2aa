"""Numbers that are not known yet: arithmetic on them is written down instead of done.

A `Symbol` stands for a number of each program. Python's operators and a few NumPy functions on symbols give symbols,
and write down the operation on their `Tape` (see `feature_tape`). Every symbol knows an interval that it lies in, which
decides comparisons early and drops terms: code that runs over symbols may branch on nothing, yet costs only what its
structure leaves open.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ansor_mini.feature_tape import Tape

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

    __slots__ = ("tape", "index", "low", "high", "is_bool", "parts", "negation")

    def __init__(self, tape: Tape, index: int, low: float, high: float, is_bool: bool) -> None:
        self.tape, self.index, self.low, self.high, self.is_bool = tape, index, low, high, is_bool
        self.parts: tuple[Symbol, ...] = ()  # of a conjunction
        self.negation: Symbol | None = None  # once it has been asked for

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
        # where one side is 0 or 1, a product is faster than a choice
        for mask, one, other in ((self, then, otherwise), (~self, otherwise, then)):
            if not isinstance(other, Symbol) and other in (0, 1) and _is_finite(one):
                return mask.number() * (one - other) + other
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
        if _implies(self, other) or _implies(other, self):
            return self if _implies(self, other) else other
        if _implies(self, other.negation) or _implies(other, self.negation):
            return False
        both = self.tape.node(operator.and_, _ordered(self, other), 0, 1, True)
        both.parts = (self, other)
        return both

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Symbol):
            return True if other else self
        if _implies(self, other) or _implies(other, self):
            return other if _implies(self, other) else self
        if self.negation is other:
            return True
        return self.tape.node(operator.or_, _ordered(self, other), 0, 1, True)

    def __invert__(self) -> Any:
        if self.negation is None:
            self.negation = self.tape.node(operator.invert, (self,), 0, 1, True)
            self.negation.negation = self
        return self.negation

    __radd__, __rmul__, __rand__, __ror__ = __add__, __mul__, __and__, __or__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy functions of symbols: `np.minimum`, `np.maximum`, `np.ceil`, and operators with NumPy numbers."""
        handler = _UFUNCS.get(ufunc)
        if method != "__call__" or options or handler is None:
            return NotImplemented
        return handler(*(x.item() if isinstance(x, np.generic) else x for x in inputs))


def _implies(one: Symbol, other: Symbol | None) -> bool:
    """Whether a truth value that is a part of another, or the same, is the other."""
    return one is other or any(_implies(part, other) for part in one.parts)


def _is_bool(value: Any) -> bool:
    return value.is_bool if isinstance(value, Symbol) else isinstance(value, bool)


def _number(value: Any) -> Any:
    return value.number() if isinstance(value, Symbol) else value


def _is_finite(value: Any) -> bool:
    return not (math.isinf(_low(value)) or math.isinf(_high(value)))


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
    np.less: operator.lt, np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
    np.equal: operator.eq, np.not_equal: operator.ne, np.bitwise_and: operator.and_, np.bitwise_or: operator.or_,
}  # fmt: skip
