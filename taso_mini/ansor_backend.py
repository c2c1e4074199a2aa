"""What an operator costs on this machine, measured with the kernels that `ansor_mini` makes for it.

Neither paper has this room: it is where graph substitution asks the kernel generator. A node is priced alone, under
the default schedule: compiled, run on small integers, compared with its NumPy reference, timed. It is taken as it
stands, or in the channels-last layout where networks are compiled in that whatever the search says. What the back end
fuses into other kernels is priced at a share of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from ansor_mini.default_schedule import default_nest
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.network import movement_nest
from ansor_mini.operators import UndeclaredOperator
from ansor_mini.partition import Subgraph, subgraph
from ansor_mini.schedule import ScheduleError
from runtime import debug
from runtime.graph import Graph, Node, TensorType
from runtime.layout import to_channels_last
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from runtime.measure import measure
from runtime.measure_case import MeasureCase
from runtime.runner import Runner
from taso_mini.costs import ELEMENTWISE_NAMES, FlopCost

# What the back end fuses costs a part of what it costs alone: element-wise operators are computed in the registers of
# the kernel before them, and kernels write straight into a concatenated tensor.
FUSED_SHARES = {**dict.fromkeys(ELEMENTWISE_NAMES, 0.1), "concat": 0.1}

# A price is kept for good, so one that looks as if the machine was busy is measured again.
SUSPICIOUS = 4.0  # times the estimate
ATTEMPTS = 3


def one_node_graph(node: Node, types: Sequence[TensorType], *, channels_last: bool = True) -> Graph:
    """A graph of one node over inputs of the given types; channels_last: convolutions and the like in that layout."""
    inputs = {f"x{i}": kind for i, kind in enumerate(types)}
    outputs = tuple(f"y{i}" for i in range(len(node.outputs)))
    alone = Graph("one", inputs, {}, (Node(node.operator, tuple(inputs), outputs, node.params),), outputs)
    if not channels_last or "layout" not in node.params:
        return alone
    moved = to_channels_last(alone)
    own = next(other for other in moved.nodes if other.operator == node.operator)
    return subgraph(moved, [own]).fragment


class MeasuredKernels:
    """Prices single nodes by running them; a `taso_mini.costs.Measure`.

    Keeps one isolated runner for all measurements; use it as a context manager.
    """

    def __init__(self, machine: Machine, threads: int = 1, *, channels_last: bool = True) -> None:
        """Start the runner.

        channels_last: measure convolutions and pools in that layout, whatever they say.
        """
        self.machine, self.threads, self.channels_last = machine, threads, channels_last
        self._runner = Runner()

    def __call__(self, node: Node, types: Sequence[TensorType]) -> float | None:
        """Seconds of one node on inputs of these types; None when it has no kernel or the kernel fails."""
        graph = one_node_graph(node, types, channels_last=self.channels_last)
        try:
            nest = self._nest(subgraph(graph, graph.nodes))
        except (UndeclaredOperator, ScheduleError) as error:
            debug.say(2, f"no kernel for {node.operator}: {error}")
            return None
        rng = np.random.default_rng(0)
        feeds = {name: rng.integers(-3, 4, kind.shape).astype(kind.dtype) for name, kind in graph.inputs.items()}
        wanted = graph.evaluate(feeds)
        case = MeasureCase(
            [feeds[name].reshape(buffer.shape) for name, buffer in zip(graph.inputs, nest.inputs, strict=True)],
            [wanted[name].reshape(buffer.shape) for name, buffer in zip(graph.outputs, nest.outputs, strict=True)],
            exact=False,
        )
        # In a network the second operand of a convolution or of a product of two matrices is a weight, packed as its
        # kernel likes it; products of stacks of matrices have none.
        packed = node.operator == "conv" or (node.operator == "matmul" and types[1].rank == 2)
        constants = [nest.inputs[1].name] if packed else []
        nest, case = pack_case(nest, case, constants)
        suspicious = SUSPICIOUS * FlopCost().cost(node, types)
        seconds = math.inf
        for _ in range(ATTEMPTS):
            (result,) = measure([nest], case, threads=self.threads, runner=self._runner)
            debug.say(2, f"{graph.nodes[0]}: {result}")
            if not result.ok:
                return None
            seconds = min(seconds, result.cost)
            if seconds < suspicious:
                break
        return seconds

    def _nest(self, part: Subgraph) -> LoopNest:
        if part.kind == "movement":
            return movement_nest(part.fragment, part.fragment.nodes[0], self.threads, "one")
        return default_nest(part, self.machine, self.threads)

    def close(self) -> None:
        """Stop the runner."""
        self._runner.close()

    def __enter__(self) -> MeasuredKernels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
