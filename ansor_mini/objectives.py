"""What the tuning of several networks is for: objectives f1 to f4, or any function of the tasks' latencies.

Paper: Ansor §6.1, Table 2

Task i has the best latency g_i so far, in seconds. Network j runs it `weights[j, i]` times, so that one run of the
network takes S_j = Σ_i weights[j, i] · g_i. Every objective is minimised, and says how fast it changes with each g_i:
the chain-rule factor ∂f/∂g_i of the scheduler's gradient. The published code finds that factor by a finite difference
of 0.1 ms, longer than many tasks take; here the four have their derivatives, and only user functions are differenced.

An objective is made for given weights by a `Make`, so that a tuner which knows the networks can build it:
`TotalLatency` itself is one, `partial(GeometricMeanSpeedup, references=(0.01, 0.02))` is another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Histories = Sequence[Sequence[float]]


class Objective(Protocol):
    """A number to minimise, and its slopes."""

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """The objective for latencies g, seconds, float64 [tasks].

        histories: for each task its best latency after each of its rounds, oldest first.
        """
        ...

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """∂f/∂g_i at finite latencies, float64 [tasks]; 0 where a faster task would change nothing."""
        ...


Make = Callable[[np.ndarray], Objective]


@dataclass(frozen=True)
class TotalLatency:
    """f1: all networks run once.  Paper: Ansor §6.1, Table 2

    >>> f = TotalLatency(np.array([[2, 1, 0], [0, 1, 1]]))  # two networks share the second task
    >>> f.value(np.array([10.0, 20.0, 30.0]))
    90.0
    >>> f.slopes(np.array([10.0, 20.0, 30.0])).tolist()
    [2.0, 2.0, 1.0]
    """

    weights: np.ndarray

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """Σ_j S_j."""
        return float(np.sum(network_latencies(self.weights, latencies)))

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """How often each task runs in all."""
        return np.asarray(self.weights, float).sum(axis=0)


@dataclass(frozen=True)
class LatencyRequirements:
    """f2: no gain in making a network faster than required.  Paper: Ansor §6.1, Table 2

    required: L_j, seconds, one for each network.

    >>> f = LatencyRequirements(np.array([[2, 1, 0], [0, 1, 1]]), required=(45.0, 40.0))
    >>> f.value(np.array([10.0, 20.0, 30.0]))  # the first network is fast enough
    95.0
    >>> f.slopes(np.array([10.0, 20.0, 30.0])).tolist()
    [0.0, 1.0, 1.0]
    """

    weights: np.ndarray
    required: Sequence[float]

    def __post_init__(self) -> None:
        _one_per_network("required", self.required, self.weights)

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """Σ_j max(S_j, L_j)."""
        return float(np.sum(np.maximum(network_latencies(self.weights, latencies), self.required)))

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """How often each task runs in the networks that are too slow."""
        slow = network_latencies(self.weights, latencies) > np.asarray(self.required)
        return np.asarray(self.weights, float)[slow].sum(axis=0)


@dataclass(frozen=True)
class GeometricMeanSpeedup:
    """f3: the negative geometric mean of the networks' speed-ups over reference latencies.

    Paper: Ansor §6.1, Table 2

    references: B_j, seconds, one for each network. Relative gains count, so a small network is as dear as a large one.

    >>> f = GeometricMeanSpeedup(np.array([[1, 0], [0, 1]]), references=(40.0, 40.0))
    >>> f.value(np.array([10.0, 40.0]))  # 4 times and 1 times as fast
    -2.0
    >>> f.slopes(np.array([10.0, 40.0])).tolist()
    [0.1, 0.025]
    """

    weights: np.ndarray
    references: Sequence[float]

    def __post_init__(self) -> None:
        _one_per_network("references", self.references, self.weights)

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """−(Π_j B_j / S_j)^(1/m)."""
        speedups = np.asarray(self.references, float) / network_latencies(self.weights, latencies)
        return float(-np.prod(speedups ** (1.0 / len(speedups))))

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """∂f3/∂S_j = −f3 / (m · S_j), times the weights."""
        totals = network_latencies(self.weights, latencies)
        return (-self.value(latencies) / (len(totals) * totals)) @ self.weights


@dataclass(frozen=True)
class EarlyStopping:
    """f4: a task whose history shows no more progress counts a constant, so that it attracts no more trials.

    Paper: Ansor §6.1, Table 2

    The paper leaves ES(g_i, t) open. Here it is g_i itself once the last `rounds` rounds of task i gained less than the
    share `gain`, and 0, which never binds, before: max(g_i, ES) is g_i either way, and only its slope vanishes.

    >>> f = EarlyStopping(np.array([[1, 1]]), rounds=2)
    >>> latencies, histories = np.array([5.0, 7.0]), ([9.0, 5.0, 5.0, 5.0], [9.0, 8.0, 7.0])
    >>> f.value(latencies, histories), f.slopes(latencies, histories).tolist()
    (12.0, [0.0, 1.0])
    """

    weights: np.ndarray
    rounds: int = 4
    gain: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 0 <= self.gain < 1:
            raise ValueError(
                f"EarlyStopping: expected rounds >= 1 and 0 <= gain < 1, got rounds={self.rounds}, gain={self.gain}"
            )

    def stagnation(self, latencies: np.ndarray, histories: Histories) -> np.ndarray:
        """ES(g_i, t): the latency below which task i is not expected to come, seconds [tasks]."""
        expected = np.zeros(len(latencies))
        for i, history in enumerate(histories):
            if len(history) > self.rounds and history[-1] >= history[-1 - self.rounds] * (1 - self.gain):
                expected[i] = latencies[i]
        return expected

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """Σ_j Σ_i w_i · max(g_i, ES(g_i, t))."""
        return TotalLatency(self.weights).value(np.maximum(latencies, self.stagnation(latencies, histories)))

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """The weights of the tasks that still progress."""
        alive = latencies > self.stagnation(latencies, histories)
        return np.where(alive, TotalLatency(self.weights).slopes(latencies), 0.0)


@dataclass(frozen=True)
class UserFunction:
    """Any function of the tasks' latencies, lower is better; its slopes are central differences.

    function: latencies, seconds, float64 [tasks] → a number. step: of the difference, as a share of each latency.

    >>> f = UserFunction(lambda g: float(g[0] ** 2 + 3 * g[1]))
    >>> np.round(f.slopes(np.array([5.0, 1.0])), 6).tolist()
    [10.0, 3.0]
    """

    function: Callable[[np.ndarray], float]
    step: float = 1e-3

    def value(self, latencies: np.ndarray, histories: Histories = ()) -> float:
        """What the function says."""
        return float(self.function(np.asarray(latencies, float)))

    def slopes(self, latencies: np.ndarray, histories: Histories = ()) -> np.ndarray:
        """(f(g + h) − f(g − h)) / 2h for one task after the other."""
        latencies = np.asarray(latencies, float)
        slopes = np.zeros(len(latencies))
        for i, latency in enumerate(latencies):
            move = np.zeros(len(latencies))
            move[i] = self.step * (latency or 1.0)
            slopes[i] = (self.value(latencies + move) - self.value(latencies - move)) / (2 * move[i])
        return slopes


def network_latencies(weights: np.ndarray, latencies: np.ndarray) -> np.ndarray:
    """S_j, seconds of one run of each network; a task that a network does not run does not count, even at infinity.

    >>> network_latencies(np.array([[2, 0], [1, 1]]), np.array([3.0, np.inf])).tolist()
    [6.0, inf]
    """
    weights, latencies = np.atleast_2d(weights), np.asarray(latencies, float)
    if weights.shape[1] != len(latencies):
        raise ValueError(f"latencies: expected one for each of {weights.shape[1]} tasks, got {len(latencies)}")
    return np.where(weights > 0, weights * np.where(weights > 0, latencies, 0.0), 0.0).sum(axis=1)


def _one_per_network(name: str, given: Sequence[float], weights: np.ndarray) -> None:
    networks = np.atleast_2d(weights).shape[0]
    if len(given) != networks or not all(value > 0 for value in given):
        raise ValueError(f"{name}: expected {networks} positive seconds, one for each network, got {list(given)}")
