"""The learned cost model: gradient-boosted trees over features of a program's statements.

Paper: Ansor §5.2

1. Featurise each measured program once: a row of 164 numbers per statement.
2. Label it by its place among the programs of its task (`LABELS`): near 1 for the best, near 0 for the slowest, 0 for
   failures.
3. Fit the trees to all programs of all tasks, again after every batch. A program's score is the sum of its statements'
   scores, and its weight in the loss is its label: telling fast programs apart matters more than telling slow ones.
4. Score new programs. Before `warmup` programs are measured the scores are random, or those of another model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees
from ansor_mini.cost_model import CostModel, RandomModel
from ansor_mini.feature_arrays import population_features
from ansor_mini.feature_names import FEATURE_SETS
from ansor_mini.population import Population
from ansor_mini.program_features import featurise
from ansor_mini.sketch import Program
from runtime.gpu import Gpu
from runtime.machine import Machine


@dataclass
class TrainingData:
    """Measured programs as a cost model sees them.

    rows: of each program, float32 [statements, 164]. tasks: of each program, the key of its task. seconds: infinite for
    a failure.
    """

    rows: list[np.ndarray] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, rule: LabelRule) -> np.ndarray:
        """The label of each program, float64 [programs].

        >>> TrainingData([], ["a", "a", "b", "b"], [2.0, 4.0, 3.0, float("inf")]).labels(throughput_labels).tolist()
        [1.0, 0.5, 1.0, 0.0]
        """
        seconds, labels = np.array(self.seconds, np.float64), np.zeros(len(self.seconds))
        _, number = np.unique(np.array(self.tasks, str), return_inverse=True)
        for task in range(number.max(initial=-1) + 1):
            correct = (number == task) & np.isfinite(seconds)
            if correct.any():
                labels[correct] = rule(seconds[correct])
        return labels

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of all statements [rows, 164], program of each row [rows]."""
        counts = [len(rows) for rows in self.rows]
        return np.concatenate(self.rows), np.repeat(np.arange(len(self)), counts)


Own = TypeVar("Own", bound="LearnedModel")
LabelRule = Callable[[np.ndarray], np.ndarray]  # from the seconds of the correct programs of one task to their labels


def throughput_labels(seconds: np.ndarray) -> np.ndarray:
    """Least seconds / seconds, in (0, 1].  Paper: Ansor §5.2"""
    return np.asarray(seconds.min() / seconds)


def rank_labels(seconds: np.ndarray) -> np.ndarray:
    """The share of the programs that are slower, of equally fast ones half, in (0, 1).

    >>> rank_labels(np.array([2.0, 4.0, 2.1, 2.1])).tolist()
    [0.875, 0.125, 0.5, 0.5]
    """
    ordered = np.sort(seconds)
    faster, not_slower = np.searchsorted(ordered, seconds), np.searchsorted(ordered, seconds, side="right")
    return 1.0 - (faster + not_slower) / 2 / len(seconds)


def blended_labels(seconds: np.ndarray) -> np.ndarray:
    """The mean of both: ranks tell slow programs apart, throughput the fast ones.

    >>> blended_labels(np.array([2.0, 4.0, 8.0])).round(3).tolist()
    [0.917, 0.5, 0.208]
    """
    return (rank_labels(seconds) + throughput_labels(seconds)) / 2


# Ranks spread out what a search has brought close together: of 6,172 programs that searches of 40 tasks have measured,
# they order as many pairs of one task as the paper's labels (0.74 of them), and find more of the 30 best (0.50 against
# 0.44). Of 5,180 random programs of 10 tasks, which differ more, ranks order more pairs (0.83 against 0.80) and find
# fewer of the best (0.51 against 0.55). `tests/benchmarks/cost_model.py` measures both.
LABELS: dict[str, LabelRule] = {"rank": rank_labels, "throughput": throughput_labels, "blended": blended_labels}


def label_weights(labels: np.ndarray) -> np.ndarray:
    """The weight of a program in the loss is its label.  Paper: Ansor §5.2"""
    return labels


def raised_weights(labels: np.ndarray) -> np.ndarray:
    """Weights that never vanish: the paper's alone leave open what a slow program scores, so it may score anything."""
    return labels + 0.2


# Options of a model that orders programs better than the default and takes nearly twice as long to train: 16 more
# features, labels between ranks and throughput, raised weights, more and smaller steps. The trees' settings were found
# by cross-validation within four fifths of the random programs. Of the 5,180 random programs above it orders 0.856 of
# the pairs (the default 0.828), and finds 0.62 of the best 30 (0.51).
PRECISE: dict[str, Any] = {
    "labels": "blended",
    "features": "registers",
    "weights": raised_weights,
    "trees": 200,
    "shrinkage": 0.1,
    "gamma": 1e-4,
}


def statement_sums(trees: GradientBoostedTrees, tested: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The score of each program of a population: the sum over its statements, -inf where it has none.

    tested: the columns that the trees look at, float32 [tested, statements, programs]. present: bool [statements,
    programs].
    """
    scores = trees.predict_tested(tested.reshape(len(tested), present.size)).reshape(present.shape)
    return np.where(present.any(axis=0), np.where(present, scores, 0.0).sum(axis=0), -np.inf)


class LearnedModel:
    """The paper's cost model, but for its labels; keeps everything it was told, and is trained anew when told more.

    Attributes: data: what it learned from; trees: the fitted model, None before there is one.
    One model may serve all tasks of a machine and thread count: labels are relative to the others of the same task.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        machine: Machine | Gpu | None = None,
        warmup: int = 64,
        before: CostModel | None = None,
        retrain: float = 0.0,
        labels: str = "rank",
        features: str = "paper",
        weights: Callable[[np.ndarray], np.ndarray] = label_weights,
        **options: int | float,
    ) -> None:
        """A model without data.

        rng: gives random scores, and samples rows and columns when asked to. machine: what the features
        assume about caches. warmup: programs measured before scores mean something (the paper's code waits for 100).
        before: scores programs during the warm-up (the paper: nobody, the scores are random).
        retrain: train again only when the programs have grown by this share (the paper trains every time, its code
        offers 1/5). labels: one of `LABELS`; the paper's are "throughput". features: one of `FEATURE_SETS`, "paper"
        or "registers". weights: from labels to weights in the loss.
        options: of the trees, see `TreeOptions`.
        Raises: ValueError: no such labels or features.
        """
        if features not in FEATURE_SETS:
            raise ValueError(f"features must be one of {sorted(FEATURE_SETS)}, got {features!r}")
        if labels not in LABELS:
            raise ValueError(f"labels must be one of {sorted(LABELS)}, got {labels!r}")
        self.rng, self.machine, self.warmup, self.retrain = rng, machine, warmup, retrain
        self.labels, self.features, self.weights, self.options = labels, features, weights, options
        self.before = before or RandomModel(rng)
        self.data = TrainingData()
        self.trees: GradientBoostedTrees | None = None
        self._trained = 0

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """A score per program, that of `before` during the warm-up, -inf for what cannot be lowered."""
        if self.trees is None:
            return self.before.predict(programs)
        return self._scores(self._rows(programs))

    def _rows(self, programs: Sequence[Program]) -> list[np.ndarray | None]:
        return featurise(programs, self.machine, self.features)

    def predict_population(self, population: Population) -> np.ndarray:
        """The same for the programs of one sketch."""
        if self.trees is None:
            return self.before.predict_population(population)
        batch = population_features(population, self.machine, columns=self.trees.tested)
        return statement_sums(self.trees, batch.values.transpose(1, 0, 2), batch.present)

    def statement_scores(self, program: Program) -> np.ndarray:
        """The score of each statement, which add up to the program's; zeros during the warm-up."""
        rows = self._rows([program])[0]
        if rows is None:
            raise ValueError(f"program cannot be lowered, so it has no features: {program}")
        return self.trees.predict(rows) if self.trees is not None else np.zeros(len(rows))

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Learn from more measured programs."""
        if len(programs) != len(seconds):
            raise ValueError(f"seconds must have one entry per program, got {len(seconds)} for {len(programs)}")
        keys: dict[int, str] = {}
        for program, rows, cost in zip(programs, self._rows(programs), seconds):
            if rows is None:
                continue
            dag = program.sketch.dag
            if id(dag) not in keys:
                keys[id(dag)] = dag.key()
            self.data.rows.append(rows)
            self.data.tasks.append(keys[id(dag)])
            self.data.seconds.append(float(cost))
        if len(self.data) >= self.warmup and len(self.data) > self._trained * (1 + self.retrain):
            self.train()

    def train(self) -> None:
        """Fit the trees to everything known."""
        X, program = self.data.arrays()
        labels = self.data.labels(LABELS[self.labels])
        self.trees = GradientBoostedTrees(rng=self.rng, **self.options)  # type: ignore[arg-type]
        self.trees.fit(X, labels, program=program, weights=self.weights(labels))
        self._trained = len(self.data)

    def _scores(self, features: Sequence[np.ndarray | None]) -> np.ndarray:
        assert self.trees is not None
        known = [rows for rows in features if rows is not None]
        if not known:
            return np.full(len(features), -np.inf)
        predicted = self.trees.predict(np.concatenate(known))
        starts = np.cumsum([0, *(len(rows) for rows in known)])[:-1]
        scores = np.full(len(features), -np.inf)
        scores[[rows is not None for rows in features]] = np.add.reduceat(predicted, starts)
        return scores

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trees and the data they were fitted to into one .npz file, plain arrays throughout."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self.arrays())  # type: ignore[arg-type]

    def arrays(self) -> dict[str, np.ndarray]:
        """The model as named arrays, as `save` writes them."""
        tasks, seconds = np.array(self.data.tasks, str), np.array(self.data.seconds)
        arrays: dict[str, np.ndarray] = {"tasks": tasks, "seconds": seconds}
        if len(self.data):
            arrays["X"], arrays["program"] = self.data.arrays()
        if self.trees is not None:
            arrays |= {f"trees_{name}": values for name, values in self.trees.arrays().items()}
        return arrays

    def restore(self: Own, path: str | os.PathLike[str]) -> Own:
        """Add the data of a saved model and take over its trees; returns self.

        Raises: ValueError: the file is not a saved model; OSError: it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                self.take_over(dict(file))
        except (ValueError, KeyError, EOFError, TypeError) as error:
            raise ValueError(f"{path} is not a saved {type(self).__name__}: {error}") from None
        return self

    def take_over(self, arrays: dict[str, np.ndarray]) -> None:
        """Add the data of another model's `arrays`, and use its trees."""
        tasks, seconds = arrays["tasks"].tolist(), arrays["seconds"].tolist()
        rows, width = [], len(FEATURE_SETS[self.features])
        if tasks and arrays["X"].shape[1] != width:
            raise ValueError(f"expected {width} features, {self.features!r}, got {arrays['X'].shape[1]}")
        if tasks:
            rows = np.split(arrays["X"], np.searchsorted(arrays["program"], np.arange(1, len(tasks))))
        trees = {name[len("trees_") :]: values for name, values in arrays.items() if name.startswith("trees_")}
        model = GradientBoostedTrees.from_arrays(trees) if trees else self.trees
        self.data.rows += rows
        self.data.tasks += tasks
        self.data.seconds += seconds
        self.trees, self._trained = model, len(self.data)
