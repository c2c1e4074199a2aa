"""A learned model that starts from an estimate: boosted trees fitted to what an analytic model gets wrong.

Trees alone need hundreds of measured programs of a task before they order new ones better than a few lines of
arithmetic do. So here the arithmetic comes first, scaled to the labels, and the trees learn the rest, with the estimate
as one more column to look at. With no data this is the estimate; with much data it is the learned model. On 300 random
programs of a 512³ matrix product, trained on 32, 64, 128 and 200 of them, the share of pairs of the others in the right
order was 0.77, 0.79, 0.83 and 0.85 (estimate alone: 0.76; the paper's model alone: 0.56, 0.62, 0.65 and 0.67).

Beyond the paper; `learned_model` is the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees
from ansor_mini.cost_model import CostModel
from ansor_mini.feature_arrays import population_features
from ansor_mini.learned_model import LABELS, LearnedModel, raised_weights, statement_sums
from ansor_mini.population import Population
from ansor_mini.sketch import Program
from runtime.machine import Machine

LEAST = 1e-4  # relative estimate below which programs are all alike


class GuidedModel(LearnedModel):
    """Trees on top of the estimate of `guide`; programs of fixed sketches, which have no estimate, are not learned.

    Attributes: unit: for each task, the guide's score that counts as 1; slope: of the labels over relative estimates.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        guide: CostModel,
        *,
        machine: Machine | None = None,
        warmup: int = 16,
        retrain: float = 0.0,
        features: str = "paper",
        **options: int | float,
    ) -> None:
        """A model without data; arguments as for `LearnedModel`."""
        super().__init__(
            rng,
            machine=machine,
            warmup=warmup,
            before=guide,
            retrain=retrain,
            labels="throughput",  # what the guide's scores are proportional to, were it right
            features=features,
            weights=raised_weights,
            **options,
        )
        self.guide = guide
        self.unit: dict[str, float] = {}
        self.slope = 0.0
        self._estimates: list[float] = []

    def predict(self, programs: Sequence[Program]) -> np.ndarray:
        """A score per program, -inf for what cannot be lowered."""
        if self.trees is None:
            return self.guide.predict(programs)
        estimates = self.guide.predict(programs)
        scores = np.full(len(programs), -np.inf)
        for i, (program, rows) in enumerate(zip(programs, self._rows(programs))):
            if rows is not None:
                relative = self._relative(program.sketch.dag.key(), estimates[i : i + 1])
                scores[i] = self.slope * relative[0] + self.trees.predict(_beside(rows, relative)).sum()
        return scores

    def predict_population(self, population: Population) -> np.ndarray:
        """The same for the programs of one sketch."""
        estimates = self.guide.predict_population(population)
        if self.trees is None:
            return estimates
        relative = self._relative(population.sketch.dag.key(), estimates)
        own = self.trees.tested < self.trees.width - 1  # all but the estimate, the last column
        batch = population_features(population, self.machine, columns=self.trees.tested[own])
        tested = np.empty((len(own), *batch.present.shape), np.float32)
        tested[own], tested[~own] = batch.values.transpose(1, 0, 2), np.log2(relative).astype(np.float32)
        return self.slope * relative + statement_sums(self.trees, tested, batch.present)

    def update(self, programs: Sequence[Program], seconds: Sequence[float]) -> None:
        """Learn from more measured programs."""
        if len(programs) != len(seconds):
            raise ValueError(f"seconds must have one entry per program, got {len(seconds)} for {len(programs)}")
        pairs = [(program, cost) for program, cost in zip(programs, seconds) if program.frozen]
        known = self._rows([program for program, _ in pairs])
        kept = [(program, rows, cost) for (program, cost), rows in zip(pairs, known) if rows is not None]
        estimates = self.guide.predict([program for program, _, _ in kept])
        for (program, rows, cost), estimate in zip(kept, estimates.tolist()):
            task = program.sketch.dag.key()
            self.unit[task] = max(self.unit.get(task, 0.0), estimate)
            self.data.rows.append(rows)
            self.data.tasks.append(task)
            self.data.seconds.append(float(cost))
            self._estimates.append(estimate)
        if len(self.data) >= self.warmup and len(self.data) > self._trained * (1 + self.retrain):
            self.train()

    def train(self) -> None:
        """Fit the slope, then the trees to what is left."""
        X, program = self.data.arrays()
        labels = self.data.labels(LABELS[self.labels])
        units = np.array([self.unit[task] for task in self.data.tasks])
        relative = np.clip(np.array(self._estimates) / units, LEAST, None)
        self.slope = float(relative @ labels / (relative @ relative))
        self.trees = GradientBoostedTrees(rng=self.rng, **self.options)  # type: ignore[arg-type]
        rest = labels - self.slope * relative
        self.trees.fit(_beside(X, relative[program]), rest, program=program, weights=self.weights(labels))
        self._trained = len(self.data)

    def statement_scores(self, program: Program) -> np.ndarray:
        """The part of each statement in the score besides the estimate; zeros during the warm-up."""
        rows = self._rows([program])[0]
        if rows is None:
            raise ValueError(f"program cannot be lowered, so it has no features: {program}")
        if self.trees is None:
            return np.zeros(len(rows))
        relative = self._relative(program.sketch.dag.key(), self.guide.predict([program]))
        return self.trees.predict(_beside(rows, relative))

    def arrays(self) -> dict[str, np.ndarray]:
        """The model as named arrays, the guide's estimates included."""
        units = {"unit_tasks": np.array(list(self.unit), str), "units": np.array(list(self.unit.values()))}
        return super().arrays() | units | {"estimates": np.array(self._estimates), "slope": np.asarray(self.slope)}

    def take_over(self, arrays: dict[str, np.ndarray]) -> None:
        """Add the data of another guided model, and use its trees; the guide must be of the same kind."""
        if "estimates" not in arrays:
            raise ValueError("it holds no estimates")
        super().take_over(arrays)
        for task, unit in zip(arrays["unit_tasks"].tolist(), arrays["units"].tolist()):
            self.unit[task] = max(self.unit.get(task, 0.0), unit)
        self._estimates += arrays["estimates"].tolist()
        self.slope = float(arrays["slope"])

    def _relative(self, task: str, estimates: np.ndarray) -> np.ndarray:
        unit = self.unit.get(task) or float(np.max(estimates))
        return np.clip(estimates / unit, LEAST, 4.0)


def _beside(rows: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """The features with the logarithm of the relative estimate as one more column."""
    column = np.broadcast_to(np.log2(relative).astype(np.float32), (len(rows),))
    return np.concatenate([rows, column[:, None]], axis=1)
