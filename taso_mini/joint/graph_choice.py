"""The objective of tuning when only one of several graphs will be run: which tasks decide, and how much.

Every alternative graph j is a network in the sense of Ansor §6: it runs task i `weights[j, i]` times, S_j seconds in
all with what cannot be tuned. What counts in the end is min_j S_j. Its slope is that of the best graph so far alone,
and a scheduler that follows it never finds out that another graph would win once it is tuned as well.

So ask how likely every graph is to win. A task that has had t rounds may still gain any share of its latency up to
reach / t, all equally likely; draw these gains many times and count in how many draws each graph comes out fastest:
p_j. The slope of task i is Σ_j p_j weights[j, i]. It follows that

- what all graphs run counts fully, whichever is chosen; gains of shared tasks help all alike and decide nothing;
- what only one graph runs counts as much as that graph is likely to be chosen;
- as rounds go by the draws agree, hopeless graphs get no more trials, and the objective becomes that of the winner.

>>> import numpy as np
>>> choice = GraphChoice(np.array([[1, 1, 0], [1, 0, 2]]))  # two graphs that share their first task
>>> latencies = np.array([5.0, 4.0, 2.1])
>>> choice.value(latencies)
9.0
>>> choice.slopes(latencies, [[5.0]] * 3).round(2).tolist()  # either may win
[1.0, 0.56, 0.87]
>>> choice.slopes(latencies, [[5.0] * 40] * 3).round(2).tolist()  # after forty rounds the first has
[1.0, 1.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ansor_mini.objectives import Histories, network_latencies

REACH = 0.6  # of its latency under the default schedule a task may lose by tuning


@dataclass(frozen=True)
class GraphChoice:
    """The least of the graphs' latencies; slopes by each graph's chance to be that.

    weights: how often each graph runs each task, int [graphs, tasks]. fixed: seconds of each graph that no tuning
    changes, copies for the most part. reach: share of a task's latency that its second round may gain at most. draws:
    of the gains.
    """

    weights: np.ndarray
    fixed: Sequence[float] = ()
    reach: float = REACH
    draws: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.  Raises: ValueError."""
        if self.fixed and len(self.fixed) != len(self.weights):
            raise ValueError(f"fixed: expected one for each of {len(self.weights)} graphs, got {len(self.fixed)}")
        if not 0 <= self.reach < 1 or self.draws < 1:
            raise ValueError(f"expected 0 <= reach < 1 and draws >= 1, got {self.reach} and {self.draws}")

    def totals(self, latencies: np.ndarray) -> np.ndarray:
        """S_j, float64 [graphs]."""
        return network_latencies(self.weights, latencies) + (self.fixed or 0.0)

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """min_j S_j: of the graph that would be chosen now."""
        return float(self.totals(latencies).min())

    def chances(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """p_j, float64 [graphs]; they add up to 1. Without histories every task counts as measured once."""
        rounds = np.array([max(1, len(history)) for history in histories] or [1] * len(latencies))
        gains = np.random.default_rng(self.seed).random((self.draws, len(latencies))) * (self.reach / rounds)
        totals = (latencies * (1.0 - gains)) @ self.weights.T + (self.fixed or 0.0)
        return np.bincount(totals.argmin(axis=1), minlength=len(self.weights)) / self.draws

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """Σ_j p_j weights[j, i]: how often task i is expected to run."""
        return self.chances(latencies, histories) @ self.weights
