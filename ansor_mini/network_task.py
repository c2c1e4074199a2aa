"""One distinct subgraph of the networks being tuned: its test case, its constants, its search.

Paper: Ansor §3
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.partition import Subgraph, task_weights
from ansor_mini.task_tuner import TaskTuner, TuneResult
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase

Part = tuple[Sequence[Subgraph], Collection[str]]


@dataclass
class NetworkTask:
    """One subgraph being tuned."""

    part: Subgraph
    tuner: TaskTuner

    @property
    def weight(self) -> int:
        """How often the networks run it, all together."""
        return self.tuner.task.weight

    @property
    def label(self) -> str:
        """The fused operators and the shape of the result, for people."""
        operators = "+".join(node.operator for node in self.part.nodes)
        shape = "x".join(map(str, self.part.fragment.types[self.part.fragment.outputs[0]].shape))
        return f"{operators} {shape}"

    @property
    def default_seconds(self) -> float:
        """Latency under the default schedule, which is measured first."""
        return next(iter(self.tuner.measured.values()), math.inf)

    def result(self, stopped: str) -> TuneResult:
        """What was found so far."""
        return self.tuner.result(stopped)

    def best_nest(self) -> LoopNest | None:
        """The fastest correct program, lowered; None when there is none."""
        return self.tuner.best.lower() if self.tuner.best else None

    def best_after_rounds(self, first: int, size: int) -> list[tuple[int, float]]:
        """(programs, best latency) after a round of `first` programs and after every further `size`, out of records.

        The programs of a last, broken round count as a round.
        """
        best = np.minimum.accumulate(list(self.tuner.measured.values())).tolist()
        ends = sorted({min(first, len(best)), *range(first + size, len(best), size), len(best)} - {0})
        return [(end, best[end - 1]) for end in ends]


def case_of(part: Subgraph, dag: ComputeDAG, rng: np.random.Generator) -> MeasureCase:
    """Inputs for a subgraph, and what its graph operators' NumPy references make of them."""
    low, high = (-3, 4) if dag.exact else (1, 4)
    feeds = {
        name: rng.integers(low, high, kind.shape).astype(kind.dtype) for name, kind in part.fragment.inputs.items()
    }
    wanted = part.fragment.evaluate(feeds)
    return MeasureCase(list(feeds.values()), [wanted[name] for name in part.fragment.outputs], exact=dag.exact)


def constant_inputs(networks: Sequence[Part]) -> dict[str, frozenset[str]]:
    """For each subgraph key, the fragment inputs that are weights wherever the subgraph occurs.

    networks: the subgraphs of each network and the names of its weights.
    """
    found: dict[str, frozenset[str]] = {}
    for parts, weights in networks:
        for part in parts:
            own = frozenset(
                name for name, value in zip(part.fragment.inputs, part.inputs, strict=True) if value in weights
            )
            found[part.key] = found.get(part.key, own) & own
    return found


def distinct_parts(networks: Sequence[Sequence[Subgraph]]) -> tuple[list[Subgraph], np.ndarray]:
    """The distinct compute subgraphs in order of appearance, and how often each network runs each of them.

    Shapes: int64 [networks, subgraphs].
    """
    counts = [task_weights(parts) for parts in networks]
    distinct: dict[str, Subgraph] = {}
    for parts, count in zip(networks, counts, strict=True):
        for part in parts:
            if part.key in count:
                distinct.setdefault(part.key, part)
    weights = [[count.get(key, 0) for key in distinct] for count in counts]
    return list(distinct.values()), np.array(weights, dtype=np.int64).reshape(len(networks), len(distinct))
