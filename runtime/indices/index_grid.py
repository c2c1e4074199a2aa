"""Index expressions evaluated at every point of their variables' ranges, as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.expr import Binary, Cast, Const, Expr, Select, Var
from runtime.expr_tree import free_variables, walk

GRID_LIMIT = 1 << 17


@dataclass(frozen=True)
class Grid:
    """All points of some variables: one axis per variable."""

    extents: Mapping[str, int]
    axes: Mapping[str, np.ndarray]

    @staticmethod
    def over(extents: Mapping[str, int], exprs: Sequence[Expr], limit: int = GRID_LIMIT) -> Grid | None:
        """The grid of the variables in `exprs`; None when it has too many points or the values come from memory."""
        names = sorted(set().union(*(free_variables(expr) for expr in exprs)))
        if any(name not in extents for name in names) or math.prod(extents[name] for name in names) > limit:
            return None
        if any(not isinstance(node, (Var, Const, Binary, Select, Cast)) for expr in exprs for node in walk(expr)):
            return None
        used = {name: extents[name] for name in names}
        ranges = [np.arange(extent, dtype=np.int64) for extent in used.values()]
        return Grid(used, dict(zip(used, np.meshgrid(*ranges, indexing="ij"))))

    @property
    def shape(self) -> tuple[int, ...]:
        """One extent per variable."""
        return tuple(self.extents.values())

    def values(self, expr: Expr) -> np.ndarray:
        """The expression at every point."""
        return np.broadcast_to(np.asarray(self._value(expr)), self.shape)

    def holds(self, conditions: Sequence[Expr]) -> np.ndarray:
        """Where all the conditions hold."""
        mask = np.ones(self.shape, dtype=bool)
        for condition in conditions:
            mask &= self.values(condition)
        return mask

    def collides(self, place: Expr, var: Var, around: Sequence[Var], guards: Sequence[Expr]) -> bool:
        """Whether two values of `var` reach one place while the variables in `around` stay the same."""
        mask = self.holds(guards)
        key = self.values(place)[mask]
        for outer in around:
            if outer.name in self.extents:
                key = key * self.extents[outer.name] + self.values(outer)[mask]
        owner = self.values(var)[mask]
        pairs = np.unique(np.stack([key, owner]), axis=1)
        return np.unique(pairs[0]).size < pairs.shape[1]

    def _value(self, expr: Expr) -> np.ndarray | int | bool | float:
        if isinstance(expr, Var):
            return self.axes[expr.name]
        if isinstance(expr, Const):
            return expr.value
        if isinstance(expr, Cast):
            return np.asarray(self._value(expr.value)).astype(expr.dtype)
        if isinstance(expr, Select):
            return np.where(self._value(expr.condition), self._value(expr.then), self._value(expr.otherwise))
        if isinstance(expr, Binary):
            with np.errstate(all="ignore"):
                return _OPERATORS[expr.op](self._value(expr.a), self._value(expr.b))
        raise TypeError(f"`{expr}` has no value on a grid")


_OPERATORS: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.mod,
    "min": np.minimum,
    "max": np.maximum,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
}
