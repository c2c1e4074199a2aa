"""Substitutions and layouts together: the search sees what every operator costs in the layouts around it.

Paper: TASO §5. The paper enumerates the layouts of a target's internal tensors at every application of a rule and keeps
those at its boundary. Here that is a way to price operators, so that the search stays as it is: `LayoutCosts` gives the
least seconds over all implementations of an operator, those at its boundary keeping the layouts they have. (A tensor
that is new to the search may so be priced in one order for its operator and in another for its readers.) The layouts of
the graph that comes out are then chosen anew, all at once and exactly (`assign`), and the search goes on around them
until nothing gains.

Where no layouts are known yet, every tensor may be stored as each operator likes it: a price that no assignment of
those orders (`local_orders`) beats, as long as the second operand of a product of two matrices is a weight. A search
under it finds the substitutions that pay with good layouts only. The other starting point is the search in plain
layouts, as one would do the two jobs one after the other; `optimize_jointly` is never worse than that.

>>> from runtime.graph import GraphBuilder
>>> from taso_mini.costs import FlopCost
>>> build = GraphBuilder("g")
>>> x = build.add("transpose", build.input("x", (64, 8)), perm=(1, 0))
>>> y = build.add("transpose", build.add("matmul", x, build.input("y", (64, 4))), perm=(1, 0))
>>> found = optimize_jointly(build.finish(build.add("tanh", y, name="out")), [], FlopCost())
>>> for name, seconds in found.costs.items():
...     print(f"{name:14} {seconds * 1e6:5.2f} us")
as given        4.43 us
substitutions   4.43 us
layouts         2.21 us
sequential      2.21 us
joint           2.21 us
>>> print(found.graph)
graph g:
    input x: float32[64, 8]
    input y: float32[64, 4]
    matmul_0 = matmul(x, y, a_order=(1, 0), order=(1, 0))  # float32[4, 8]
    out = tanh(matmul_0)  # float32[4, 8]
    return out
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from runtime.debug import say
from runtime.graph import Graph, Node, Params, TensorType
from runtime.operators import infer
from taso_mini.costs import CostSource
from taso_mini.layouts.assignment import Assignment, Form, Prices, assign, plain_only, required
from taso_mini.layouts.candidates import seed
from taso_mini.layouts.implementations import FAMILIES, Types
from taso_mini.layouts.orders import NHWC, Order, canonical, plain
from taso_mini.layouts.realize import realize
from taso_mini.optimizer import Optimized, optimize
from taso_mini.terms import Substitution
from taso_mini.trace import Step

Search = Callable[[Graph, Sequence[Substitution], CostSource], Optimized]
Configuration = tuple[str, Params, tuple[TensorType, ...], tuple[Form | None, ...]]
NOTHING: Mapping[str, Form] = MappingProxyType({})


class LayoutCosts:
    """What operators cost in the best layouts, the values in `known` being stored as it says.

    A value that an operator wants in an order it is not stored in costs a conversion; a value that is not known costs
    none. Transposes and reshapes between unknown values are views.
    """

    def __init__(self, costs: CostSource, known: Mapping[str, Form] = NOTHING) -> None:
        """Price implementations with `costs`."""
        self.known = known
        self._exact, self._estimated = Prices(costs), Prices(costs, exact=False)
        self._settled: dict[Configuration, float] = {}
        self._judged: dict[Configuration, float] = {}

    def cost(self, node: Node, types: Types) -> float:
        """Return the least exact price."""
        key = self._configuration(node, types)
        if key not in self._settled:
            self._settled[key] = _least(self._exact, *key)
            if self._judged.get(key) != self._settled[key]:
                self._judged.clear()  # what has been measured may correct other estimates
        return self._settled[key]

    def estimate(self, node: Node, types: Types) -> float:
        """Return the least estimate."""
        key = self._configuration(node, types)
        if key not in self._judged:
            self._judged[key] = _least(self._estimated, *key)
        return self._judged[key]

    def context(self, value: str) -> Form | None:
        """Return what the price of an operator on this value depends on besides its type."""
        return self.known.get(value)

    def _configuration(self, node: Node, types: Types) -> Configuration:
        forms: tuple[Form | None, ...] = ()
        if self.known:
            _, results = infer(node.operator, tuple(types), node.params)
            values = zip((*node.inputs, *node.outputs), (*types, *results), strict=True)
            forms = tuple(self._form(value, kind) for value, kind in values)
        return node.operator, node.params, tuple(types), forms

    def _form(self, value: str, kind: TensorType) -> Form | None:
        form = self.known.get(value)
        return form if form is not None and len(form.native) == kind.rank else None


def _least(
    prices: Prices, operator: str, params: Params, types: tuple[TensorType, ...], forms: tuple[Form | None, ...]
) -> float:
    """Return the least price of all implementations; `forms` has what is known of inputs and outputs, if anything."""
    full, results = infer(operator, types, params)
    kinds, count = (*types, *results), len(types)
    forms = forms or (None,) * len(kinds)
    if operator in ("transpose", "reshape") and not all(forms):
        return 0.0
    orders = tuple(
        tuple(dict.fromkeys((*local_orders(operator, kind), *(form.orders if form else ()))))
        for kind, form in zip(kinds, forms, strict=True)
    )
    if operator == "matmul" and types[1].rank == 2 and forms[1] is None:
        orders = (orders[0], (plain(2),), *orders[2:])  # most likely a weight, which its kernel gets as it likes it
    node = Node(operator, tuple(f"i{i}" for i in range(count)), tuple(f"o{i}" for i in range(len(results))), full)
    best = math.inf
    for way, seconds in prices.ways(node, types, orders[:count], orders[count:]):
        for i, order in enumerate((*way.inputs, *way.outputs)):
            seconds += _conversion(prices, kinds[i], forms[i], order, i < count)
        best = min(best, seconds)
    return best


def local_orders(operator: str, kind: TensorType) -> tuple[Order, ...]:
    """Return the orders that an operator by itself may like a value in."""
    liked = [plain(kind.rank), seed(operator, kind.rank)]
    if operator in FAMILIES and operator != "matmul":
        liked.append({2: (1, 0), 4: NHWC}.get(kind.rank))
    return tuple(dict.fromkeys(canonical(kind.shape, order) for order in liked if order is not None))


def _conversion(prices: Prices, kind: TensorType, form: Form | None, order: Order, is_read: bool) -> float:
    """Return the seconds between how a value is stored and how it is read or written."""
    if form is None:
        return 0.0
    wanted = required(kind, order)
    if is_read:
        return min(prices.conversion(kind, there, wanted) for there in form.orders)
    return prices.conversion(kind, wanted, form.native)


VARIANTS = AS_GIVEN, SUBSTITUTIONS, LAYOUTS, SEQUENTIAL, JOINT = (
    "as given",
    "substitutions",
    "layouts",
    "sequential",
    "joint",
)


@dataclass(frozen=True, eq=False)
class JointlyOptimized:
    """The result of `optimize_jointly`.

    variants: the graph and layouts that each way of searching leads to: the graph "as given", "substitutions" in plain
        layouts, best "layouts" of the given graph, "sequential": layouts after substitutions, and "joint".
    steps: the rewrites on the way to the joint result; each has the costs that its search saw.
    """

    variants: Mapping[str, Assignment]
    steps: tuple[Step, ...]

    @property
    def assignment(self) -> Assignment:
        """The best graph and its layouts."""
        return self.variants[JOINT]

    @property
    def graph(self) -> Graph:
        """The best graph in its layouts, ready to compile."""
        return realize(self.assignment)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of every variant."""
        return {name: assignment.cost for name, assignment in self.variants.items()}

    def __str__(self) -> str:
        """Return the costs, then what changed its layout."""
        lines = [f"{name:14} {seconds * 1e3:9.4f} ms" for name, seconds in self.costs.items()]
        return "\n".join([*lines, str(self.assignment).splitlines()[-1]])


def optimize_jointly(
    graph: Graph, rules: Sequence[Substitution], costs: CostSource, *, search: Search = optimize, rounds: int = 4
) -> JointlyOptimized:
    """Find a cheaper graph and its layouts.

    costs: what a node costs as it stands, layouts included.
    search: looks for a cheaper graph under a cost source: `optimize`, perhaps with other options.
    rounds: searches around the layouts found so far, at most.
    Raises: ValueError: rounds is negative.
    """
    if rounds < 0:
        raise ValueError(f"rounds: expected at least 0, got {rounds}")
    prices, graph = Prices(costs), graph.prune()
    in_plain = search(graph, rules, costs)
    freely = search(graph, rules, LayoutCosts(costs))
    variants = {
        AS_GIVEN: assign(graph, prices, plain_only(graph)),
        SUBSTITUTIONS: assign(in_plain.graph, prices, plain_only(in_plain.graph)),
        LAYOUTS: assign(graph, prices),
        SEQUENTIAL: assign(in_plain.graph, prices),
    }
    finalists: list[tuple[Assignment, tuple[Step, ...]]] = [
        (variants[LAYOUTS], ()),
        (variants[SEQUENTIAL], in_plain.trace.steps),
        (assign(freely.graph, prices), freely.trace.steps),
    ]
    best, steps = min(finalists, key=lambda finalist: finalist[0].cost)
    for number in range(rounds):
        around = search(best.graph, rules, LayoutCosts(costs, best.forms))
        again = assign(around.graph, prices)
        say(2, f"round {number}: {best.cost * 1e6:.2f} -> {again.cost * 1e6:.2f} us")
        if again.cost >= best.cost:
            break
        best, steps = again, (*steps, *around.trace.steps)
    return JointlyOptimized({**variants, JOINT: best}, steps)
