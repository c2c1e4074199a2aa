"""Which task gets the next round of measurements: the one that promises the objective most.

Paper: Ansor §6.2, App. A

Tasks are the distinct subgraphs of one or several networks; a unit of time is one round of measuring one task, after
which task i's best latency g_i(t_i) joins its history. Then, in order:

1. Warm-up: each task once. A task without a correct program stays first in line until it counts as hopeless.
2. With probability ε a random task.
3. Else the task with the largest promise, by the strategy. The paper's is |∂f/∂t_i|, `gradient`; `optimistic` is its
   limit without history and similar tasks, `round_robin` and `uniform` are what it is compared with.
4. Nothing when every task is dead or the objective has not improved for `patience` trials.

What a task is and who measures it is not known here: `choose` names a task, `observe` is told what its round found. The
published code has no ε, no groups without tags written by hand, and gives a restored task a history of one entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ansor_mini.objectives import Objective

LEAVE_AFTER = 5  # rounds more than any other task of its group after which a slow task is no longer compared with it


@dataclass(frozen=True)
class SchedulerOptions:
    """The numbers of the gradient and of stopping.

    alpha: how much the past counts against the two forecasts. beta: how much of the best speed in its group a task is
    trusted to reach: 1/beta. window: rounds over which the past is looked at, Δt. epsilon: share of random choices; the
    paper has one without a number, the published code none. task_patience: trials of one task without improvement after
    which it is left alone. patience: trials of all tasks without improvement of the objective after which all stops.
    hopeless: rounds without a correct program, and dry: rounds without a new program, after which a task is left alone.
    """

    alpha: float = 0.2
    beta: float = 2.0
    window: int = 3
    epsilon: float = 0.05
    task_patience: float = math.inf
    patience: float = math.inf
    hopeless: int = 4
    dry: int = 2

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and self.beta > 0 and self.window >= 1 and 0 <= self.epsilon <= 1):
            raise ValueError(
                "SchedulerOptions: expected 0 <= alpha <= 1, beta > 0, window >= 1 and 0 <= epsilon <= 1, got "
                f"alpha={self.alpha}, beta={self.beta}, window={self.window}, epsilon={self.epsilon}"
            )


@dataclass
class Candidate:
    """One task as the scheduler sees it.

    flops: C_i, of one run. group: tasks of one non-empty text are similar, N(i). history: best latency in seconds after
    each round. trials: programs measured. improved_at: trials when the latency last fell. dry: rounds at the end that
    measured nothing.
    """

    name: str
    flops: float = 0.0
    group: str = ""
    history: list[float] = field(default_factory=list)
    trials: int = 0
    improved_at: int = 0
    dry: int = 0

    @property
    def latency(self) -> float:
        """g_i, seconds; infinite before there is a correct program."""
        return self.history[-1] if self.history else math.inf

    @property
    def rounds(self) -> int:
        """t_i."""
        return len(self.history)

    @property
    def speed(self) -> float:
        """V_i, achieved operations per second."""
        return self.flops / self.latency if self.latency > 0 else 0.0

    def observe(self, latency: float, measured: int) -> None:
        """Count a round that measured so many programs and ended with this best latency."""
        self.trials += measured
        self.dry = 0 if measured else self.dry + 1
        if latency < self.latency:
            self.improved_at = self.trials
        self.history.append(latency)

    def dead(self, options: SchedulerOptions) -> bool:
        """True when more rounds are pointless."""
        if not math.isfinite(self.latency) and self.rounds >= options.hopeless:
            return True
        return self.dry >= options.dry or self.trials - self.improved_at >= options.task_patience


Strategy = Callable[["TaskScheduler", Sequence[int]], int]


class TaskScheduler:
    """Hands out rounds of measurement to tasks.

    >>> from ansor_mini.objectives import TotalLatency
    >>> tasks = [Candidate("often"), Candidate("once")]
    >>> scheduler = TaskScheduler(tasks, TotalLatency(np.array([[9, 1]])), rng=np.random.default_rng(0))
    >>> for _ in range(6):  # every round of a task makes it 10 % faster
    ...     task = scheduler.choose()
    ...     before = tasks[task].latency if tasks[task].history else 1.0
    ...     scheduler.observe(task, 0.9 * before, measured=8)
    >>> [task.rounds for task in tasks]
    [5, 1]
    """

    def __init__(
        self,
        tasks: Sequence[Candidate],
        objective: Objective,
        *,
        rng: np.random.Generator,
        strategy: str | Strategy = "gradient",
        options: SchedulerOptions | None = None,
    ) -> None:
        """Schedule `tasks`, which may bring a history of earlier rounds.

        strategy: a name in `STRATEGIES`, or a function of the scheduler and the tasks that may be chosen.
        Raises: ValueError: an unknown strategy.
        """
        if isinstance(strategy, str) and strategy not in STRATEGIES:
            raise ValueError(f"strategy: expected one of {', '.join(STRATEGIES)}, got {strategy!r}")
        self.tasks, self.objective, self.rng = list(tasks), objective, rng
        self.strategy = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
        self.options = options or SchedulerOptions()
        groups = {task.group: [k for k, other in enumerate(tasks) if other.group == task.group] for task in tasks}
        self._groups = [members for group, members in groups.items() if group and len(members) > 1]
        self._best_value = self.value
        self._improved_at = self.trials

    @property
    def trials(self) -> int:
        """Programs measured, of all tasks."""
        return sum(task.trials for task in self.tasks)

    @property
    def latencies(self) -> np.ndarray:
        """g, seconds, float64 [tasks]; infinite for a task without a correct program."""
        return np.array([task.latency for task in self.tasks], float)

    @property
    def value(self) -> float:
        """The objective now; infinite as long as a task has no correct program."""
        if not np.isfinite(self.latencies).all():
            return math.inf
        return self.objective.value(self.latencies, [task.history for task in self.tasks])

    @property
    def living(self) -> list[int]:
        """The tasks worth a round."""
        return [i for i, task in enumerate(self.tasks) if not task.dead(self.options)]

    @property
    def stagnant(self) -> bool:
        """True when the objective has not improved for `patience` trials."""
        return math.isfinite(self._best_value) and self.trials - self._improved_at >= self.options.patience

    def choose(self) -> int | None:
        """The task for the next round; None when there is nothing left worth doing."""
        living = self.living
        if not living or self.stagnant:
            return None
        without = [i for i in living if not math.isfinite(self.tasks[i].latency)]
        if without:
            return min(without, key=lambda i: (self.tasks[i].rounds, i))
        if self.rng.random() < self.options.epsilon:
            return uniform(self, living)
        return self.strategy(self, living)

    def observe(self, task: int, latency: float, measured: int) -> None:
        """Tell that a round of `task` measured so many programs and that its best is now `latency` seconds."""
        self.tasks[task].observe(latency, measured)
        value = self.value
        if value < self._best_value:
            self._best_value, self._improved_at = value, self.trials

    def slopes(self) -> np.ndarray:
        """∂f/∂g_i [tasks]; a task without a correct program counts like the slowest of the others."""
        latencies = self.latencies
        finite = np.isfinite(latencies)
        known = np.where(finite, latencies, np.max(latencies, where=finite, initial=0.0) or 1.0)
        return self.objective.slopes(known, [task.history for task in self.tasks])

    def fastest_relatives(self) -> np.ndarray:
        """max V_k over the tasks k in N(i), operations per second [tasks]; 0 for a task without relatives.

        Paper: Ansor §6.2

        As in the published code, a task that is slower than 1/beta of its group's best after `LEAVE_AFTER` more rounds
        than any other member is not like them after all.
        """
        speeds = np.array([task.speed for task in self.tasks])
        rounds = np.array([task.rounds for task in self.tasks], float)
        fastest = np.zeros(len(self.tasks))
        for members in self._groups:
            others, longest = largest_other(speeds[members]), largest_other(rounds[members])
            unlike = (speeds[members] < others / self.options.beta) & (rounds[members] > LEAVE_AFTER + longest)
            fastest[members] = np.where(unlike, 0.0, others)
        return fastest


def largest_other(values: np.ndarray) -> np.ndarray:
    """For each of at least two values the largest of the others.

    >>> largest_other(np.array([3.0, 5.0, 4.0])).tolist()
    [5.0, 4.0, 5.0]
    """
    second, first = np.argsort(values, kind="stable")[-2:]
    others = np.full(len(values), values[first])
    others[first] = values[second]
    return others


def latency_changes(scheduler: TaskScheduler) -> np.ndarray:
    """∂g_i/∂t_i: seconds that one more round is expected to add to each latency, at most 0, float64 [tasks].

    Paper: Ansor §6.2, App. A

    α · (g(t) − g(t − Δt)) / Δt + (1 − α) · min(−g(t) / t, β · C / max V − g(t)): what the last rounds brought, and the
    bolder of two forecasts: another t rounds bring the latency to 0; one round brings the task to a β-th of the speed
    of its fastest relative. Tasks without a correct program have NaN.
    """
    options, fastest, changes = scheduler.options, scheduler.fastest_relatives(), []
    for task, speed in zip(scheduler.tasks, fastest.tolist()):
        if not math.isfinite(task.latency):
            changes.append(math.nan)
            continue
        now, before = task.latency, task.history[-1 - options.window :][0]
        known = task.rounds > options.window and math.isfinite(before)
        past = (now - before) / options.window if known else 0.0
        forecast = -now / task.rounds
        if speed > 0:
            forecast = min(forecast, options.beta * task.flops / speed - now)
        changes.append(options.alpha * past + (1 - options.alpha) * forecast)
    return np.array(changes, float)


def _largest(scheduler: TaskScheduler, living: Sequence[int], promises: Sequence[float]) -> int:
    """The task of the largest promise; a random one when none promises anything."""
    best = max(promises)
    return living[promises.index(best)] if best > 0 else uniform(scheduler, living)


def gradient(scheduler: TaskScheduler, living: Sequence[int]) -> int:
    """The task of the largest |∂f/∂t_i| = |∂f/∂g_i · ∂g_i/∂t_i|.  Paper: Ansor §6.2"""
    promises = -scheduler.slopes() * latency_changes(scheduler)
    return _largest(scheduler, living, promises[list(living)].tolist())


def optimistic(scheduler: TaskScheduler, living: Sequence[int]) -> int:
    """The task of the largest ∂f/∂g_i · g_i / t_i: the gradient without its past and its relatives."""
    slopes, tasks = scheduler.slopes(), scheduler.tasks
    return _largest(scheduler, living, [slopes[i] * tasks[i].latency / tasks[i].rounds for i in living])


def round_robin(scheduler: TaskScheduler, living: Sequence[int]) -> int:
    """The task with the fewest rounds: the paper's "no task scheduler".  Paper: Ansor §7.3"""
    return min(living, key=lambda i: (scheduler.tasks[i].rounds, i))


def uniform(scheduler: TaskScheduler, living: Sequence[int]) -> int:
    """Any task."""
    return living[int(scheduler.rng.integers(len(living)))]


STRATEGIES: Mapping[str, Strategy] = {
    "gradient": gradient,
    "optimistic": optimistic,
    "round-robin": round_robin,
    "uniform": uniform,
}
