"""Tuning runs by how fast they got better: variants of the search, the runs' curves, and where they are kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ansor_mini.ablations import STRATEGIES, by_evolution
from ansor_mini.annotation import uniform_tiles
from ansor_mini.curve import value_at
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.task import SearchOptions
from tests.benchmarks.command import RESULTS
from tests.benchmarks.operator_cases import processor

RUNS = RESULTS / "sample-efficiency-runs.jsonl"
LAST_CONV2D = "C2D:7,7,512,512,3,1,1 batch 16"  # of ResNet-50
NETWORK = "mobilenet_v2"


@dataclass(frozen=True)
class Run:
    """One tuning run: what was tuned and how, and its improvements as (trials, best seconds so far)."""

    case: str
    variant: str
    seed: int
    threads: int
    trials: int
    curve: tuple[tuple[int, float], ...]
    machine: str = ""

    def best_after(self, trials: int) -> float:
        """Best seconds after so many trials; infinite before the first correct program."""
        return value_at(self.curve, trials)

    def trials_to(self, seconds: float) -> float:
        """Trials until the best was as good as that; infinite when it never was."""
        return next((at for at, value in self.curve if value <= seconds), math.inf)


@dataclass(frozen=True)
class Variant:
    """A way to search: its options, and how trials are shared out between tasks."""

    options: SearchOptions
    scheduling: str = "gradient"


def _variants() -> dict[str, Variant]:
    """Every named strategy, five times the default population and generations, and no task scheduler."""
    default, sizes = SearchOptions(), EvolutionOptions()
    found = {}
    for strategy in STRATEGIES:
        # Mutations of the best measured programs are fine-tuning too: only evolution may have them.
        local = default.local if strategy.propose is by_evolution else 0.0
        found[strategy.name] = Variant(replace(default, strategy=strategy, local=local))
    # The paper's search: tiles drawn uniformly, and no mutations of the best but in evolution.
    found["as-published"] = Variant(replace(found["trees-alone"].options, tiles=uniform_tiles, local=0.0))
    larger = replace(sizes, population=5 * sizes.population, generations=5 * sizes.generations)
    found["five-times-the-search"] = Variant(replace(default, evolution=larger))
    return found | {"no-task-scheduler": Variant(default, scheduling="round-robin")}


VARIANTS = _variants()


def append_run(path: Path, run: Run) -> None:
    """Add a finished run to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def read_runs(path: Path) -> list[Run]:
    """All runs of a file; none when it does not exist.  Raises: ValueError: it holds something else."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Run(**{**line, "curve": tuple((at, value) for at, value in line["curve"])}) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no tuning runs: {error}") from None


def of_one_processor(runs: Iterable[Run]) -> list[Run]:
    """Runs of one case that can be compared: of the processor that has most, the longest of each variant and seed."""
    longest = {(processor(r.machine), r.variant, r.seed): r for r in sorted(runs, key=lambda run: run.trials)}
    most = Counter(name for name, _, _ in longest).most_common(1)
    return [run for (name, _, _), run in longest.items() if name == most[0][0]]


def share_within(runs: Iterable[Run], early: int = 200, late: int = 1000, within: float = 0.05) -> float:
    """The share of cases whose best after `early` trials is within 5 % of the throughput after `late`; mean over seeds.

    Runs of fewer than `late` trials do not count; without any, the share is NaN.

    >>> runs = [Run("a", "full", 0, 1, 1000, ((1, 2.0), (150, 1.04), (900, 1.0)))]
    >>> runs += [Run("b", "full", seed, 1, 1000, ((1, 2.0), (150 + 100 * seed, 1.0))) for seed in (0, 1)]
    >>> share_within(runs)
    0.75
    """
    reached: dict[tuple[str, int], list[bool]] = {}
    for run in runs:
        if run.trials >= late:
            good = run.best_after(early) * (1 - within) <= run.best_after(late)
            reached.setdefault((run.case, run.threads), []).append(good)
    return float(np.mean([np.mean(seeds) for seeds in reached.values()])) if reached else math.nan


def head_to_head(runs: Iterable[Run], variant: str, against: str = "full") -> list[tuple[Run, Run]]:
    """Each run of a variant with one of another variant, of the same case, threads, seed and processor.

    Of several runs the longest counts.
    """
    found: dict[str, dict[tuple[str, int, int, str], Run]] = {variant: {}, against: {}}
    for run in sorted(runs, key=lambda run: run.trials):
        if run.variant in found:
            found[run.variant][run.case, run.threads, run.seed, processor(run.machine)] = run
    return [(run, found[against][key]) for key, run in found[variant].items() if key in found[against]]


def median_curve(runs: Sequence[Run], trials: Sequence[int]) -> list[tuple[int, float]]:
    """The median over seeds of the best after each of `trials`."""
    return [(at, float(np.median([run.best_after(at) for run in runs]))) for at in trials]
