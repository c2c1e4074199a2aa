"""Recorded tuning curves of networks' tasks: how they are kept, and how a scheduler is replayed on them.

A task's search does not depend on when its turns come, so the times of its programs in measuring order tell what any
schedule would have found after any number of its rounds. One JSON line per task, after one about the recording.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ansor_mini.network_tuner import ROUND, NetworkTuner
from ansor_mini.objectives import Make
from ansor_mini.similarity import Similarity
from ansor_mini.task_scheduler import Candidate, SchedulerOptions, Strategy, TaskScheduler


@dataclass(frozen=True)
class RecordedTask:
    """One task: runs per inference of each network that has it, and its programs' seconds, None where one failed.

    used_up: the search finds no more programs than these.
    """

    label: str
    flops: int
    groups: dict[str, str]
    weights: dict[str, int]
    seconds: tuple[float | None, ...]
    used_up: bool = False

    def best_after(self, trials: int) -> float:
        """Its best latency after so many of its programs, seconds."""
        return min((value for value in self.seconds[:trials] if value is not None), default=math.inf)


@dataclass(frozen=True)
class Recording:
    """All tasks, and one line about the machine, threads and options of their tuning."""

    about: str
    tasks: tuple[RecordedTask, ...]

    def of(self, *networks: str) -> Recording:
        """The tasks of some networks alone."""
        return Recording(self.about, tuple(task for task in self.tasks if any(map(task.weights.get, networks))))

    def weights(self, *networks: str) -> np.ndarray:
        """How often each network runs each task, [networks, tasks]."""
        return np.array([[task.weights.get(name, 0) for task in self.tasks] for name in networks])

    @property
    def common(self) -> int:
        """Programs that all tasks have, but for those that are used up."""
        return min((len(task.seconds) for task in self.tasks if not task.used_up), default=0)


def write_recording(path: Path, recording: Recording) -> None:
    """Write JSON lines."""
    lines = [json.dumps({"about": recording.about}), *(json.dumps(asdict(task)) for task in recording.tasks)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_recording(path: Path) -> Recording:
    """Read what `write_recording` wrote.  Raises: ValueError: it is something else."""
    try:
        first, *rest = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        return Recording(first["about"], tuple(RecordedTask(**{**t, "seconds": tuple(t["seconds"])}) for t in rest))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no recorded tuning curves: {error}") from None


def recording_of(
    tuner: NetworkTuner, names: Sequence[str], similarities: dict[str, Similarity], used_up: Collection[str] = ()
) -> Recording:
    """What a tuner has measured; names: of its networks; used_up: keys of the tasks without further programs."""
    tasks = []
    for (key, task), weights in zip(tuner.tasks.items(), tuner.weights.T.tolist(), strict=True):
        dag, measured = task.tuner.task.dag, task.tuner.measured.values()
        seconds = tuple(round(value, 9) if math.isfinite(value) else None for value in measured)
        groups = {name: similar(dag) for name, similar in similarities.items()}
        runs = {name: weight for name, weight in zip(names, weights) if weight}
        tasks.append(RecordedTask(task.label, dag.flops, groups, runs, seconds, key in used_up))
    machine, threads = task.tuner.machine.line, task.tuner.task.threads
    return Recording(f"{machine}; {threads} thread(s); rounds of {ROUND}", tuple(tasks))


def replay(
    recording: Recording,
    objective: Make,
    networks: Sequence[str],
    *,
    strategy: str | Strategy,
    seed: int = 0,
    trials: int,
    options: SchedulerOptions | None = None,
    similarity: str = "structure",
    target: float = -math.inf,
    unanswered: set[int] | None = None,
) -> list[tuple[int, float]]:
    """Let a scheduler choose among recorded tasks; (trials, objective) after each round.

    It ends after so many trials or when the objective is at most `target`. unanswered: gets the numbers of the tasks
    that were to go on where their recordings end; they then count as used up, which they are not.
    """
    tasks = [Candidate(task.label, task.flops, task.groups.get(similarity, "")) for task in recording.tasks]
    made = objective(recording.weights(*networks))
    scheduler = TaskScheduler(tasks, made, rng=np.random.default_rng(seed), strategy=strategy, options=options)
    curve: list[tuple[int, float]] = []
    while scheduler.trials < trials and (not curve or curve[-1][1] > target):
        number = scheduler.choose()
        if number is None:
            break
        task, candidate = recording.tasks[number], tasks[number]
        size = min(ROUND, trials - scheduler.trials)
        after = min(candidate.trials + size, len(task.seconds))
        if unanswered is not None and after < candidate.trials + size and not task.used_up:
            unanswered.add(number)
        scheduler.observe(number, task.best_after(after), after - candidate.trials)
        curve.append((scheduler.trials, scheduler.value))
    return curve


def trials_to_reach(curve: Sequence[tuple[int, float]], target: float) -> float:
    """Trials after which the objective is at most `target`; infinite when it never is."""
    return next((trials for trials, value in curve if value <= target), math.inf)
