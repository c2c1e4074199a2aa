"""What a search is given and what it gives back: tasks, policies, results, and who measures and keeps records.

Paper: Ansor §3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ansor_mini.ablations import FULL, Strategy
from ansor_mini.annotation import TilePolicy, register_tiles
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.population_mutations import POPULATION_MUTATIONS, PopulationMutation
from ansor_mini.records import Record
from ansor_mini.sketch import Program
from ansor_mini.sketch_rules import Rule
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureResult

OnResult = Callable[[int, MeasureResult], None]
Measurer = Callable[[Sequence[LoopNest], OnResult], object]


class RecordSink(Protocol):
    """Where finished records go, for example a `RecordFile`."""

    def append(self, record: Record) -> None:
        """Keep one record."""
        ...


@dataclass(frozen=True)
class Task:
    """A computation to tune: its name in records, how often a network runs it, the cores it may use.

    constants: inputs that are weights; they are laid out once, when a program is compiled.
    """

    key: str
    dag: ComputeDAG
    weight: int = 1
    threads: int = 1
    constants: Collection[str] = ()


@dataclass(frozen=True)
class SearchOptions:
    """The policies of a search; each may be replaced.

    rules: derive the sketches; None for the target's, which are the paper's and those beyond it: for a CPU
    `cpu_rules.extended`, with the paper's in `sketch_rules.CPU_RULES`; for a GPU `EXTENDED_GPU_RULES` and `GPU_RULES`
    in `gpu_rules.rules`. structure: levels of the tiled loops, as in `sketch.derive`. tiles, mutations, evolution: how
    programs are drawn, changed and evolved.
    strategy: how programs are proposed, and in which part of the space (`ablations.STRATEGIES`). round_size: programs
    measured between two proposals. local: share of a round spent on mutations of the best measured programs, which
    matters while the cost model has seen little. screen: for each program that is measured, how many are lowered and
    looked at by the target's own estimate, where it has one; 1 measures what the cost model proposes, as the paper.
    """

    rules: Sequence[Rule] | None = None
    structure: str = "SSRSRS"
    strategy: Strategy = FULL
    tiles: TilePolicy = register_tiles
    mutations: Sequence[tuple[str, float, PopulationMutation]] = POPULATION_MUTATIONS
    evolution: EvolutionOptions = field(default_factory=EvolutionOptions)
    round_size: int = 16
    local: float = 0.4
    screen: int = 1


@dataclass(frozen=True)
class TuneResult:
    """What tuning one task found.

    best: the fastest correct program, None when there is none. curve: (trials, best seconds) at each improvement.
    failures: measured programs by kind. rejections: programs dropped before measuring, by reason.
    stopped: "trials", "budget", "exhausted" or "interrupted".
    """

    task: Task
    best: Program | None
    best_seconds: float
    trials: int
    curve: tuple[tuple[int, float], ...]
    failures: Counter[str]
    rejections: Counter[str]
    stopped: str

    @property
    def gflops(self) -> float:
        """Best throughput in 10⁹ operations per second."""
        return self.task.dag.flops / self.best_seconds / 1e9
