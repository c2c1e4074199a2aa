"""Seven networks before and after the joint search of substitutions and layouts: costs, latencies, search time.

All run in the same back end on one thread: our kernels under default schedules, element-wise operators fused. Three
graphs of each network are compiled and timed in turns: as given, in its best layouts without substitutions, and after
the joint search; each must compute what NumPy computes for the graph as given. Costs are sums of operator prices, each
measured once. A full run measures the prices and writes `results/optimize-costs.jsonl`, going on where an interrupted
one stopped; `--quick` takes them from there, and times the networks that take least.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ansor_mini.network import default_network
from runtime.compile_c import cache_directory
from runtime.executor import CompiledNetwork, build
from runtime.graph import Graph
from runtime.machine import detect
from runtime.timing import interleaved
from taso_mini.ansor_backend import FUSED_SHARES, MeasuredKernels
from taso_mini.compile_model import TOLERANCE, relative_error
from taso_mini.costs import CostSource, MeasuredCost, Shares, Views
from taso_mini.derived_rules import completed
from taso_mini.layouts.joint import AS_GIVEN, JOINT, LAYOUTS, VARIANTS, JointlyOptimized, optimize_jointly
from taso_mini.layouts.realize import realize
from taso_mini.load_model import sample_inputs
from taso_mini.models import MODELS
from taso_mini.optimizer import Optimized, optimize
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution
from tests.benchmarks.command import RESULTS, main

NETWORKS = ("squeezenet", "resnet50", "resnext50", "nasnet_a", "nasrnn", "bert", "inception_v3")
QUICK = ("squeezenet", "nasrnn")  # networks that `--quick` compiles and times
ALPHA = 1.05
PRICES = RESULTS / "optimize-costs.jsonl"
ROUNDS = 7
Result = TypeVar("Result")
TIMED = (AS_GIVEN, LAYOUTS, JOINT)


@dataclass(frozen=True, eq=False)
class Searched:
    """A network, and what the joint search made of it: greedily, and at best, which is with `ALPHA` as a rule.

    seconds: CPU time of one search under prices that are known.  joint_seconds: of all that a joint search consists of,
        with the variants it is compared with.
    """

    graph: Graph
    greedy: JointlyOptimized
    found: JointlyOptimized
    seconds: float
    joint_seconds: float


@contextmanager
def prices(quick: bool) -> Iterator[MeasuredCost]:
    """Operator prices: recorded ones, or measured ones that are recorded when all is done."""
    if quick:
        with PRICES.open(encoding="utf-8") as file:
            machine = json.loads(file.readline())["machine"]
        yield MeasuredCost(lambda node, types: None, PRICES, machine)
        return
    unfinished = cache_directory() / PRICES.name
    with MeasuredKernels(detect(), 1, channels_last=False) as kernels:
        yield MeasuredCost(kernels, unfinished, detect().line)
    shutil.copy(unfinished, PRICES)
    unfinished.unlink()


def backend(costs: CostSource) -> CostSource:
    """What the back end makes of single kernels: it fuses some into others, and reads whole pieces in place."""
    return Views(Shares(costs, FUSED_SHARES))


def search(name: str, costs: CostSource, *, known: bool = False) -> Searched:
    """Optimise a network by the clock; before that to ask for all prices, unless they are known."""
    graph, rules = MODELS[name](np.random.default_rng(0)), completed(load_rules())
    greedy = optimize_jointly(graph, rules, costs, search=partial(optimize, alpha=1.0, restarts=0), rounds=0)
    clock: list[float] = []

    def thorough(graph: Graph, rules: Sequence[Substitution], costs: CostSource) -> Optimized:
        seconds, result = clocked(lambda: optimize(graph, rules, costs, alpha=ALPHA))
        clock.append(seconds)
        return result

    if not known:
        optimize_jointly(graph, rules, costs, search=thorough, rounds=1)
        clock.clear()
    joint_seconds, found = clocked(lambda: optimize_jointly(graph, rules, costs, search=thorough, rounds=1))
    seconds = clock[1]  # the first search is in plain layouts, this one in any
    best = min(found, greedy, key=lambda result: result.costs[JOINT])
    return Searched(graph, greedy, best, seconds, joint_seconds)


def clocked(job: Callable[[], Result]) -> tuple[float, Result]:
    """CPU seconds of a job, and its result."""
    gc.collect()
    start = time.process_time()
    result = job()
    return time.process_time() - start, result


def compiled(graph: Graph, folder: Path) -> CompiledNetwork:
    """The graph under default schedules."""
    return build(default_network(graph, detect(), 1), folder, threads=1)


def latencies(graph: Graph, found: JointlyOptimized, names: tuple[str, ...]) -> tuple[dict[str, float], float]:
    """Seconds per inference of some variants, taken in turns, and the largest relative error of any."""
    feeds = sample_inputs(graph, 0)
    reference = graph.evaluate(feeds)
    with tempfile.TemporaryDirectory() as folder:
        networks = {name: compiled(realize(found.variants[name]), Path(folder) / name) for name in names}
        error = max(relative_error(network.run(**feeds), reference) for network in networks.values())
        if not error <= TOLERANCE:
            raise ValueError(f"{graph.name}: an optimised graph differs from the original by {error:.1e}")
        seconds = interleaved({name: network.bind(feeds) for name, network in networks.items()}, rounds=ROUNDS)
    return seconds, error


def figures(searched: Searched, measured: Mapping[str, float], error: float | None) -> dict[str, Any]:
    """What is reported of one network; times in milliseconds but for the search."""
    costs = searched.found.costs
    result: dict[str, Any] = {
        "cost_before": costs[AS_GIVEN],
        "cost_layouts": costs[LAYOUTS],
        "cost_greedy": searched.greedy.costs[JOINT],
        "cost_after": costs[JOINT],
    }
    for name, label in zip(TIMED, ("measured_before", "measured_layouts", "measured_after"), strict=True):
        result[label] = measured.get(name)
    result = {name: None if value is None else round(value * 1e3, 4) for name, value in result.items()}
    rewrites = len(searched.found.steps)
    seconds = {"search_seconds": round(searched.seconds, 3), "joint_seconds": round(searched.joint_seconds, 3)}
    return {**result, **seconds, "rewrites": rewrites, "error": error}


def row(name: str, found: Mapping[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{found[key]:10.3f}" if found[key] is not None else f"{'-':>10}" for key in COLUMNS]
    return f"{name:14}{''.join(cells)}"


COLUMNS = ("cost_before", "cost_layouts", "cost_greedy", "cost_after")
COLUMNS += ("measured_before", "measured_layouts", "measured_after", "search_seconds", "joint_seconds")


def one_network(name: str, costs: CostSource, *, known: bool, timed: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of a network, and those of all ways of searching it."""
    searched = search(name, costs, known=known)
    names = VARIANTS if name == "bert" else TIMED
    measured, error = latencies(searched.graph, searched.found, names) if timed else ({}, None)
    variants = {
        variant.replace(" ", "_"): {
            "cost": round(searched.found.costs[variant] * 1e3, 4),
            "measured": round(measured[variant] * 1e3, 4) if variant in measured else None,
        }
        for variant in VARIANTS
    }
    return figures(searched, measured, error), variants


def report_bert(variants: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print what each way of searching makes of BERT.  Paper: TASO Fig. 12."""
    print(f"\nBERT, ms      {'cost':>10}{'measured':>10}{'of joint':>10}")
    joint = variants[JOINT]["cost"]
    for name, found in variants.items():
        cost, measured = found["cost"], found["measured"]
        assert cost is not None and joint is not None
        print(f"{name:14}{cost:10.3f}{measured or 0:10.3f}{cost / joint:10.3f}")


def run(quick: bool) -> dict[str, Any]:
    """All networks, the quickest searches and timings first to print."""
    heads = ("before", "layouts", "greedy", f"a={ALPHA}", "before", "layouts", "after", "search s", "joint s")
    print(f"{'':14}{'cost, ms':>10}{'':30}{'measured, ms':>12}")
    print(f"{'':14}{''.join(f'{head:>10}' for head in heads)}", flush=True)
    models, bert_joint = {}, {}
    with prices(quick) as source:
        for name in NETWORKS:
            timed = not quick or name in QUICK
            models[name], variants = one_network(name, backend(source), known=quick, timed=timed)
            print(row(name, models[name]), flush=True)
            bert_joint = variants if name == "bert" else bert_joint
        missing = source.failed
    report_bert(bert_joint)
    if missing:
        print(f"{missing} prices were estimated: they have not been recorded, or their kernels fail")
    return {"unit": "ms", "models": models, "bert_joint": bert_joint, "prices_estimated": missing}


if __name__ == "__main__":
    sys.exit(main("optimize", run, __doc__ or ""))
