"""How well the GPU model ranks programs: published kernels, the same on another GPU, and what was measured here.

Three sets, of which only the first was looked at when the model was made:

1. fitted: the seven matrix products of `sgemm_ladder` on an H100. `BLEND` and the rules for requests were chosen with
   these seven numbers in view.
2. held out: the same kernels and an eighth (the autotuned one) on an RTX A6000; nothing was fitted to it.
3. measured: rows of `python -m tests.gpu.run --out FILE`, when a file is given; nothing was fitted to them.

A model's numbers are called predictions. Rank correlation is Spearman's; the mean factor is the geometric mean of how
far off a prediction is, either way.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.command_line import Parser
from runtime.gpu import gpu
from runtime.gpu_model.prediction import BLEND, LAUNCH, norm, predict
from runtime.loop_nest import LoopNest
from tests.benchmarks.command import main
from tests.benchmarks.sgemm_ladder import LADDER, PUBLISHED, SIZE, register_tile

FLOPS = 2.0 * SIZE**3
AUTOTUNED = ("autotuned", 19.721)  # 128 x 128 x 16 blocks of 8 x 8, published for the A6000 only
OTHER_BLENDS = (1.0, 1.5, 2.0, 3.0, math.inf)


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value, 1 for the smallest; equal values share the mean of their ranks.

    >>> ranks([3.0, 1.0, 3.0])
    [2.5, 1.0, 2.5]
    """
    ordered = sorted(values)
    return [statistics.fmean(i + 1 for i, other in enumerate(ordered) if other == value) for value in values]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    return round(statistics.correlation(ranks(a), ranks(b)), 4)


def mean_factor(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """How far off predictions are, either way, in the geometric mean.

    >>> mean_factor([2.0, 1.0], [1.0, 2.0])
    2.0
    """
    return round(math.exp(statistics.mean(abs(math.log(p / a)) for p, a in zip(predicted, actual, strict=True))), 3)


def figures_of(predicted: Sequence[float], actual: Sequence[float]) -> dict[str, Any]:
    """What is stated about a set of programs."""
    found: dict[str, Any] = {"programs": len(actual)}
    if len(actual) > 1:
        found |= {"spearman": spearman(predicted, actual), "mean_factor": mean_factor(predicted, actual)}
    return found


def published(name: str) -> dict[str, float]:
    """TFLOPS of the published kernels on a GPU."""
    return {kernel: rates[name] for kernel, rates in PUBLISHED.items()}


def compared(name: str, rates: Mapping[str, float], kernels: Mapping[str, Callable[[], LoopNest]]) -> dict[str, Any]:
    """Predict the kernels on a GPU, print them beside the published rates, and return the figures."""
    device = gpu(name)
    found = {kernel: predict(kernels[kernel](), device) for kernel in rates}
    teraflops = {kernel: FLOPS / one.seconds / 1e12 for kernel, one in found.items()}
    sys.stdout.write(f"{device.name}, {SIZE} x {SIZE} x {SIZE}, TFLOPS\n")
    sys.stdout.write(f"  {'kernel':22} {'model':>7} {'published':>9} {'ratio':>6}  busiest unit\n")
    for kernel, rate in rates.items():
        own = teraflops[kernel]
        sys.stdout.write(f"  {kernel:22} {own:7.2f} {rate:9.2f} {own / rate:6.2f}  {found[kernel].limit}\n")
    for blend in OTHER_BLENDS:
        blended = [FLOPS / (LAUNCH + norm(one.limits.values(), blend)) / 1e12 for one in found.values()]
        figures = figures_of(blended, list(rates.values()))
        chosen = "  <- the model's" if blend == BLEND else ""
        sys.stdout.write(f"  p = {blend:<4} {json.dumps(figures)}{chosen}\n")
    figures = figures_of(list(teraflops.values()), list(rates.values()))
    alone = [FLOPS / one.limits["fma"] for one in found.values()]
    return figures | {"spearman_of_multiply_adds_alone": spearman(alone, list(rates.values()))}


def measured(path: Path) -> dict[str, Any]:
    """Figures of the rows that a GPU has measured and the model has predicted."""
    report = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in report["rows"] if row["seconds"] and "predicted seconds" in row["facts"]]
    pairs = [(row["facts"]["predicted seconds"], statistics.median(row["seconds"]), row) for row in rows]
    sys.stdout.write(f"{path}: microseconds\n  {'program':40} {'model':>10} {'measured':>10} {'ratio':>6}\n")
    for predicted, actual, row in pairs:
        label = f"{row['section']}: {row['name']}"
        sys.stdout.write(f"  {label:40} {predicted * 1e6:10.1f} {actual * 1e6:10.1f} {predicted / actual:6.2f}\n")
    return figures_of([p for p, _, _ in pairs], [a for _, a, _ in pairs])


def add_arguments(parser: Parser) -> None:
    """Declare --measured."""
    parser.add_argument("--measured", type=Path, metavar="FILE", help="results of python -m tests.gpu.run")


def benchmark(quick: bool, options: Any) -> dict[str, Any]:
    """Print the predictions beside the published and measured numbers."""
    held_out = {**published("a6000"), AUTOTUNED[0]: AUTOTUNED[1]}
    kernels = {**LADDER, AUTOTUNED[0]: lambda: register_tile(depth=16, transposed=True)}
    return {
        "blend": BLEND,
        "fitted": compared("h100", published("h100"), LADDER),
        "held_out": compared("a6000", held_out, kernels),
        "measured": measured(options.measured) if options.measured else None,
    }


if __name__ == "__main__":
    sys.exit(main("gpu_model", benchmark, __doc__.splitlines()[0], add_arguments))
