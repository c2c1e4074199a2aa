"""Which definition computes each convolution, the direct one or Winograd's: both are tuned, the faster one stays.

Only when it is asked for, since Winograd's results differ in the last bits
(`runtime.graph_operators.winograd.winograd_error`). The kernels of both definitions share one budget.

Paper: Ansor §7
"""

from __future__ import annotations

from dataclasses import replace

from ansor_mini.network_task import Part
from ansor_mini.partition import partition, task_weights
from ansor_mini.winograd_graph import gainers, has_winograd, with_winograd
from runtime.graph import Graph
from taso_mini.compile_job import Job
from taso_mini.kernel_tuning import Tuned, tune


def tune_definitions(graph: Graph, job: Job) -> tuple[Graph, Tuned]:
    """Tune a graph's kernels, and those of Winograd's convolutions in tiles of the option `winograd`, if not 0.

    Returns the graph with the definition of each convolution whose kernels are faster, and its kernels as tuned.
    """
    tile = job.options.winograd
    candidates = [node for node in graph.nodes if has_winograd(graph, node)] if tile else []
    if not candidates:
        return graph, tune(*_part(graph), job)
    tuned = tune(*_part(graph), job, others=[_part(with_winograd(graph, tile))])
    faster = gainers(graph, tuned.seconds, tile)
    job.log(f"Winograd's F({tile}x{tile}, 3x3) computes {len(faster)} of {len(candidates)} convolutions of 3 x 3")
    chosen = with_winograd(graph, tile, lambda node: node.outputs[0] in faster)
    runs = task_weights(partition(chosen))
    lines = tuple(replace(line, weight=runs[line.key]) for line in tuned.tasks if line.key in runs)
    return chosen, replace(tuned, tasks=lines)


def _part(graph: Graph) -> Part:
    return partition(graph), graph.weights
