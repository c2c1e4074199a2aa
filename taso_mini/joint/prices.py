"""What a kernel of a graph costs, and how that is known.

A price is a number with a source. The sources, in the order in which they are asked:

1. "tuned": a search has found programs of the kernel, and the fastest took so long.
2. "predicted": the kernel has not been tuned, but a learned model of others that have says how long it would take
   (`latency_model`); never more than the default schedule is known to take. It is asked only about kernels that begin
   with an operator in a layout that it has seen: nothing about NHWC tells how slow NCHW is.
3. "default": the kernel has been measured under its default schedule only.
4. "operators": the sum of its operators, each measured alone under a default schedule, those that get fused at a share.

What no kernel is tuned for has its own: "copied" for the copies of a concatenation or a split, measured; "view" and
"joined" for what costs nothing, new names for memory and concatenations that kernels write straight into.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import default_steps
from ansor_mini.operators import UndeclaredOperator, declare
from ansor_mini.partition import Subgraph, subgraph
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, Sketch
from runtime.graph import Graph, Node, TensorType
from runtime.operators import find_operator, infer
from taso_mini.ansor_backend import has_weight, one_node_graph
from taso_mini.costs import CostSource, Types, configuration
from taso_mini.joint.latency_model import LatencyModel
from taso_mini.joint.store import Store

TUNED, PREDICTED, DEFAULT, OPERATORS = "tuned", "predicted", "default", "operators"
COPIED, VIEW, JOINED = "copied", "view", "joined"


@dataclass(frozen=True)
class Price:
    """Seconds, and where they come from."""

    seconds: float
    source: str

    def __str__(self) -> str:
        return f"{self.seconds * 1e6:.1f} us ({self.source})"


@dataclass(frozen=True, eq=False)
class Kernel:
    """A compute subgraph as the kernel generator sees it.

    task: its name in records. constants: tensors that are weights. default: the text of its default schedule.
    """

    part: Subgraph
    dag: ComputeDAG
    task: str
    constants: frozenset[str]
    default: tuple[str, ...]


Kind = tuple[str, tuple[object, ...]]  # an operator and its layout parameters
LAYOUTS = ("layout", "a_order", "b_order", "order")
Source = Callable[["KernelPrices", Kernel], "float | None"]


def tuned_seconds(prices: KernelPrices, kernel: Kernel) -> float | None:
    """The fastest recorded program, unless that is the default schedule and no other has been tried."""
    best = prices.store.best(kernel.task)
    if best is None or (best.steps == kernel.default and prices.store.tried(kernel.task) == 1):
        return None
    return best.cost


def predicted_seconds(prices: KernelPrices, kernel: Kernel) -> float | None:
    """What the learned model says, but no more than the default schedule takes."""
    if prices.model is None or kind(kernel.part.fragment.nodes[0]) not in prices.kinds:
        return None
    if kernel.task not in prices.predictions:
        prices.predictions[kernel.task] = prices.model.seconds(kernel.dag, kernel.constants)
    foretold, best = prices.predictions[kernel.task], prices.store.best(kernel.task)
    return foretold if foretold is None or best is None else min(foretold, best.cost)


def default_seconds(prices: KernelPrices, kernel: Kernel) -> float | None:
    """The recorded default schedule."""
    best = prices.store.best(kernel.task)
    return best.cost if best is not None else None


def operator_seconds(prices: KernelPrices, kernel: Kernel) -> float | None:
    """The sum of the operators' prices."""
    fragment = kernel.part.fragment
    return sum(prices.operators.cost(node, _types(fragment, node)) for node in fragment.nodes)


SOURCES: tuple[tuple[str, Source], ...] = (
    (TUNED, tuned_seconds),
    (PREDICTED, predicted_seconds),
    (DEFAULT, default_seconds),
    (OPERATORS, operator_seconds),
)


@dataclass(eq=False)
class KernelPrices:
    """The prices of kernels, out of records, a model and measured operators.

    operators: prices one operator alone, under a default schedule; fused ones at a share. model: None for none.
    sources: asked in this order. kinds: of the operators that begin kernels which the model has seen.
    """

    store: Store
    operators: CostSource
    model: LatencyModel | None = None
    sources: tuple[tuple[str, Source], ...] = SOURCES
    predictions: dict[str, float | None] = field(default_factory=dict)
    kinds: set[Kind] = field(default_factory=set)
    _kernels: dict[tuple[str, frozenset[str]], Kernel | None] = field(default_factory=dict)
    _anchored: dict[str, set[Kernel]] = field(default_factory=dict)

    def kernel(self, part: Subgraph, constants: Collection[str] = ()) -> Kernel | None:
        """The kernel of a compute subgraph; constants: inputs of its fragment that are weights.  None: it has none."""
        key = part.key, frozenset(constants)
        if key not in self._kernels:
            self._kernels[key] = self._declared(part, key[1])
        return self._kernels[key]

    def _declared(self, part: Subgraph, constants: frozenset[str]) -> Kernel | None:
        try:
            dag = declare(part.fragment)
            default = Sketch(dag, default_steps(dag, self.store.machine, self.store.threads)).key
        except (UndeclaredOperator, ScheduleError):
            return None
        names = {name: tensor.name for name, tensor in zip(part.fragment.inputs, dag.inputs, strict=True)}
        return Kernel(part, dag, dag.key(), frozenset(names[name] for name in constants), default)

    def of(self, kernel: Kernel) -> Price:
        """The price of a kernel, from the first source that has one."""
        for name, source in self.sources:
            seconds = source(self, kernel)
            if seconds is not None:
                return Price(seconds, name)
        raise ValueError(f"no source has a price for\n{kernel.part.key}")

    def register(self, kernel: Kernel) -> None:
        """Let an operator be priced by this kernel, which begins with it, once that is tuned."""
        node = kernel.part.fragment.nodes[0]
        self._anchored.setdefault(full_configuration(node, _types(kernel.part.fragment, node)), set()).add(kernel)

    def learn(self, tasks: Mapping[Kernel, Mapping[Program, float]]) -> None:
        """Let the model learn from kernels' measured programs, and speak of kernels like those."""
        for kernel in tasks:
            self.register(kernel)
        if self.model is not None and tasks:
            self.model.learn({kernel.dag: (kernel.constants, measured) for kernel, measured in tasks.items()})
            self.kinds.update(kind(kernel.part.fragment.nodes[0]) for kernel in tasks)
            self.predictions.clear()

    def tuned_node(self, node: Node, types: Types) -> Price | None:
        """The price of one operator that begins a tuned kernel, None for others.

        It costs what the fastest such kernel does: what is fused behind it comes cheap.
        """
        known = self._anchored.get(full_configuration(node, types), ())
        found = [seconds for kernel in known if (seconds := tuned_seconds(self, kernel)) is not None]
        return Price(min(found), TUNED) if found else None

    def of_node(self, node: Node, types: Types) -> Price | None:
        """The price of one operator; None when it is to be priced alone, under its default schedule."""
        tuned = self.tuned_node(node, types)
        if tuned is not None:
            return tuned
        kernel = self._alone(node, types)
        if kernel is None:
            return None
        seconds = predicted_seconds(self, kernel)
        return None if seconds is None else Price(seconds, PREDICTED)

    def _alone(self, node: Node, types: Types) -> Kernel | None:
        """The kernel of one operator that reduces; others get fused, or are copies."""
        graph = one_node_graph(node, types, channels_last=False)
        part = subgraph(graph, graph.nodes)
        if part.kind != "compute":
            return None
        kernel = self.kernel(part, list(graph.inputs)[1:2] if has_weight(node, types) else [])
        return kernel if kernel is not None and any(stage.reduce_axes for stage in kernel.dag.ops) else None


def kind(node: Node) -> Kind:
    """What a prediction must have seen before: the operator, and how its operands are laid out."""
    defaults = find_operator(node.operator).params
    return node.operator, tuple(node.params.get(name, defaults.get(name)) for name in LAYOUTS)


def full_configuration(node: Node, types: Types) -> str:
    """The text that names an operator on these types, all its parameters spelled out."""
    params, _ = infer(node.operator, tuple(types), node.params)
    return configuration(Node(node.operator, node.inputs, node.outputs, params), types)


def _types(graph: Graph, node: Node) -> tuple[TensorType, ...]:
    return tuple(graph.types[value] for value in node.inputs)
