"""What an entry of the operator table holds, and the checks that entries share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.node import Params, TensorType

Types = Sequence[TensorType]
Arrays = Sequence[np.ndarray]
REQUIRED = "<required>"


@dataclass(frozen=True)
class Operator:
    """One graph operator: its signature, shape rule, meaning and cost.

    name: as written in graphs.                doc: one sentence with the shapes.
    arity: least and most number of inputs.    params: name -> default, or REQUIRED.
    infer: input types -> output types; raises ValueError when they do not fit.
    evaluate: input arrays -> output arrays, the NumPy reference.
    flops: (input types, output types, params) -> number of scalar operations, a multiply-add counting 2.
    """

    name: str
    doc: str
    arity: tuple[int, int]
    params: Mapping[str, Any]
    infer: Callable[[Types, Params], tuple[TensorType, ...]]
    evaluate: Callable[[Arrays, Params], tuple[np.ndarray, ...]]
    flops: Callable[[Types, Types, Params], int]

    def complete(self, params: Mapping[str, Any]) -> Params:
        """Fill in default parameters.

        Integers given for a float parameter become floats, so that equal nodes compare and print alike.
        Raises: ValueError: a parameter that is unknown or of the wrong kind, or a required one left out.
        """
        unknown = [name for name in params if name not in self.params]
        if unknown:
            raise ValueError(f"{self.name}: unknown parameter {unknown[0]!r}; it has {sorted(self.params) or 'none'}")
        missing = [name for name, default in self.params.items() if default is REQUIRED and name not in params]
        if missing:
            raise ValueError(f"{self.name}: parameter {missing[0]!r} is required")
        full = Params(**{**self.params, **params})
        converted = {name: self._convert(name, value) for name, value in full.items()}
        return Params(**converted)

    def _convert(self, name: str, value: Any) -> Any:
        """Check one parameter against the kind of its default; required ones are integers or tuples of integers."""
        default = self.params[name]
        if isinstance(default, bool):
            fits = value in (0, 1)
            value = bool(value)
        elif isinstance(default, float):
            fits = isinstance(value, (int, float))
            value = float(value) if fits else value
        elif isinstance(default, str) and default is not REQUIRED:
            fits = isinstance(value, str)
        elif isinstance(default, int):
            fits = is_int(value)
        elif isinstance(default, tuple):
            fits = isinstance(value, tuple) and all(map(is_int, value))
        else:
            fits = is_int(value) or (isinstance(value, tuple) and all(map(is_int, value)))
        if not fits:
            raise ValueError(f"{self.name}: parameter {name} does not accept {value!r} (default: {default!r})")
        return value


def is_int(value: object) -> bool:
    """Whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def expect(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


def same_dtype(types: Types) -> str:
    """The one dtype of all types.  Raises: ValueError: they differ."""
    dtypes = sorted({t.dtype for t in types})
    expect(len(dtypes) == 1, f"inputs need one dtype, got {' and '.join(dtypes)}")
    return dtypes[0]


def expect_tuple(name: str, value: Any, length: int, least: int) -> None:
    """Check that a parameter is `length` integers, each at least `least`."""
    fits = isinstance(value, tuple) and len(value) == length and all(is_int(v) and v >= least for v in value)
    expect(fits, f"{name}: expected {length} integers of at least {least}, got {value!r}")


def normal_axis(axis: Any, rank: int) -> int:
    """An axis counted from the front.

    >>> normal_axis(-1, 4)
    3
    """
    expect(is_int(axis) and -rank <= axis < rank, f"axis: expected an integer in [{-rank}, {rank}), got {axis!r}")
    return axis % rank


def normal_axes(axes: Any, rank: int) -> tuple[int, ...]:
    """Distinct axes counted from the front, ascending."""
    expect(isinstance(axes, tuple) and len(axes) > 0, f"axes: expected a non-empty tuple, got {axes!r}")
    normal = sorted(normal_axis(axis, rank) for axis in axes)
    expect(len(set(normal)) == len(normal), f"axes: {axes} names an axis twice")
    return tuple(normal)


def output_size(inputs: Types, outputs: Types, params: Params) -> int:
    """One operation per output element."""
    return sum(t.size for t in outputs)


def no_flops(inputs: Types, outputs: Types, params: Params) -> int:
    """Moving data computes nothing."""
    return 0


def product(extents: Sequence[int]) -> int:
    """The product of integers, 1 for none."""
    return math.prod(extents)
