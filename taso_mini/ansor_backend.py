"""What an operator costs on this machine, measured with the kernels that `ansor_mini` makes for it.

Neither paper has this room: it is where graph substitution asks the kernel generator. A node is priced alone, under
the default schedule: compiled, run on small integers, compared with its NumPy reference, timed. It is taken as it
stands, or in the channels-last layout where networks are compiled in that whatever the search says; or its price is
that of the best program which a search has found for it. What the back end fuses into other kernels is priced at a
share of that. `taso_mini.joint` prices whole kernels, and says of every price whether it is tuned, predicted or that of
a default schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import default_nest
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.network import movement_nest
from ansor_mini.operators import UndeclaredOperator, declare
from ansor_mini.partition import Subgraph, subgraph
from ansor_mini.records import Record, RecordFile, best_of, read_records
from ansor_mini.schedule import ScheduleError
from ansor_mini.tuner import Task, tune
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


def has_weight(node: Node, types: Sequence[TensorType]) -> bool:
    """Whether the second operand is a weight in most networks, which is packed as the kernel likes it.

    It is one of a convolution, and of a product of two matrices; products of stacks of matrices have none.
    """
    return node.operator == "conv" or (node.operator == "matmul" and types[1].rank == 2)


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
        constants = [nest.inputs[1].name] if has_weight(node, types) else []
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


class TunedKernels(MeasuredKernels):
    """Prices single nodes by the best program that a search has found for them; a `taso_mini.costs.Measure`.

    What has no records is tuned now, or with no trials measured under the default schedule; so are operators without a
    reduction, which the back end fuses into other kernels.
    """

    def __init__(
        self,
        machine: Machine,
        records: Path,
        threads: int = 1,
        *,
        trials: int = 0,
        seed: int = 0,
        channels_last: bool = True,
    ) -> None:
        """Read the records, and start the runner.

        records: the file, which need not exist yet.  trials: programs to measure for a node without records.
        Raises: ValueError: trials is negative.
        """
        if trials < 0:
            raise ValueError(f"trials: expected at least 0, got {trials}")
        super().__init__(machine, threads, channels_last=channels_last)
        self.records, self.trials, self.seed = records, trials, seed
        self._known = list(read_records(records)) if records.exists() else []

    def __call__(self, node: Node, types: Sequence[TensorType]) -> float | None:
        """Seconds of one node on inputs of these types; None when it has no kernel or the kernel fails."""
        graph = one_node_graph(node, types, channels_last=self.channels_last)
        part = subgraph(graph, graph.nodes)
        try:
            dag = declare(part.fragment) if part.kind == "compute" else None
        except UndeclaredOperator:
            dag = None
        if dag is None or not any(stage.reduce_axes for stage in dag.ops):
            return super().__call__(node, types)
        best = best_of(self._known, dag.key(), self.threads)
        if best is None and self.trials:
            weights = [dag.inputs[1].name] if has_weight(node, types) else []
            best = best_of(self._tune(dag, weights), dag.key(), self.threads)
        return super().__call__(node, types) if best is None else best.cost

    def _tune(self, dag: ComputeDAG, constants: Sequence[str]) -> list[Record]:
        """Search for a good program of one node; its records are kept."""
        task = Task(dag.key(), dag, threads=self.threads, constants=frozenset(constants))
        rng = np.random.default_rng(self.seed)
        measurer = LocalMeasurer(dag, threads=self.threads, constants=constants, runner=self._runner)
        with RecordFile(self.records) as sink:
            tune(task, trials=self.trials, rng=rng, measurer=measurer, records=sink, machine=self.machine)
        self._known = list(read_records(self.records))
        return self._known
