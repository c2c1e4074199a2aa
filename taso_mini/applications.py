"""A graph node read as a term operator, and a term operator as the graph node that computes it.

Paper: TASO §5. `graph_terms` has the table of both.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Reshaped:
    """A value seen under another shape with as many elements: the per-channel weight (1, C, 1, 1) as a vector (C,)."""

    value: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.value} as {self.shape}"


Argument = str | Reshaped


@dataclass(frozen=True)
class Application:
    """One output of a node, read as a term operator applied to values.

    same: the padding is what a term calls `same`.  kind: a number for everything but the arguments.
    """

    operator: str
    params: Mapping[str, Hashable]
    args: tuple[Argument, ...]
    same: bool = False
    kind: int = field(init=False, compare=False)
    _kinds: ClassVar[dict[tuple[Hashable, ...], int]] = {}

    def __post_init__(self) -> None:
        """Number the kind."""
        key = (self.operator, self.same, *sorted(self.params.items()))
        object.__setattr__(self, "kind", self._kinds.setdefault(key, len(self._kinds)))

    def __str__(self) -> str:
        params = [f"{name}={value}" for name, value in sorted(self.params.items())]
        return f"{self.operator}({', '.join([*map(str, self.args), *params])})"


@dataclass(frozen=True)
class Recipe:
    """The graph node that computes a term operator; `output` is which of its outputs."""

    operator: str
    inputs: tuple[Argument, ...]
    params: Mapping[str, Hashable]
    output: int = 0
