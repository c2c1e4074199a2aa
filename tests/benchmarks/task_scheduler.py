"""How many trials the gradient saves: recorded tuning curves of two networks' tasks, replayed under every strategy.

Paper: Ansor §6, §7.3

Every task is searched from nothing as in the paper (uniform tiles, the learned model alone), in rounds of eight. What
round robin has when every task had `EACH` programs is the target. `trials_share` is the number of trials that the
gradient needs to reach it over round robin's, the mean over seeds of its ε, for the worst of: each network alone (f1),
both together (f1), both by their geometric mean (f3). Tasks are recorded as far as a strategy asks for them on its way
to the target; where the seconds do not suffice, a task counts as exhausted where its recording ends, and the figure has
a star. Uniform choice is not waited for.

`--quick` replays `results/task-scheduler-curves.jsonl`; a full run first goes on with the recording, for `--minutes`
at most, and writes that file.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Collection, Mapping, Sequence
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
from ansor_mini.task_scheduler import SchedulerOptions
from runtime.command_line import Parser
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
EACH, MORE = 128, 64  # programs that round robin measures of every task; by how many a recording grows when asked for
SHORTER = (16, 32, 64)  # for a look at smaller budgets
MINUTES, SEEDS = 20.0, 5
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


def record_networks(minutes: float = MINUTES) -> Recording:
    """Tune all tasks of the networks as far as the strategies ask, going on from earlier recordings; one thread."""
    networks: list[Part] = []
    for name in NETWORKS:
        graph = to_channels_last(MODELS[name](np.random.default_rng(0)))
        networks.append((partition(graph), frozenset(graph.weights)))
    path, deadline = cache_directory() / "task-scheduler-published-search.jsonl", time.monotonic() + 60 * minutes
    with (
        RecordFile(path) as sink,
        NetworkTuner(
            networks[0][0],
            weights=networks[0][1],
            others=networks[1:],
            machine=detect(),
            threads=1,
            records=sink,
            resume=read_records(path) if path.exists() else [],
            scheduling=Scheduling(default_first=False, share_model=False),
            options=published_search(),
        ) as tuner,
    ):
        wanted, used_up = dict.fromkeys(tuner.tasks, EACH), set[str]()
        while True:
            grow(tuner, wanted, used_up, deadline)
            recording = recording_of(tuner, NETWORKS, dict(SIMILARITIES), used_up)
            write_recording(CURVES, recording)
            asked = unanswered(recording)
            wanted = {key: len(recording.tasks[n].seconds) + MORE for n, key in enumerate(tuner.tasks) if n in asked}
            print(f"{tuner.trials} programs; {len(wanted)} tasks are asked for more", flush=True)
            if not wanted or time.monotonic() >= deadline:
                return recording


def grow(tuner: NetworkTuner, wanted: Mapping[str, int], used_up: set[str], deadline: float) -> None:
    """Search in turns until every task has so many programs, is used up, or it is too late."""
    dry = dict.fromkeys(wanted, 0)
    short = list(wanted)
    while short and time.monotonic() < deadline:
        for key in short:
            dry[key] = 0 if tuner.tasks[key].tuner.round(ROUND) else dry[key] + 1
            if dry[key] >= SchedulerOptions().dry:
                used_up.add(key)
        short = [key for key in short if key not in used_up and len(tuner.tasks[key].tuner.measured) < wanted[key]]


def objectives(recording: Recording) -> dict[str, tuple[Recording, tuple[str, ...], Make]]:
    """What is tuned for what; references of f3: the networks' latencies after their tasks' first rounds."""
    names = NETWORKS
    first = np.array([task.best_after(ROUND) for task in recording.tasks])
    speedup = partial(GeometricMeanSpeedup, references=tuple(recording.weights(*names) @ first))
    alone = {f"{name} f1": (recording.of(name), (name,), TotalLatency) for name in names}
    return {**alone, "both f1": (recording, names, TotalLatency), "both f3": (recording, names, speedup)}


@dataclass(frozen=True)
class Compared:
    """For each variant the trials it needs to reach round robin's final objective, over round robin's.

    cut: the variants that came to the end of a task's recording on the way. unanswered: those tasks' numbers, but for
    uniform choice.
    """

    shares: Mapping[str, float]
    cut: Collection[str]
    unanswered: Collection[int]


def compare(
    recording: Recording, networks: Sequence[str], make: Make, budget: int, variants: Collection[str] = tuple(VARIANTS)
) -> Compared:
    """Replay variants; round robin has so many programs of every task."""

    def run(
        variant: Variant, seed: int, ends: set[int], *, trials: int, target: float = -math.inf
    ) -> list[tuple[int, float]]:
        return replay(
            recording, make, networks, strategy=variant.strategy, seed=seed, trials=trials,
            options=SchedulerOptions(epsilon=variant.epsilon), similarity=variant.similarity,
            target=target, unanswered=ends,
        )  # fmt: skip

    reference = run(VARIANTS["round-robin"], 0, set(), trials=budget * len(recording.tasks))
    trials, target = reference[-1]  # fewer trials than asked for where tasks are used up
    everything = sum(len(task.seconds) for task in recording.tasks)
    shares, unanswered, cut = dict[str, float](), set[int](), set[str]()
    for name in variants:
        variant, ends = VARIANTS[name], set[int]()
        seeds = range(SEEDS if variant.epsilon or variant.strategy == "uniform" else 1)
        curves = [run(variant, seed, ends, trials=everything, target=target) for seed in seeds]
        shares[name] = float(np.mean([trials_to_reach(curve, target) for curve in curves])) / trials
        if ends:
            cut.add(name)
        if variant.strategy != "uniform":
            unanswered |= ends
    return Compared(shares, cut, unanswered)


def unanswered(recording: Recording) -> set[int]:
    """Numbers of the tasks of which the strategies want more programs than are recorded."""
    short: set[int] = set()
    for part, networks, make in objectives(recording).values():
        found = compare(part, networks, make, EACH).unanswered
        short |= {recording.tasks.index(part.tasks[number]) for number in found}
    return short


def show(recording: Recording, found: Mapping[str, Compared], budget: int) -> None:
    """The table, and the curves of both networks together."""
    used_up = sum(task.used_up for task in recording.tasks)
    print(f"{recording.about}: {len(recording.tasks)} tasks, {used_up} of them used up")
    print(f"trials to reach what round robin has after {budget} per task, over round robin's")
    print(f"{'':30}" + "".join(f"{name:>17}" for name in found))
    for variant in VARIANTS:
        cells = (f"{column.shares[variant]:16.3f}{'*' if variant in column.cut else ' '}" for column in found.values())
        print(f"{variant:30}" + "".join(cells))
    for shorter in (number for number in SHORTER if number < budget):
        short = [compare(*what, shorter, ["gradient"]).shares["gradient"] for what in objectives(recording).values()]
        print(f"{f'gradient, {shorter} per task':30}" + "".join(f"{share:16.3f} " for share in short))
    if any(column.cut for column in found.values()):
        print("* a task was to go on where its recording ends, and counted as exhausted")
    most = budget * len(recording.tasks)
    curves = {
        name: [
            point
            for point in replay(recording, TotalLatency, NETWORKS, strategy=name, trials=most)
            if math.isfinite(point[1])
        ]
        for name in ("gradient", "round-robin")
    }
    print("\nboth networks, total latency over trials\n" + draw_curves(curves, most))


def add_arguments(parser: Parser) -> None:
    """Declare how long to record."""
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of recording, at most")


def task_scheduler(quick: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Record unless quick, replay, compare."""
    recording = read_recording(CURVES) if quick else record_networks(options.minutes)
    budget = min(EACH, recording.common // ROUND * ROUND)
    if budget < 2 * ROUND:
        found = f"{CURVES} has {recording.common} programs of most tasks"
        raise ValueError(f"{found}, too few to compare schedules; run again without --quick to go on recording")
    compared = {name: compare(*what, budget) for name, what in objectives(recording).items()}
    show(recording, compared, budget)
    shares = {name: column.shares["gradient"] for name, column in compared.items()}
    return {
        "trials_share": round(max(shares.values()), 4),
        **{f"trials_share_{name.replace(' ', '_')}": round(value, 4) for name, value in shares.items()},
        "round_robin_trials_per_task": budget,
        "tasks": len(recording.tasks),
        "recordings_cut": sum("gradient" in column.cut for column in compared.values()),
    }


if __name__ == "__main__":
    sys.exit(main("task_scheduler", task_scheduler, __doc__ or "", add_arguments))
