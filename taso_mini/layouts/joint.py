"""Substitutions and layouts together: the search sees what every operator costs in the layouts around it.

Paper: TASO §5. The paper enumerates the layouts of a target's internal tensors at every application of a rule and keeps
those at its boundary. Here that is a way to price operators, so that the search stays as it is: `LayoutCosts` gives the
least seconds over all implementations of an operator, those at its boundary keeping the layouts they have. The layouts
of the graph that comes out are then chosen anew, all at once and exactly (`assign`), and the search goes on around them
until nothing gains.

Where no layouts are known yet, every tensor may be stored as each operator likes it: a price that no assignment can
beat. A search under it finds the substitutions that pay with good layouts only. The other starting point is the search
in plain layouts, as one would do the two jobs one after the other; `optimize_jointly` is never worse than that.

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
from runtime.graph import Graph, Node, TensorType
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

    def cost(self, node: Node, types: Types) -> float:
        """Return the least exact price."""
        return self._least(self._exact, node, types)

    def estimate(self, node: Node, types: Types) -> float:
        """Return the least estimate."""
        return self._least(self._estimated, node, types)

    def _least(self, prices: Prices, node: Node, types: Types) -> float:
        params, results = infer(node.operator, tuple(types), node.params)
        forms = [self._form(v, t) for v, t in zip((*node.inputs, *node.outputs), (*types, *results), strict=True)]
        if node.operator in ("transpose", "reshape") and not all(forms):
            return 0.0
        kinds = (*types, *results)
        orders = tuple(
            tuple(dict.fromkeys((*local_orders(node.operator, t), *(form.orders if form else ()))))
            for t, form in zip(kinds, forms, strict=True)
        )
        if node.operator == "matmul" and types[1].rank == 2:
            orders = (orders[0], (plain(2),), *orders[2:])  # most likely a weight, which its kernel gets as it likes it
        count = len(node.inputs)
        anonymous = Node(node.operator, tuple(f"i{i}" for i in range(count)), ("o",) * len(node.outputs), params)
        best = math.inf
        for way, seconds in prices.ways(anonymous, tuple(types), orders[:count], orders[count:]):
            for i, order in enumerate((*way.inputs, *way.outputs)):
                seconds += _conversion(prices, kinds[i], forms[i], order, i < count)
            best = min(best, seconds)
        return best

    def _form(self, value: str, kind: TensorType) -> Form | None:
        form = self.known.get(value)
        return form if form is not None and len(form.native) == kind.rank else None


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


@dataclass(frozen=True, eq=False)
class JointlyOptimized:
    """The result of `optimize_jointly`.

    graph: in its layouts, ready to compile.  plain: the same before layouts were chosen.  assignment: the layouts.
    steps: the rewrites on the way; each has the costs that the search saw.
    costs: seconds of the graph "as given", after "substitutions" only, "layouts" only, both one after the other
        ("sequential"), and "joint".
    """

    graph: Graph
    plain: Graph
    assignment: Assignment
    steps: tuple[Step, ...]
    costs: Mapping[str, float]

    def __str__(self) -> str:
        """Return the costs, then what changed its layout."""
        lines = [f"{name:14} {seconds * 1e3:9.4f} ms" for name, seconds in self.costs.items()]
        return "\n".join([*lines, str(self.assignment).splitlines()[-1]])


@dataclass(frozen=True, eq=False)
class _Finalist:
    assignment: Assignment
    steps: tuple[Step, ...] = ()


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
    prices = Prices(costs)
    graph = graph.prune()

    def laid_out(found: Optimized, steps: tuple[Step, ...] = ()) -> _Finalist:
        return _Finalist(assign(found.graph, prices), (*steps, *found.trace.steps))

    given = _Finalist(assign(graph, prices))
    substituted = search(graph, rules, costs)
    sequential = laid_out(substituted)
    freely = laid_out(search(graph, rules, LayoutCosts(costs)))
    best = min(given, sequential, freely, key=lambda finalist: finalist.assignment.cost)
    for number in range(rounds):
        around = search(best.assignment.graph, rules, LayoutCosts(costs, best.assignment.forms))
        again = laid_out(around, best.steps)
        say(2, f"round {number}: {best.assignment.cost * 1e6:.2f} -> {again.assignment.cost * 1e6:.2f} us")
        if again.assignment.cost >= best.assignment.cost:
            break
        best = again
    return JointlyOptimized(
        realize(best.assignment),
        best.assignment.graph,
        best.assignment,
        best.steps,
        {
            "as given": assign(graph, prices, plain_only(graph)).cost,
            "substitutions": assign(substituted.graph, prices, plain_only(substituted.graph)).cost,
            "layouts": given.assignment.cost,
            "sequential": sequential.assignment.cost,
            "joint": best.assignment.cost,
        },
    )
