"""What a kernel will take once it is tuned, foretold by a cost model that has seen other kernels being tuned.

The model of Ansor §5.2 tells which of two programs of one task is faster: its labels are relative to the best program
of the same task. Whether a graph with other kernels is worth having is a question between tasks. So here programs are
labelled by how they compare with an estimate that looks at the operations and bytes of their task alone,
log2(bound / seconds): a number that programs of different tasks share. The model is the same: boosted trees over the
features of statements, a program's score the sum over its statements, fast programs weighing more.

To foretell a kernel that nobody has tuned, draw random programs of its sketches, score them, and take the mean of the
best quarter: single best ones owe their place to the errors of the trees as often as to their loops. What a search
gains over that is one factor, the median over the tasks that are known. Scores are relative to the median task, so that
with little to go by the trees, which are small and cautious, say what the bound says.

On 58 tasks with 2,635 programs (the forty operators and SqueezeNet's kernels on two threads), each task foretold by a
model that has not seen it, the median error is a factor of 1.18, and 1.14 for SqueezeNet's eighteen alone.

>>> from ansor_mini.workloads import WORKLOADS
>>> from runtime.machine import detect
>>> dag = WORKLOADS["matmul"].dag(128, 128, 128)
>>> round(bound(dag) * 1e6, 1)  # microseconds: 4.2 million operations and 197 kB
52.8
>>> LatencyModel(detect()).ready
False
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ansor_mini.ablations import Search
from ansor_mini.annotation import register_tiles
from ansor_mini.boosted_trees import GradientBoostedTrees
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cost_model import TrivialModel
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.program_features import featurise
from ansor_mini.sketch import Program, derive
from runtime.machine import Machine
from taso_mini.costs import FlopCost

TASKS, PROGRAMS = 6, 64  # known before anything is foretold
SAMPLE = 24  # random programs of a kernel that is foretold
LEAST_WEIGHT = 0.1  # of programs far slower than the best of their task
BEST = 4  # the best so manyth of the random programs stand for the tuned one
TREES: dict[str, Any] = {"trees": 50, "depth": 3, "shrinkage": 0.05, "l2": 20.0}


def bound(dag: ComputeDAG) -> float:
    """Seconds for the operations and bytes of a computation at the rates of `FlopCost`; a unit, not a limit."""
    ends = {tensor.name: tensor for tensor in (*dag.inputs, *dag.outputs)}.values()
    moved = sum(4 * math.prod(tensor.shape) for tensor in ends)
    rates = FlopCost()
    return dag.flops / rates.flops_per_second + moved / rates.bytes_per_second + rates.start_seconds


@dataclass(frozen=True, eq=False)
class Known:
    """The measured programs of one task: features of each, seconds of each, infinite for a failure."""

    dag: ComputeDAG
    constants: frozenset[str]
    rows: tuple[np.ndarray, ...]
    seconds: np.ndarray

    @property
    def best(self) -> float:
        """The least seconds."""
        return float(self.seconds.min())


class LatencyModel:
    """Foretells the seconds of tuned kernels.

    Attributes: known: by task. factor: by which the best score of random programs is corrected. error: the median of
    |log(foretold / tuned)| over the known tasks, each foretold by a model that has not seen it; NaN before `check`.
    """

    def __init__(self, machine: Machine, threads: int = 1, *, seed: int = 0, sample: int = SAMPLE) -> None:
        """A model that knows nothing yet."""
        self.machine, self.threads, self.seed, self.sample = machine, threads, seed, sample
        self.known: dict[str, Known] = {}
        self.trees: GradientBoostedTrees | None = None
        self.factor, self.error = 1.0, math.nan
        self._drawn: dict[str, tuple[np.ndarray, ...]] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a model: enough programs of enough tasks have been seen."""
        return self.trees is not None

    def learn(self, tasks: Mapping[ComputeDAG, tuple[Collection[str], Mapping[Program, float]]]) -> None:
        """Take in tasks, each its constants and its measured programs, and fit; a task known before is replaced."""
        for dag, (constants, measured) in tasks.items():
            key = dag.key()
            old = self.known.get(key)
            if old is not None and len(old.rows) >= len(measured):
                continue
            rows = featurise(list(measured), self.machine)
            kept = [(row, s) for row, s in zip(rows, measured.values(), strict=True) if row is not None]
            if any(math.isfinite(seconds) for _, seconds in kept):
                seconds = np.array([seconds for _, seconds in kept])
                self.known[key] = Known(dag, frozenset(constants), tuple(row for row, _ in kept), seconds)
        if len(self.known) >= TASKS and sum(len(task.rows) for task in self.known.values()) >= PROGRAMS:
            self.trees = self._fit(list(self.known.values()))
            self.factor = self._factor(self.trees, list(self.known.values()))

    def seconds(self, dag: ComputeDAG, constants: Collection[str] = ()) -> float | None:
        """Seconds of the kernel when tuned; None without a model, or when none of its programs can be lowered."""
        if self.trees is None:
            return None
        raw = self._raw(self.trees, dag, constants)
        return None if raw is None else raw * self.factor

    def check(self, folds: int = 4) -> float:
        """Foretell every known task by a model of the other folds; keeps and returns the median error."""
        tasks = list(self.known.values())
        errors = []
        for fold in range(folds):
            others = [task for i, task in enumerate(tasks) if i % folds != fold]
            if not others:
                continue
            trees = self._fit(others)
            factor = self._factor(trees, others)
            for task in tasks[fold::folds]:
                raw = self._raw(trees, task.dag, task.constants)
                if raw is not None:
                    errors.append(abs(math.log(raw * factor / task.best)))
        self.error = float(np.median(errors)) if errors else math.nan
        return self.error

    def _fit(self, tasks: list[Known]) -> GradientBoostedTrees:
        """Trees for the log2 of bound over seconds."""
        rows = [row for task in tasks for row in task.rows]
        labels, weights = [], []
        middle = float(np.median([math.log2(bound(task.dag) / task.best) for task in tasks]))
        for task in tasks:
            # A failure is as slow as the slowest program that works.
            worst = task.seconds[np.isfinite(task.seconds)].max()
            seconds = np.where(np.isfinite(task.seconds), task.seconds, worst)
            labels.append(np.log2(bound(task.dag) / seconds) - middle)
            weights.append(np.maximum(task.best / seconds, LEAST_WEIGHT) / len(seconds))
        program = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        trees, shares = GradientBoostedTrees(rng=np.random.default_rng(self.seed), **TREES), np.concatenate(weights)
        return trees.fit(np.concatenate(rows), np.concatenate(labels), program=program, weights=shares / shares.mean())

    def _factor(self, trees: GradientBoostedTrees, tasks: list[Known]) -> float:
        """Tuned over foretold, the median of some tasks."""
        pairs = [(task.best, self._raw(trees, task.dag, task.constants)) for task in tasks]
        ratios = [math.log(best / raw) for best, raw in pairs if raw is not None]
        return math.exp(float(np.median(ratios))) if ratios else 1.0

    def _raw(self, trees: GradientBoostedTrees, dag: ComputeDAG, constants: Collection[str]) -> float | None:
        """The seconds that the trees give the best of some random programs, but for the factor."""
        rows = self._random_rows(dag, constants)
        if not rows:
            return None
        scores = trees.predict(np.concatenate(rows))
        starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
        best = np.sort(np.add.reduceat(scores, starts))[-max(1, len(starts) // BEST) :]
        return bound(dag) * 2.0 ** -float(best.mean())

    def _random_rows(self, dag: ComputeDAG, constants: Collection[str]) -> tuple[np.ndarray, ...]:
        """Features of random programs, drawn once for each task."""
        key = dag.key()
        if key not in self._drawn:
            sketches = derive(dag, extended_rules(constants), self.machine, structure="SSRSRS")
            model = TrivialModel(self.machine, self.threads)
            search = Search(
                sketches, model, np.random.default_rng(self.seed), self.machine, threads=self.threads,
                tiles=register_tiles,
            )  # fmt: skip
            rows = featurise(search.random_programs(self.sample), self.machine) if sketches else []
            self._drawn[key] = tuple(row for row in rows if row is not None)
        return self._drawn[key]
