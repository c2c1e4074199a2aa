"""An ONNX graph half translated: what the handlers of single operators see and add to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.graph import GraphBuilder


class Unsupported(Exception):
    """Raised by a handler: this use of an operator cannot be translated, and why."""


@dataclass(frozen=True)
class OnnxNode:
    """An ONNX node without the protocol buffer; optional inputs left out are empty names."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def input(self, index: int) -> str:
        """The name of an input, "" when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Translation:
    """A graph under construction, and what each ONNX name stands for: a constant, or a value of the graph."""

    def __init__(self, name: str, opset: int, names: frozenset[str]) -> None:
        """Start with nothing; `names` are all that the ONNX graph uses."""
        self.build = GraphBuilder(name, reserved=names)
        self.names = names
        self.opset = opset
        self.meaning: dict[str, np.ndarray | str] = {}

    def constant(self, name: str) -> np.ndarray | None:
        """The array an ONNX name stands for, None when it is computed from inputs."""
        meaning = self.meaning[name]
        return meaning if isinstance(meaning, np.ndarray) else None

    def integers(self, name: str, what: str) -> tuple[int, ...]:
        """A constant list of integers.  Raises: Unsupported: it is computed from inputs."""
        array = self.constant(name)
        if array is None:
            raise Unsupported(f"{what} is computed from the inputs")
        return tuple(int(value) for value in array.reshape(-1))

    def value(self, name: str) -> str:
        """The graph value of an ONNX name; a constant becomes a weight when it is first used so."""
        meaning = self.meaning[name]
        if isinstance(meaning, str):
            return meaning
        return name if name in self.build.types else self._weight(name, meaning)

    def derived(self, name: str, array: np.ndarray) -> str:
        """Add a weight computed from constants, named so or, if that is taken, with a number."""
        taken = name in self.build.types or name in self.names
        return self._weight(self.build.fresh(name) if taken else name, array)

    def _weight(self, name: str, array: np.ndarray) -> str:
        if array.dtype != np.float32:
            raise Unsupported(f"constant {name!r} is {array.dtype.name}; values must be float32")
        return self.build.weight(name, np.asarray(array, order="C"))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an ONNX value."""
        meaning = self.meaning[name]
        return meaning.shape if isinstance(meaning, np.ndarray) else self.build.types[meaning].shape
