"""Tensor types, parameters and nodes: the small values that computation graphs are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from runtime.expr import DTYPES, ITEM_SIZE, NARROW_FLOATS

GRAPH_DTYPES = tuple(dtype for dtype in DTYPES if dtype not in NARROW_FLOATS)

ParamValue = Union[bool, int, float, str, tuple["ParamValue", ...]]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type of a value.

    >>> print(TensorType((1, 3, 224, 224), "float32"))
    float32[1, 3, 224, 224]
    """

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in GRAPH_DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(GRAPH_DTYPES)}, got {self.dtype!r}")
        if any(isinstance(extent, bool) or not isinstance(extent, int) or extent < 1 for extent in self.shape):
            raise ValueError(f"shape: expected positive integers, got {self.shape!r}")

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * ITEM_SIZE[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def type_of(array: np.ndarray) -> TensorType:
    """The type of a NumPy array."""
    return TensorType(tuple(int(extent) for extent in array.shape), array.dtype.name)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of an array that cannot be written through."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def same_array(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have one dtype, one shape and equal elements, NaN being equal to itself."""
    return a is b or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def freeze_param(value: Any) -> ParamValue:
    """Turn lists into tuples and NumPy scalars into Python's.

    Raises: TypeError: the value is not a number, a string or a sequence of them.

    >>> freeze_param([np.int64(1), [2.5, True]])
    (1, (2.5, True))
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return tuple(freeze_param(item) for item in value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a parameter is a number, a string or a tuple of them, got {type(value).__name__}: {value!r}")


class Params(Mapping[str, Any]):
    """The parameters of a node: a frozen, hashable mapping, kept in alphabetical order.

    >>> Params(strides=[2, 2], groups=1)
    Params(groups=1, strides=(2, 2))
    """

    __slots__ = ("_items", "_hash")

    def __init__(self, **items: Any) -> None:
        self._items: dict[str, Any] = {name: freeze_param(items[name]) for name in sorted(items)}
        self._hash = hash(tuple(self._items.items()))

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Params):
            return self._hash == other._hash and self._items == other._items
        return isinstance(other, Mapping) and self._items == dict(other)

    def __repr__(self) -> str:
        return f"Params({', '.join(f'{name}={value!r}' for name, value in self._items.items())})"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator applied to named values, giving named values.

    `node["strides"]` is short for `node.params["strides"]`. Parameters left out are filled with the operator's
    defaults when the node enters a Graph.

    >>> Node("relu", ("x",), ("y",)).outputs
    ('y',)
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Params = field(default_factory=Params)

    def __post_init__(self) -> None:
        if not isinstance(self.params, Params):
            object.__setattr__(self, "params", Params(**self.params))

    def __getitem__(self, name: str) -> Any:
        return self.params[name]
