"""How many trials the search needs, and what each of its parts is worth, out of recorded tuning runs.

Paper: Ansor §7.1, §7.3, §7.4

1. Cases: the share in which 200 trials reach 95 % of the throughput that 1,000 find; the same for five times the
   population and generations, and how these compare with the default trial by trial.
2. Ablations on the last conv2d of ResNet-50 at batch 16, and on the tasks of MobileNet-V2: throughput over trials
   relative to the best of all variants, median over seeds, with the paper's order beside what came out.

Runs come from `results/sample-efficiency-runs.jsonl` (see `record_efficiency`, which a full run calls for an hour at
most). Only runs of one processor are compared with one another. Pictures are saved when matplotlib is there.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from ansor_mini.curve import draw_curves, save_plot
from runtime.compile_c import cache_directory
from tests.benchmarks.command import main
from tests.benchmarks.efficiency_runs import (
    LAST_CONV2D,
    NETWORK,
    RUNS,
    VARIANTS,
    Run,
    head_to_head,
    median_curve,
    of_one_processor,
    read_runs,
    share_within,
)

EARLY, LATE = 200, 1000
PAPER_ORDER = {
    LAST_CONV2D: ("full", "limited-space", "no-fine-tuning", "beam-search"),
    NETWORK: ("full", "no-task-scheduler", "no-fine-tuning", "limited-space"),
}
FULL_RUN_SECONDS = 3600.0


def cases(runs: Sequence[Run]) -> dict[str, Any]:
    """The share of cases that need no more than 200 trials, and what the longest runs allow to be said."""
    single = [run for run in runs if run.case not in PAPER_ORDER]
    longest = max((run.trials for run in single), default=0)
    late = LATE if longest >= LATE else longest
    found: dict[str, Any] = {"reference_trials": late}
    for name in ("full", "five-times-the-search"):
        own = [run for run in single if run.variant == name]
        share = share_within(own, EARLY, late) if late > EARLY else math.nan
        counted = len({(run.case, run.threads) for run in own if run.trials >= late})
        print(f"{name}: {share:.3f} of {counted} cases within 5 % of {late} trials' best after {EARLY}")
        known = None if math.isnan(share) else round(share, 4)
        key = "cases_within_5_percent_at_200"
        found |= {key: known, "cases": counted} if name == "full" else {f"{key}_with_five_times_the_search": known}
    return found


def bought(runs: Sequence[Run]) -> dict[str, Any]:
    """Print what five times the population and generations buy over the default, on the cases that have runs of both.

    Gains are geometric means of the default's best seconds / the larger search's after as many trials. Of the trials
    that the default takes to come within 5 % of its own best, the larger search takes a share, infinite when it never
    comes there; the median counts.
    """
    pairs = head_to_head(runs, "five-times-the-search")
    # A run without a correct program by then has nothing to compare.
    pairs = [pair for pair in pairs if all(math.isfinite(run.best_after(EARLY)) for run in pair)]
    if not pairs:
        print("five times the population and generations: no case has runs of both")
        return {"five_times": {}}
    gains = {}
    for name, limit in (("early", EARLY), ("end", LATE)):
        at = [min(limit, more.trials, full.trials) for more, full in pairs]
        ratios = [full.best_after(n) / more.best_after(n) for n, (more, full) in zip(at, pairs)]
        gains[name] = math.exp(statistics.fmean(map(math.log, ratios)))
    goals = [full.best_after(min(more.trials, full.trials)) / 0.95 for more, full in pairs]
    share = statistics.median(more.trials_to(goal) / full.trials_to(goal) for goal, (more, full) in zip(goals, pairs))
    print(
        f"five times the population and generations, {len(pairs)} pairs of runs: programs {gains['early']:.3f} x as "
        f"fast after {EARLY} trials, {gains['end']:.3f} x in the end; {share:.2f} of the trials to come within 5 % of "
        "the default's best"
    )
    figures = {"pairs": len(pairs), "gain_at_200": round(gains["early"], 4), "gain_at_end": round(gains["end"], 4)}
    return {"five_times": figures | {"share_of_trials": round(share, 4) if math.isfinite(share) else None}}


def ablation(case: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Print the curves of one case's variants; the throughput that each ends with, relative to the best."""
    own = of_one_processor([run for run in runs if run.case == case])
    by_variant = {name: [run for run in own if run.variant == name] for name in VARIANTS}
    by_variant = {name: own for name, own in by_variant.items() if own}
    if not by_variant:
        print(f"\n{case}: no runs recorded")
        return {}
    most = min(run.trials for run in own)
    steps = sorted({max(1, round(most * share)) for share in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)})
    medians = {name: median_curve(own, steps) for name, own in by_variant.items()}
    best = min(curve[-1][1] for curve in medians.values())
    seeds = ", ".join(f"{len(own)} {name}" for name, own in by_variant.items())
    print(f"\n{case}: throughput relative to the best, median over seeds ({seeds})")
    print(f"{'trials':24}" + "".join(f"{at:8}" for at in steps))
    for name, curve in medians.items():
        print(f"{name:24}" + "".join(f"{best / value:8.3f}" for _, value in curve))
    fine = {name: median_curve(own, range(1, most + 1, max(1, most // 200))) for name, own in by_variant.items()}
    fine = {name: [point for point in curve if math.isfinite(point[1])] for name, curve in fine.items()}
    print(draw_curves(fine, most))
    _picture(case, fine, most)
    ends = {name: round(best / curve[-1][1], 4) for name, curve in medians.items()}
    found = [name for name in sorted(ends, key=ends.__getitem__, reverse=True) if name in PAPER_ORDER[case]]
    expected = [name for name in PAPER_ORDER[case] if name in ends]
    print(f"the paper's order: {' > '.join(expected)}; here: {' > '.join(found)}")
    return {"trials": most, "relative_throughput": ends, "order": found, "paper_order": expected}


def _picture(case: str, curves: dict[str, list[tuple[int, float]]], trials: int) -> None:
    path = cache_directory() / f"sample-efficiency-{case.split(':')[0].split(' ')[0]}.png"
    try:
        print(f"picture: {save_plot(path, curves, trials, title=case)}", file=sys.stderr)
    except ImportError:
        return


def sample_efficiency(quick: bool) -> dict[str, Any]:
    """Record what is missing unless quick, and evaluate."""
    if not quick:
        from tests.benchmarks.record_efficiency import record

        record(["conv", "network", "cases"], seeds=1, threads=1, trials=LATE, budget_seconds=FULL_RUN_SECONDS)
    runs = read_runs(RUNS)
    names = {LAST_CONV2D: "last_conv2d", NETWORK: NETWORK}
    return cases(runs) | bought(runs) | {name: ablation(case, runs) for case, name in names.items()}


if __name__ == "__main__":
    sys.exit(main("sample_efficiency", sample_efficiency, __doc__ or ""))
