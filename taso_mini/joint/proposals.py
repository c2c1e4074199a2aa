"""Where the graphs come from between which tuning decides.

A search for substitutions needs a price for every operator, and believes it. Which graph is best once its kernels are
tuned and fused cannot be read off such prices for sure, so several searches propose, each with another belief: what
is fused costs little, costs nothing, costs as much as alone; prices are those of a formula, of default schedules, or
the best known.
Each is an entry of a list, and a new one is one more function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.graph import Graph, Node
from runtime.layout import to_channels_last
from taso_mini.ansor_backend import FUSED_SHARES
from taso_mini.costs import CostSource, FlopCost, MeasuredCost, Shares, Types, Views
from taso_mini.joint.alternatives import Alternative
from taso_mini.joint.prices import KernelPrices
from taso_mini.layouts.joint import JOINT, LAYOUTS, SEQUENTIAL, JointlyOptimized, Search, optimize_jointly
from taso_mini.layouts.realize import realize
from taso_mini.optimizer import optimize
from taso_mini.terms import Substitution


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What a proposal may look at.

    defaults: prices operators under default schedules. known: prices them by the best that is known (`KnownCosts`);
    the same as `defaults` while nothing is. search: looks for a cheaper graph under a cost source.
    """

    graph: Graph
    rules: Sequence[Substitution]
    defaults: CostSource
    known: CostSource
    search: Search = optimize
    found: dict[int, JointlyOptimized] = field(default_factory=dict)

    def jointly(self, costs: CostSource) -> JointlyOptimized:
        """The joint search of substitutions and layouts as the back end fuses, once for each of the two sources."""
        if id(costs) not in self.found:
            self.found[id(costs)] = optimize_jointly(self.graph, self.rules, fused(costs), search=self.search)
        return self.found[id(costs)]


Propose = Callable[[Beliefs], Iterator[Alternative]]


class KnownCosts:
    """Operators by their tuned or predicted seconds where there are any, else as measured under default schedules.

    Until an operator that is not tuned is asked for exactly it is estimated at its default price, corrected by what
    exact prices of that operator have shown so far.
    """

    def __init__(self, prices: KernelPrices, defaults: MeasuredCost) -> None:
        """Ask `prices` first, then `defaults`."""
        self.prices, self.defaults = prices, defaults
        self._settled = MeasuredCost(self._seconds, estimates=defaults)

    def estimate(self, node: Node, types: Types) -> float:
        """Return the tuned seconds, or an estimate."""
        tuned = self.prices.tuned_node(node, types)
        return self._settled.estimate(node, types) if tuned is None else tuned.seconds

    def cost(self, node: Node, types: Types) -> float:
        """Return the best known seconds, measuring a default schedule if there are none."""
        return self._settled.cost(node, types)

    def _seconds(self, node: Node, types: Types) -> float:
        price = self.prices.of_node(node, types)
        return self.defaults.cost(node, types) if price is None else price.seconds


def as_given(beliefs: Beliefs) -> Iterator[Alternative]:
    """No substitutions, images in channels-last order: Ansor alone."""
    yield Alternative("as given", to_channels_last(beliefs.graph).fold_constants())


def by_operations(beliefs: Beliefs) -> Iterator[Alternative]:
    """The best graph by a formula of operations and bytes, which knows no machine; images in channels-last order."""
    found = beliefs.search(beliefs.graph, beliefs.rules, fused(FlopCost()))
    yield Alternative("by operations", to_channels_last(found.graph).fold_constants(), found.trace.steps)


def by_default_schedules(beliefs: Beliefs) -> Iterator[Alternative]:
    """What TASO chooses without knowing that kernels will be tuned: TASO, then Ansor."""
    yield from _named(beliefs.jointly(beliefs.defaults), {"by default schedules": JOINT})


def by_known_prices(beliefs: Beliefs) -> Iterator[Alternative]:
    """The best graph and layouts under the best known prices, and those of single steps on the way."""
    names = {"by known prices": JOINT, "its layouts alone": LAYOUTS, "layouts last": SEQUENTIAL}
    yield from _named(beliefs.jointly(beliefs.known), names)


def if_fused_is_free(beliefs: Beliefs) -> Iterator[Alternative]:
    """As if element-wise operators and concatenations cost nothing."""
    free = dict.fromkeys(FUSED_SHARES, 0.0)
    found = optimize_jointly(beliefs.graph, beliefs.rules, Views(Shares(beliefs.known, free)), search=beliefs.search)
    yield from _named(found, {"if fused is free": JOINT})


def if_nothing_fuses(beliefs: Beliefs) -> Iterator[Alternative]:
    """As in the paper: every operator is a kernel of its own."""
    found = optimize_jointly(beliefs.graph, beliefs.rules, Views(beliefs.known), search=beliefs.search)
    yield from _named(found, {"if nothing fuses": JOINT})


PROPOSALS: Mapping[str, Propose] = {
    "as given": as_given,
    "by operations": by_operations,
    "by default schedules": by_default_schedules,
    "by known prices": by_known_prices,
    "if fused is free": if_fused_is_free,
    "if nothing fuses": if_nothing_fuses,
}
# What these propose does not change with what is known; one round asks them.
LASTING = frozenset(("as given", "by operations", "by default schedules"))


def fused(costs: CostSource) -> CostSource:
    """What the back end makes of single operators: it fuses some into others, and reads whole pieces in place."""
    return Views(Shares(costs, FUSED_SHARES))


def _named(found: JointlyOptimized, names: Mapping[str, str]) -> Iterator[Alternative]:
    """Some variants of a search, under the names that the list gives them."""
    for name, variant in names.items():
        steps = found.steps if variant == JOINT else ()
        yield Alternative(name, realize(found.variants[variant]), steps)


def different(alternatives: Sequence[Alternative]) -> list[Alternative]:
    """Those that run other kernels than all before them."""
    kept: list[Alternative] = []
    for alternative in alternatives:
        if all(alternative.runs != other.runs for other in kept):
            kept.append(alternative)
    return kept
