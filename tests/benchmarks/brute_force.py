"""Evolution against brute force on toys of which every program was measured.

Paper: Ansor §5.1

The tuner's loop (evolution under the learned model, 16 programs a round) searches a landscape of recorded times, with
ten seeds: how often is its best within 2 % of the best of all programs, and after how many trials? Register-aware
sampling alone finds the best of such toys soon, so evolution is also tried with the paper's uniform tiles; beside it
stand random scores and mere sampling. Programs with the same C text are one kernel and one trial.

`--quick` searches the recorded landscapes; a full run measures them first (about 1,000 kernels, some minutes).
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ansor_mini.ablations import FULL, Search, Strategy, strategy
from ansor_mini.annotation import TilePolicy, register_tiles, uniform_tiles
from ansor_mini.evolution import EvolutionOptions, pick
from ansor_mini.learned_model import LearnedModel
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.sketch import Program
from ansor_mini.workloads import parse_workload
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.measure_case import MeasureResult
from tests.benchmarks.command import RESULTS, main
from tests.benchmarks.landscape import Landscape, kernels_of, read_landscapes, toy_sketches, write_landscapes

FILE = RESULTS / "brute-force.jsonl.gz"
TOYS = (("matmul:4,16,64", "SSRS"), ("C2D:6,6,8,16,3,1,0", "SRS"))
SEEDS, ROUND, TOLERANCE = 10, 16, 1.02
SHARE = 0.25  # of all kernels may be measured by a search
AGAIN, PASSES = 0.1, 4  # the best tenth (and failures) are measured again this often: other load only adds time
OPTIONS = EvolutionOptions(population=256)


def measured(workload: str, structure: str) -> Landscape:
    """Measure every kernel of a toy."""
    sketches = toy_sketches(workload, structure)
    kernel, nests = kernels_of(sketches)
    seconds = list(_times(workload, nests, repeats=5))
    for _ in range(PASSES):
        failed = [number for number, cost in enumerate(seconds) if math.isinf(cost)]
        best = [*failed, *np.argsort(seconds)[: max(16, int(AGAIN * len(seconds)))].tolist()]
        for number, again in zip(best, _times(workload, [nests[number] for number in best], repeats=20)):
            seconds[number] = min(seconds[number], again)
    return Landscape(workload, sketches, kernel, tuple(seconds))


def _times(workload: str, nests: Sequence[LoopNest], repeats: int) -> Iterator[float]:
    """The seconds of each kernel, in order."""

    def nothing(number: int, result: MeasureResult) -> None:
        if number % 8 == 0:
            sys.stderr.write(f"\r{workload}: {number + 1} of {len(part)}")

    with (
        ThreadPoolExecutor(1) as builder,
        LocalMeasurer(
            parse_workload(workload), executor=builder, repeats=repeats, min_repeat_seconds=0.001
        ) as measurer,
    ):
        for start in range(0, len(nests), 128):
            part = nests[start : start + 128]
            yield from (result.cost for result in measurer(part, nothing))


@dataclass(frozen=True)
class Variant:
    """A strategy with the policy that draws its random tiles."""

    name: str
    strategy: Strategy
    tiles: TilePolicy


VARIANTS = (
    Variant("full", FULL, register_tiles),
    Variant("full, uniform tiles", FULL, uniform_tiles),
    Variant("random model, uniform tiles", strategy("random-model"), uniform_tiles),
    Variant("no fine-tuning, uniform tiles", strategy("no-fine-tuning"), uniform_tiles),
)


def search(landscape: Landscape, variant: Variant, seed: int) -> list[float]:
    """The best seconds so far after each trial, until it is within the tolerance of the best of all."""
    rng = np.random.default_rng(seed)
    machine = detect()
    model = variant.strategy.model(LearnedModel(rng, machine=machine, warmup=2 * ROUND), rng)
    state = Search(landscape.sketches, model, rng, machine, options=OPTIONS, tiles=variant.tiles)
    known: dict[Program, float] = {}
    kernels: set[int] = set()
    best: list[float] = []
    seen: set[Program] = set()
    while len(best) < int(SHARE * len(landscape.seconds)) and trials_to_reach(best, landscape.best) is None:
        elite = sorted(known, key=known.__getitem__)[: OPTIONS.population // 5]
        state = replace(state, elite=elite, seen=seen)
        ranked = pick(
            variant.strategy.propose(state, 4 * ROUND), state.random_programs(ROUND), 5 * ROUND, OPTIONS.epsilon
        )
        fresh: dict[Program, float] = {}
        for program in ranked:
            number = landscape.kernel.get(program, -1)
            if number in kernels or number < 0 or len(fresh) == ROUND:
                continue
            kernels.add(number)
            fresh[program] = landscape.seconds[number]
            best.append(min(fresh[program], best[-1] if best else math.inf))
        seen.update(ranked if not fresh else fresh)
        known |= fresh
        state.model.update(list(fresh), list(fresh.values()))
    return best


def trials_to_reach(best: Sequence[float], target: float) -> int | None:
    """After how many trials the best was within the tolerance; None when never."""
    return next((trial for trial, seconds in enumerate(best, start=1) if seconds <= TOLERANCE * target), None)


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the table and return the figures."""
    if not quick:
        write_landscapes(FILE, [measured(*toy) for toy in TOYS])
    figures: dict[str, Any] = {}
    for workload, landscape in read_landscapes(FILE).items():
        trials = int(SHARE * len(landscape.seconds))
        figures[workload] = {"programs": len(landscape.kernel), "kernels": len(landscape.seconds), "trials": trials}
        sys.stdout.write(
            f"{workload}: {len(landscape.kernel)} programs, {len(landscape.seconds)} kernels, the best takes "
            f"{1e6 * landscape.best:.3f} us; within 2 % of it in {trials} trials:\n"
        )
        for variant in VARIANTS:
            reached = [trials_to_reach(search(landscape, variant, seed), landscape.best) for seed in range(SEEDS)]
            found = [trial for trial in reached if trial is not None]
            figures[workload][variant.name] = reached
            middle = f", median {statistics.median(found):.0f} trials" if found else ""
            sys.stdout.write(f"    {variant.name:32} {len(found):2} of {SEEDS} seeds{middle}\n")
    return figures


if __name__ == "__main__":
    sys.exit(main("brute_force", benchmark, "Search toys of which every program was measured, and compare."))
