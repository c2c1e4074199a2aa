"""What a node costs: estimated from its arithmetic and traffic, or measured once per configuration and kept.

Paper: TASO §5. The cost of a graph is the sum of its nodes' seconds; nodes that depend on weights alone are computed
before the first inference and cost nothing. A `CostSource` prices one node from its operator, parameters and input
types. A search asks it twice: for an `estimate` of every candidate, and for the `cost` of the graphs it goes on with.

Every operator is a kernel of its own here, as in the paper. What a back end does better is a policy on top: `Shares`
makes elementwise operators cheap where the kernel before them computes them, `Views` makes a split free where its
pieces are read in place. Layouts are not the business of a source: it prices a node as it stands, and `layouts` asks
for the price of every implementation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runtime.graph import Node, TensorType
from runtime.graph_operators.elementwise import ELEMENTWISE
from runtime.layout import is_view
from runtime.operators import find_operator, infer

Types = Sequence[TensorType]
Measure = Callable[[Node, Types], float | None]

ELEMENTWISE_NAMES = frozenset(operator.name for operator in ELEMENTWISE)


class CostSource(Protocol):
    """Prices nodes, in seconds."""

    def estimate(self, node: Node, types: Types) -> float:
        """Return a price at once; `types` are those of the node's inputs."""

    def cost(self, node: Node, types: Types) -> float:
        """Return the exact price, however long it takes to find out."""


@dataclass(frozen=True)
class FlopCost:
    """Seconds = operations / speed + bytes read and written / bandwidth + a start; a reshape is free.

    The defaults are one core of a current server processor.

    >>> x, w = TensorType((1, 64, 56, 56)), TensorType((64, 64, 1, 1))
    >>> round(FlopCost().cost(Node("conv", ("x", "w"), ("y",)), (x, w)) * 1e6)  # microseconds
    339
    >>> round(FlopCost().cost(Node("relu", ("x",), ("y",)), (x,)) * 1e6)
    83
    """

    flops_per_second: float = 1e11
    bytes_per_second: float = 2e10
    start_seconds: float = 1e-6

    def cost(self, node: Node, types: Types) -> float:
        """Return the price by the formula above."""
        if node.operator == "reshape":
            return 0.0
        params, outputs = infer(node.operator, tuple(types), node.params)
        flops = find_operator(node.operator).flops(types, outputs, params)
        moved = sum(t.nbytes for t in (*types, *outputs))
        return flops / self.flops_per_second + moved / self.bytes_per_second + self.start_seconds

    def estimate(self, node: Node, types: Types) -> float:
        """Return the same."""
        return self.cost(node, types)


@dataclass(frozen=True)
class Shares:
    """The prices of another source, times a share for some operators.

    >>> fused = Shares(FlopCost(), {"split": 0.0, **dict.fromkeys(ELEMENTWISE_NAMES, 0.1)})
    >>> round(fused.cost(Node("relu", ("x",), ("y",)), (TensorType((1, 64, 56, 56)),)) * 1e6)
    8
    """

    source: CostSource
    shares: Mapping[str, float]

    def cost(self, node: Node, types: Types) -> float:
        """Return the share of the source's exact price."""
        share = self.shares.get(node.operator, 1.0)
        return share and share * self.source.cost(node, types)

    def estimate(self, node: Node, types: Types) -> float:
        """Return the share of the source's estimate."""
        share = self.shares.get(node.operator, 1.0)
        return share and share * self.source.estimate(node, types)


@dataclass(frozen=True)
class Views:
    """The prices of another source, but nothing for what only gives new names to memory (`runtime.layout.is_view`).

    >>> costs = Views(FlopCost())
    >>> split = Node("split", ("x",), ("y", "z"), {"axis": 1, "sizes": (32, 32)})
    >>> costs.cost(split, (TensorType((1, 64, 56, 56)),)), costs.cost(split, (TensorType((2, 64, 56, 56)),)) > 0
    (0.0, True)
    """

    source: CostSource

    def cost(self, node: Node, types: Types) -> float:
        """Return nothing for a view, else the source's exact price."""
        return 0.0 if is_view(node, types) else self.source.cost(node, types)

    def estimate(self, node: Node, types: Types) -> float:
        """Return nothing for a view, else the source's estimate."""
        return 0.0 if is_view(node, types) else self.source.estimate(node, types)


@dataclass
class MeasuredCost:
    """Seconds as measured on this machine, each configuration once; kept in a file, one JSON object per line.

    An elementwise operator on equal shapes is measured on rows of as many elements, whatever the shape and its order.

    Args:
        measure: runs one node on inputs of the given types; None when it cannot, and the estimate stands.
        path: the file; None keeps measurements in memory only.
        machine: the line that names the machine; lines of other machines are left alone.
        estimates: prices what is not measured yet, corrected by what measuring that operator has shown so far; what it
            gives for nothing is never measured.
        fresh: measure anew what the file has; the new lines count from then on.
    """

    measure: Measure
    path: Path | None = None
    machine: str = ""
    estimates: CostSource = field(default_factory=FlopCost)
    fresh: bool = False
    measured: int = 0
    failed: int = 0
    _known: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)  # operator -> seconds measured and estimated

    def __post_init__(self) -> None:
        """Read what was measured before, of several prices the last; a torn last line is skipped."""
        if self.path is not None and self.path.exists() and not self.fresh:
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["machine"] == self.machine:
                        self._known[entry["node"]] = float(entry["seconds"])
                except (ValueError, KeyError, TypeError):
                    continue

    def estimate(self, node: Node, types: Types) -> float:
        """Return the measured seconds where there are any, else the corrected estimate."""
        types = flattened(node, types)
        known = self._known.get(configuration(node, types))
        if known is not None:
            return known
        measured, estimated = self._seen.get(node.operator, (1.0, 1.0))
        return self.estimates.estimate(node, types) * measured / estimated

    def cost(self, node: Node, types: Types) -> float:
        """Return the measured seconds, measuring when this configuration has not been seen."""
        types = flattened(node, types)
        estimate, key = self.estimates.estimate(node, types), configuration(node, types)
        if estimate == 0 or key in self._known:
            return self._known.get(key, estimate)
        seconds = self.measure(node, types)
        if seconds is None:
            self.failed += 1
            self._known[key] = self.estimate(node, types)
            return self._known[key]
        self.measured += 1
        self._known[key] = seconds
        totals = self._seen.get(node.operator, (0.0, 0.0))
        self._seen[node.operator] = (totals[0] + seconds, totals[1] + estimate)
        self._append({"machine": self.machine, "node": key, "seconds": seconds})
        return seconds

    def _append(self, entry: dict[str, object]) -> None:
        """Write one line, after ending a line that a crash has torn."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(0)
            torn = not file.read().endswith(b"\n") and file.tell() > 0
            file.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")


def flattened(node: Node, types: Types) -> Types:
    """Return the types that a node is measured on: rows of elements where it does not look at shapes.

    >>> print(*flattened(Node("relu", ("x",), ("y",)), (TensorType((1, 3, 8, 8)),)))
    float32[192]
    """
    if node.operator not in ELEMENTWISE_NAMES or len({t.shape for t in types}) > 1:
        return types
    return tuple(TensorType((t.size,), t.dtype) for t in types)


def configuration(node: Node, types: Types) -> str:
    """Return the text that names what is measured: operator, input types, parameters.

    >>> x, w = TensorType((1, 3, 8, 8)), TensorType((4, 3, 3, 3))
    >>> configuration(Node("conv", ("x", "w"), ("y",), {"strides": (2, 2)}), (x, w))
    'conv(float32[1, 3, 8, 8], float32[4, 3, 3, 3], strides=(2, 2))'
    """
    params = [f"{name}={value!r}" for name, value in node.params.items()]
    return f"{node.operator}({', '.join([*map(str, types), *params])})"
