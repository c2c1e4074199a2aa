"""Many ways straight down: random orders of the rules, and steps aside where nothing gains.

Paper: TASO §5. What a descent ends at depends on the order in which gains are taken, and no order is best everywhere.
Descents are cheap, above all since they share the graphs they meet, so a search tries a number of orders drawn at
random. Where nothing gains, a descent goes on to a graph of the same cost that it has not been at: there are rules
that cost nothing themselves and make others possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from taso_mini.descent import Candidate
from taso_mini.matching import Matcher
from taso_mini.substitution import Rewrite

PATIENCE = 12  # steps aside in a row


def restarts(
    start: Candidate, matcher: Matcher, count: int, rng: np.random.Generator, rejected: Counter[str]
) -> Iterator[Candidate]:
    """Descend `count` times by estimated costs, and yield the graph at the end of each."""
    met = {start.graph.fingerprint: start}
    names = [rule.name for rule in matcher.rules]
    for _ in range(count):
        rank = dict(zip(names, rng.permutation(len(names)).tolist()))
        yield _descend(start, matcher, rank, met, rejected)


def _descend(
    start: Candidate, matcher: Matcher, rank: Mapping[str, int], met: dict[int, Candidate], rejected: Counter[str]
) -> Candidate:
    here = start
    been = {start.graph.fingerprint}
    aside = 0
    while True:
        here.expand(matcher, rejected)
        step = _first(here, rank, met, been, aside < PATIENCE)
        if step is None:
            return here  # no dearer than any graph before it
        aside = aside + 1 if step.graph.cost == here.graph.cost else 0
        been.add(step.graph.fingerprint)
        here = step


def _first(
    here: Candidate, rank: Mapping[str, int], met: dict[int, Candidate], been: set[int], sideways: bool
) -> Candidate | None:
    """Return the graph after the first rewrite, by rank, that gains, or else that costs nothing."""
    epoch = here.graph.values.epoch

    def order(rewrite: Rewrite) -> tuple[bool, int, int]:
        price = rewrite.change.price(epoch)
        return price == 0, rank[rewrite.match.rule.name], price

    highest = 0 if sideways else -1
    for rewrite in sorted([r for r in here.rewrites if r.change.price(epoch) <= highest], key=order):
        fingerprint = (here.graph.fingerprint + rewrite.change.fingerprint) % 2**64
        if fingerprint in been:
            continue
        step = met.get(fingerprint) or here.child(rewrite, settle=False)
        if step is None or step.graph.cost > here.graph.cost + highest:
            been.add(fingerprint)  # a cycle, or dearer than it seemed
            continue
        met[fingerprint] = step
        return step
    return None
