"""The graph search by itself, without measuring operators: speed, memory and what it finds on the paper's networks.

Paper: TASO §5, §7

Prices come from a formula (`rewrites.CORE`). Speed: graphs expanded per second by Algorithm 2 on the whole graph, every
rule tried everywhere. Search: as `optimize` does it, greedily and with alpha = 1.05, and with both ways of cutting a
graph into blocks. Seconds are CPU seconds of one core. Memory is the most that Python has allocated at a time during a
search of its own, the graph itself left out.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from runtime.graph import Graph
from taso_mini.best_first import Queue
from taso_mini.blocks import CUTS, Cut, by_matches, whole
from taso_mini.collector import paused
from taso_mini.derived_rules import completed
from taso_mini.descent import Candidate
from taso_mini.matching import Matcher
from taso_mini.models import MODELS, PAPER_MODELS
from taso_mini.models.bert import bert
from taso_mini.optimizer import Effort, Optimized, search
from taso_mini.rules_text import load_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.terms import Substitution
from tests.benchmarks.command import main
from tests.benchmarks.rewrites import CORE

EXPANSIONS = 1500
NETWORKS = {name: MODELS[name] for name in PAPER_MODELS} | {"bert": partial(bert, softmax=False)}


def expansions_per_second(graph: Graph, rules: Sequence[Substitution]) -> tuple[float, int]:
    """Expand graphs in the order of their cost; the first, whose matches are all looked for, counts as any other."""
    rejected, matcher = Counter[str](), Matcher(rules)
    queue = Queue(1.05, rejected)
    queue.put(Candidate(SearchGraph.of(graph, CORE)))
    start, expanded = time.process_time(), 0
    with paused():
        while expanded < EXPANSIONS and (here := queue.take()) is not None:
            here.expand(matcher, rejected)
            queue.add_children(here)
            expanded += 1
    return expanded / (time.process_time() - start), expanded


def timed(graph: Graph, rules: Sequence[Substitution], alpha: float, cut: Cut) -> tuple[Optimized, float]:
    """The result and its CPU seconds."""
    start = time.process_time()
    found = search(graph, rules, CORE, Effort(alpha=alpha), cut=cut)
    return found, time.process_time() - start


def peak_bytes(graph: Graph, rules: Sequence[Substitution]) -> int:
    """The most memory that a search holds at a time, with its rules prepared, its graphs and its trace."""
    tracemalloc.start()
    search(graph, rules, CORE, Effort())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def one_network(graph: Graph, rules: Sequence[Substitution], *, all_cuts: bool) -> dict[str, Any]:
    """The figures of one network; costs in milliseconds."""
    found, seconds = timed(graph, rules, 1.05, by_matches)
    greedy, _ = timed(graph, rules, 1.0, by_matches)
    speed, expanded = expansions_per_second(graph, rules)
    cuts = {name: timed(graph, rules, 1.05, cut) for name, cut in CUTS.items() if all_cuts and cut is not whole}
    return {
        "operators": len(graph.nodes),
        "cost_before": round(found.cost_before * 1e3, 4),
        "cost_greedy": round(greedy.cost_after * 1e3, 4),
        "cost_after": round(found.cost_after * 1e3, 4),
        "search_seconds": round(seconds, 3),
        "peak_mb": round(peak_bytes(graph, rules) / 2**20, 1),
        "expansions_per_second": round(speed),
        "expanded": expanded,
        "rules": found.trace.rules,
        "cuts": {
            name: {"cost_after": round(other.cost_after * 1e3, 4), "search_seconds": round(took, 3)}
            for name, (other, took) in cuts.items()
        },
    }


COLUMNS = ("operators", "cost_before", "cost_greedy", "cost_after", "search_seconds", "peak_mb")
COLUMNS += ("expansions_per_second",)


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the tables and return the figures."""
    rules = completed(load_rules())
    sys.stdout.write(f"{len(rules)} rules\n{'':12}" + "".join(f"{name:>22}" for name in COLUMNS) + "\n")
    models = {}
    for name, build in NETWORKS.items():
        models[name] = one_network(build(np.random.default_rng(0)), rules, all_cuts=not quick)
        sys.stdout.write(f"{name:12}" + "".join(f"{models[name][column]:>22}" for column in COLUMNS) + "\n")
    for name, model in models.items():
        for cut, row in model["cuts"].items():
            sys.stdout.write(f"{name:12} cut {cut:14} {row['cost_after']:12} ms {row['search_seconds']:8} s\n")
    total = round(sum(model["search_seconds"] for model in models.values()), 3)
    peak = max(model["peak_mb"] for model in models.values())
    slowest = min(model["expansions_per_second"] for model in models.values())
    sys.stdout.write(f"{len(models)} networks: {total} s, at most {peak} MB, at least {slowest} expansions per second "
                     "(wanted: 3 s, 200 MB, 3000)\n")  # fmt: skip
    return {"models": models, "search_seconds": total, "peak_mb": peak, "expansions_per_second": slowest}


if __name__ == "__main__":
    sys.exit(main("graph_search", benchmark, "Time the graph search by itself on the paper's networks."))
