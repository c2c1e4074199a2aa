"""The command that makes a network's graph cheaper and shows how: `optimize`.

It prints what every way of searching comes to, the rules that were applied, and how many tensors changed their layout;
`--out` writes the graph in its layouts as text.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from runtime.command_line import DONE
from runtime.compile_c import cache_directory
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.machine import Machine, detect
from taso_mini.ansor_backend import MeasuredKernels, TunedKernels
from taso_mini.commands import Command
from taso_mini.costs import CostSource, FlopCost, MeasuredCost
from taso_mini.derived_rules import completed
from taso_mini.joint.alternatives import Alternative, bill
from taso_mini.joint.latency_model import LatencyModel
from taso_mini.joint.prices import KernelPrices
from taso_mini.joint.proposals import KnownCosts, fused
from taso_mini.joint.recall import recall
from taso_mini.joint.store import Store
from taso_mini.layouts.joint import JointlyOptimized, optimize_jointly
from taso_mini.load_model import load_model
from taso_mini.optimizer import optimize
from taso_mini.rules_text import SHIPPED_RULES, load_rules


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `optimize`."""
    parser.add_argument("model", help="a built-in network or an ONNX file")
    parser.add_argument("--rules", type=Path, default=SHIPPED_RULES, help="substitutions to use (default: shipped)")
    parser.add_argument("--alpha", type=float, default=1.05, help="how far to climb for a gain (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=200, help="graphs to expand in each block (default: %(default)s)")
    parser.add_argument("--cost", choices=("flops", "measured", "tuned", "known"), default="flops",
                        help="price operators by a formula, by running each under a default schedule, by its best "
                             "tuned program, or by the best that is known of the kernels that begin with it: tuned, "
                             "else predicted, else the default schedule (default: %(default)s)")  # fmt: skip
    parser.add_argument("--cost-file", type=Path, help="where measured prices are kept (default: in the cache)")
    parser.add_argument("--records", type=Path, help="tuned programs, for --cost tuned or known")
    parser.add_argument("--trials", type=int, default=0, help="programs to measure for an operator without records")
    parser.add_argument("--seed", type=int, default=0, help="seed of a built-in network's weights")
    parser.add_argument("--out", type=Path, help="file for the graph as text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


Priced = tuple[CostSource, KernelPrices | None]


@contextmanager
def _prices(arguments: Namespace, graph: Graph) -> Iterator[Priced]:
    """What operators cost, those that the back end fuses at a part of it; and what kernels cost, if that is known."""
    if arguments.cost == "flops":
        yield fused(FlopCost()), None
        return
    tuned, machine = arguments.cost == "tuned", detect()
    if arguments.cost in ("tuned", "known") and arguments.records is None:
        raise ValueError(f"--cost {arguments.cost} needs --records FILE, where the tuned programs are or will be")
    if arguments.cost == "known":
        with _known(arguments, graph, machine) as priced:
            yield priced
        return
    path = arguments.cost_file or cache_directory() / f"layout-costs-{arguments.cost}.jsonl"
    measure = (
        TunedKernels(machine, arguments.records, trials=arguments.trials, channels_last=False)
        if tuned
        else MeasuredKernels(machine, channels_last=False)
    )
    with measure as kernels:
        yield fused(MeasuredCost(kernels, path, f"{machine.line}; 1 thread")), None


@contextmanager
def _known(arguments: Namespace, graph: Graph, machine: Machine) -> Iterator[Priced]:
    """Prices out of the records of the graph's kernels, and of what a model has learned from them."""
    path = arguments.cost_file or cache_directory() / "layout-costs-measured.jsonl"
    with (
        MeasuredKernels(machine, channels_last=False) as kernels,
        Store(None, machine=machine, earlier=[arguments.records]) as store,
    ):
        defaults = MeasuredCost(kernels, path, f"{machine.line}; 1 thread")
        prices = KernelPrices(store, fused(defaults), LatencyModel(machine))
        count = recall(prices, [Alternative("as given", to_channels_last(graph))])
        print(f"{count} kernels of {graph.name} have records", file=sys.stderr)
        yield fused(KnownCosts(prices, defaults)), prices


def run(arguments: Namespace) -> int:
    """Run `optimize`; status 1 when nothing cheaper was found."""
    graph, rules = load_model(arguments.model, seed=arguments.seed), completed(load_rules(arguments.rules))
    search = partial(optimize, alpha=arguments.alpha, budget=arguments.budget)
    with _prices(arguments, graph) as (costs, kernels):
        found = optimize_jointly(graph, rules, costs, search=search)
        known = bill(Alternative("joint", found.graph), kernels) if kernels is not None else None
    if arguments.out is not None:
        arguments.out.write_text(f"{found.graph}\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(_figures(graph.name, found) | ({"kernels": known.by_source} if known else {})))
    else:
        print(found)
        for rule, times in Counter(step.rule for step in found.steps).most_common():
            print(f"{times:5} x {rule}")
        if known is not None:
            print(f"as kernels: {known}")
    if found.costs["joint"] < found.costs["as given"]:
        return DONE
    print(f"nothing cheaper than {graph.name} was found", file=sys.stderr)
    return 1


def _figures(model: str, found: JointlyOptimized) -> dict[str, object]:
    return {
        "version": 1,
        "model": model,
        "seconds": found.costs,
        "rules": dict(Counter(step.rule for step in found.steps)),
        "conversions": len(found.assignment.conversions),
    }


OPTIMIZE = Command(
    "optimize",
    "search for a cheaper equal graph and its data layouts; say what was done",
    "python -m taso_mini optimize bert --out bert.txt",
    add_arguments,
    run,
)
