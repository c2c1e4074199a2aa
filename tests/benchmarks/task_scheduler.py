"""How many trials the gradient saves: recorded tuning curves of two networks' tasks, replayed under every strategy.

Paper: Ansor §6, §7.3

Every task was searched from nothing as in the paper (uniform tiles, the learned model alone), in rounds of eight.
Round robin measures half as many programs of every task as were recorded of all but the tenth with the fewest; its
final objective is the target. A strategy may go on with the tasks that matter up to twice as far, with the dearest
further; a task whose recording ends counts as exhausted. `trials_share` is the number of trials that the gradient needs
to reach the target over round robin's, the mean over seeds of its ε, for the worst of: each network alone (f1), both
together (f1), both by their geometric mean (f3).

`--quick` replays `results/task-scheduler-curves.jsonl`; a full run first goes on with the recording, for 20 minutes
at most, and writes that file.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ansor_mini.ablations import FULL
from ansor_mini.annotation import uniform_tiles
from ansor_mini.cost_model import CostModel
from ansor_mini.curve import draw_curves
from ansor_mini.learned_model import LearnedModel
from ansor_mini.network_task import Part
from ansor_mini.network_tuner import ROUND, NetworkTuner, Scheduling
from ansor_mini.objectives import GeometricMeanSpeedup, Make, TotalLatency
from ansor_mini.partition import partition
from ansor_mini.records import RecordFile, read_records
from ansor_mini.similarity import SIMILARITIES
from ansor_mini.task import SearchOptions
from ansor_mini.task_scheduler import STRATEGIES, SchedulerOptions
from runtime.compile_c import cache_directory
from runtime.layout import to_channels_last
from runtime.machine import detect
from taso_mini.models import MODELS
from tests.benchmarks.command import RESULTS, main
from tests.benchmarks.tuning_curves import (
    Recording,
    read_recording,
    recording_of,
    replay,
    trials_to_reach,
    write_recording,
)

NETWORKS = ("squeezenet", "mobilenet_v2")
CURVES = RESULTS / "task-scheduler-curves.jsonl"
EACH, ALL = 80, 5000  # programs recorded of every task in turn, and then of all tasks, chosen by the gradient
BUDGET_SECONDS, SEEDS = 1200.0, 10
WARM_UP = 2 * ROUND  # programs of a task before its model says anything


@dataclass(frozen=True)
class Variant:
    """One way to choose tasks."""

    strategy: str
    similarity: str = "structure"
    epsilon: float = 0.05


VARIANTS: Mapping[str, Variant] = {
    "round-robin": Variant("round-robin", epsilon=0.0),
    "gradient": Variant("gradient"),
    "gradient, no epsilon": Variant("gradient", epsilon=0.0),
    "gradient, groups of one size": Variant("gradient", "structure-and-size"),
    "gradient, no groups": Variant("gradient", "none"),
    "optimistic": Variant("optimistic"),
    "uniform": Variant("uniform"),
}


def published_search() -> SearchOptions:
    """The paper's search; each task has a model of its own, so that it does not matter when its turns come."""

    def model(_: CostModel, rng: np.random.Generator) -> CostModel:
        return LearnedModel(rng, labels="throughput", warmup=WARM_UP)

    return SearchOptions(strategy=replace(FULL, model=model), tiles=uniform_tiles, local=0.0)


def record_networks(budget_seconds: float = BUDGET_SECONDS) -> Recording:
    """Tune all tasks of the networks, going on from earlier recordings; one thread."""
    networks: list[Part] = []
    for name in NETWORKS:
        graph = to_channels_last(MODELS[name](np.random.default_rng(0)))
        networks.append((partition(graph), frozenset(graph.weights)))
    path = cache_directory() / "task-scheduler-published-search.jsonl"
    scheduling = Scheduling(
        strategy="round-robin", options=SchedulerOptions(epsilon=0.0), default_first=False, share_model=False
    )
    earlier = read_records(path) if path.exists() else []
    with (
        RecordFile(path) as sink,
        NetworkTuner(
            networks[0][0],
            weights=networks[0][1],
            others=networks[1:],
            machine=detect(),
            threads=1,
            records=sink,
            resume=earlier,
            scheduling=scheduling,
            options=published_search(),
        ) as tuner,
    ):
        deadline = time.monotonic() + budget_seconds
        if tuner.run(trials=EACH * len(tuner.tasks), budget_seconds=budget_seconds) == "trials":
            tuner.scheduler.strategy = STRATEGIES["gradient"]
            tuner.run(trials=ALL, budget_seconds=deadline - time.monotonic())
        recording = recording_of(tuner, NETWORKS, dict(SIMILARITIES))
    write_recording(CURVES, recording)
    return recording


def objectives(recording: Recording) -> dict[str, tuple[Recording, tuple[str, ...], Make]]:
    """What is tuned for what; references of f3: the networks' latencies after their tasks' first rounds."""
    names = NETWORKS
    first = np.array([task.best_after(ROUND) for task in recording.tasks])
    speedup = partial(GeometricMeanSpeedup, references=tuple(recording.weights(*names) @ first))
    alone = {f"{name} f1": (recording.of(name), (name,), TotalLatency) for name in names}
    return {**alone, "both f1": (recording, names, TotalLatency), "both f3": (recording, names, speedup)}


def compare(recording: Recording, networks: Sequence[str], make: Make, budget: int) -> dict[str, float]:
    """For each variant the trials it needs to reach round robin's final objective, over round robin's."""
    trials = budget * len(recording.tasks)

    def run(variant: Variant, seed: int, most: int, target: float = -math.inf) -> list[tuple[int, float]]:
        return replay(
            recording,
            make,
            networks,
            strategy=variant.strategy,
            seed=seed,
            trials=most,
            options=SchedulerOptions(epsilon=variant.epsilon),
            similarity=variant.similarity,
            target=target,
        )

    reference = run(VARIANTS["round-robin"], 0, trials)
    target, trials = reference[-1][1], reference[-1][0]  # fewer than asked for where tasks are exhausted
    everything = sum(len(task.seconds) for task in recording.tasks)
    shares = {}
    for name, variant in VARIANTS.items():
        seeds = range(SEEDS if variant.epsilon or variant.strategy == "uniform" else 1)
        needed = [trials_to_reach(run(variant, seed, everything, target), target) for seed in seeds]
        shares[name] = float(np.mean(needed)) / trials
    return shares


def show(recording: Recording, shares: Mapping[str, Mapping[str, float]], budget: int) -> None:
    """The table, and the curves of both networks together."""
    print(f"{recording.about}: {len(recording.tasks)} tasks, of most {recording.common} programs or more")
    print(f"trials to reach what round robin has after {budget} per task, over round robin's")
    print(f"{'':30}" + "".join(f"{name:>17}" for name in shares))
    for variant in VARIANTS:
        print(f"{variant:30}" + "".join(f"{column[variant]:17.3f}" for column in shares.values()))
    most = 2 * budget * len(recording.tasks)
    curves = {
        name: [
            point
            for point in replay(recording, TotalLatency, NETWORKS, strategy=name, trials=most)
            if math.isfinite(point[1])
        ]
        for name in ("gradient", "round-robin")
    }
    print("\nboth networks, total latency over trials\n" + draw_curves(curves, most))


def task_scheduler(quick: bool) -> dict[str, Any]:
    """Record unless quick, replay, compare."""
    recording = read_recording(CURVES) if quick else record_networks()
    budget = recording.common // 2 // ROUND * ROUND
    if budget < 2 * ROUND:
        found = f"{CURVES} has {recording.common} programs of most tasks"
        raise ValueError(f"{found}, too few to compare schedules; run again without --quick to go on recording")
    shares = {name: compare(*what, budget) for name, what in objectives(recording).items()}
    show(recording, shares, budget)
    figures = {f"trials_share_{name.replace(' ', '_')}": column["gradient"] for name, column in shares.items()}
    return {
        "trials_share": round(max(figures.values()), 4),
        **{name: round(value, 4) for name, value in figures.items()},
        "round_robin_trials_per_task": budget,
        "tasks": len(recording.tasks),
    }


if __name__ == "__main__":
    sys.exit(main("task_scheduler", task_scheduler, __doc__ or ""))
