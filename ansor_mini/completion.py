"""How well a cost model that learned from complete programs ranks programs that are not complete yet.

Paper: Ansor §2, Fig. 3

The paper's reason for sampling complete programs: a search that fills in one choice after the other has to compare
incomplete programs, and a model cannot tell which of them will become fast before nearly all choices are made.

Each measured program is cut back to its first few holes, the rest are left at "nothing done"; the model ranks what is
left, and the ranking is compared with the times of the complete programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.beam_search import nothing_done
from ansor_mini.cost_model import CostModel
from ansor_mini.population import Population, by_sketch
from ansor_mini.ranking import pairwise_accuracy, recall_at
from ansor_mini.sketch import Program

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Completion:
    """What a model knows when a share of the choices is made: both are averages over tasks."""

    share: float
    pairwise_accuracy: float
    recall: float


def cut_back(population: Population, share: float) -> Population:
    """The programs with only the first share of their holes filled, the others left at "nothing done".

    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import WORKLOADS
    >>> sketch = derive(WORKLOADS["matmul"].dag(4, 4, 4))[0]
    >>> population = Population(sketch, np.ones((1, len(sketch.holes)), int))
    >>> print(cut_back(population, 0.0).program(0) == cut_back(population, 1.0).program(0))
    False
    """
    filled = round(share * len(population.sketch.holes))
    choices = population.choices.copy()
    choices[:, filled:] = [nothing_done(hole) for hole in population.sketch.holes[filled:]]
    return Population(population.sketch, choices)


def completion_study(
    model: CostModel, tasks: Sequence[Mapping[Program, float]], *, shares: Sequence[float] = SHARES, top: int = 10
) -> list[Completion]:
    """Rank the programs of each task, with a share of their holes filled; one entry per share.

    tasks: of each, its programs and their seconds; the model should not have learned from these programs. top: how many
    of the best programs should be found; tasks with fewer programs count for the pairwise accuracy only.
    """
    groups = [(by_sketch(list(task)), np.array([1.0 / seconds for seconds in task.values()])) for task in tasks]
    found = []
    for share in shares:
        accuracies, recalls = [], []
        for populations, speed in groups:
            scores = np.empty(len(speed))
            for positions, population in populations:
                scores[positions] = model.predict_population(cut_back(population, share))
            accuracies.append(pairwise_accuracy(scores, speed))
            recalls += [recall_at(top, scores, speed)] if len(speed) > top else []
        recall = float(np.mean(recalls)) if recalls else float("nan")
        found.append(Completion(share, float(np.nanmean(accuracies)), recall))
    return found
