"""The graph that prices have chosen is run beside the one given, and the faster stays.

Neither paper has this. A graph is priced as the sum of its operators, each measured alone, once, and kept for good: a
price taken while the machine was busy would choose wrong graphs from then on. So before anything is tuned both graphs
are built under default schedules and timed in turns, the given one with its images channels last. The prices decide
only between graphs that take about as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from ansor_mini.network import default_network
from ansor_mini.partition import partition
from runtime import executor
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.machine import Machine
from runtime.timing import interleaved
from taso_mini.compile_job import Log
from taso_mini.costs import CostSource
from taso_mini.load_model import sample_inputs
from taso_mini.optimizer import Optimized
from taso_mini.tidy import tidy
from taso_mini.trace import Trace

MARGIN = 1.1  # what two timings of one program on several threads may differ by
CONTRADICTION = 1.1  # times dearer by price, and yet faster: the prices are told of as wrong
ROUNDS, TURN_SECONDS = 9, 0.02
GIVEN, CHOSEN = "given", "chosen"

Timer = Callable[[Mapping[str, Graph]], Mapping[str, float]]


def keep_faster(graph: Graph, chosen: Optimized, costs: CostSource, timer: Timer, log: Log) -> Optimized:
    """Return what was chosen, or the given graph with its images channels last when that is clearly faster.

    costs: what the choice was made by.  timer: seconds per inference of some graphs; `under_default_schedules`.
    """
    given = to_channels_last(tidy(graph)).fold_constants()
    if _kernels(given) == _kernels(chosen.graph):
        return chosen
    seconds = timer({GIVEN: given, CHOSEN: chosen.graph})
    log(f"under default schedules the chosen graph takes {_ms(seconds[CHOSEN])}, the given one {_ms(seconds[GIVEN])}"
        f" ({seconds[CHOSEN] / seconds[GIVEN]:.2f} of that)")  # fmt: skip
    if seconds[CHOSEN] <= MARGIN * seconds[GIVEN]:
        return chosen
    prices = {GIVEN: price(given, costs), CHOSEN: price(chosen.graph, costs)}
    log("the given graph stays as it is, with its images channels last")
    if prices[GIVEN] > CONTRADICTION * prices[CHOSEN]:
        log(f"by the prices of their operators they take {_ms(prices[CHOSEN])} and {_ms(prices[GIVEN])}; such prices "
            "come of a busy machine, and are kept: --fresh-prices measures them anew")  # fmt: skip
    return Optimized(given, prices[GIVEN], prices[GIVEN], Trace((), chosen.trace.expanded))


def under_default_schedules(machine: Machine, threads: int, seed: int = 0) -> Timer:
    """Return what times graphs without search, in turns, on inputs drawn from a seed."""

    def timer(graphs: Mapping[str, Graph]) -> dict[str, float]:
        networks = {
            name: executor.build(default_network(graph, machine, threads), threads=threads)
            for name, graph in graphs.items()
        }
        programs = {name: network.bind(sample_inputs(graphs[name], seed)) for name, network in networks.items()}
        return interleaved(programs, rounds=ROUNDS, min_seconds=TURN_SECONDS)

    return timer


def price(graph: Graph, costs: CostSource) -> float:
    """Return the seconds of all operators as far as they are known; nothing is measured."""
    return sum(costs.estimate(node, [graph.types[value] for value in node.inputs]) for node in graph.nodes)


def _kernels(graph: Graph) -> Counter[str]:
    return Counter(part.key for part in partition(graph))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"
