"""Graph and loops searched together: propose graphs, tune the kernels that decide between them, propose again.

Neither paper does this. TASO prices operators before anything is tuned; Ansor tunes whatever graph it is given.

1. Propose graphs (`proposals`) under the best known prices; at first those are earlier records, and measurements of
   default schedules.
2. Keep those that may still win, and besides the few with the least bills.
3. Tune all their kernels as the networks of one scheduler whose objective is the choice among them (`graph_choice`):
   a kernel gets trials by how often it runs in the graphs that may still win.
4. What was found goes into the record store, and teaches the model that foretells other kernels (`latency_model`); the
   prices are better now. Again from 1, until the trials are spent.
5. The graphs with the least bills are built and timed in turns; the fastest is the result. (Kernels are measured one
   by one, with their operands in the cache; where weights come from memory, bills are too low, and need not order
   graphs as they run.)

Every price says where it comes from, in the log and in the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ansor_mini.network_tuner import NetworkTuner, Scheduling
from runtime.graph import Graph
from runtime.machine import Machine
from taso_mini.compile_job import Log
from taso_mini.costs import MeasuredCost
from taso_mini.joint.alternatives import Alternative, Bill, bill
from taso_mini.joint.finals import Joined, Round, best_nests, choose_and_keep, network_of, time_networks
from taso_mini.joint.graph_choice import GraphChoice
from taso_mini.joint.latency_model import LatencyModel
from taso_mini.joint.prices import KernelPrices
from taso_mini.joint.proposals import LASTING, PROPOSALS, Beliefs, KnownCosts, different, fused
from taso_mini.joint.recall import recall
from taso_mini.joint.store import Store
from taso_mini.layouts.joint import Search
from taso_mini.load_model import sample_inputs
from taso_mini.optimizer import optimize
from taso_mini.terms import Substitution

ALIVE = 0.05  # chance to win with which a graph stays for another round


@dataclass(frozen=True)
class JointOptions:
    """How hard to search.

    trials, budget_seconds: programs to measure and seconds to tune in all; proposing and timing come on top. rounds: of
    proposing and tuning. keep: graphs between which a round decides, at most. within: dearer ones, relative to the
    least bill, are not kept. finalists: graphs that are built and timed; one needs no timing. proposals: names of
    `PROPOSALS`. search: for substitutions. seed: of the tuning.
    """

    trials: float = math.inf
    budget_seconds: float = math.inf
    rounds: int = 3
    keep: int = 5
    within: float = 1.5
    finalists: int = 5
    proposals: Sequence[str] = tuple(PROPOSALS)
    search: Search = optimize
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers and names.  Raises: ValueError."""
        if math.isinf(self.trials) and math.isinf(self.budget_seconds):
            raise ValueError("expected trials or budget_seconds, or both: the search would not end")
        if self.trials < 0 or self.rounds < 1 or self.keep < 1 or self.finalists < 1 or self.within < 1:
            raise ValueError(
                "expected trials >= 0, rounds, keep and finalists >= 1 and within >= 1, got "
                f"{self.trials}, {self.rounds}, {self.keep}, {self.finalists} and {self.within}"
            )
        unknown = [name for name in self.proposals if name not in PROPOSALS]
        if unknown or not self.proposals:
            raise ValueError(f"proposals: expected some of {', '.join(PROPOSALS)}, got {list(self.proposals)}")


@dataclass(eq=False)
class JointSearch:
    """One joint search of a model.

    defaults: prices operators alone under default schedules, and keeps what it measured. store: gets all records, and
    has those of earlier searches.
    """

    graph: Graph
    rules: Sequence[Substitution]
    machine: Machine
    store: Store
    defaults: MeasuredCost
    options: JointOptions
    log: Log = lambda _: None
    trials: int = 0
    model: LatencyModel = field(init=False)
    prices: KernelPrices = field(init=False)

    def __post_init__(self) -> None:
        """Set up the prices."""
        self.model = LatencyModel(self.machine, self.store.threads, seed=self.options.seed)
        self.prices = KernelPrices(self.store, fused(self.defaults), self.model)

    def run(self) -> Joined:
        """Search; Ctrl-C ends the tuning, and the best so far is the result."""
        start, options = time.monotonic(), self.options
        kept: list[Alternative] = []
        rounds: list[Round] = []
        stopped, left = "trials", options.budget_seconds
        for number in range(options.rounds):
            bills = self._candidates(kept, rounds)
            kept = list(bills)
            share, before, began = 1 / (options.rounds - number), self.trials, time.monotonic()
            stopped, chances = self._tune(kept, (options.trials - self.trials) * share, left * share)
            left -= time.monotonic() - began
            named = {alternative.name: own for alternative, own in bills.items()}
            rounds.append(Round(named, chances, self.trials - before))
            self.log(f"round {number + 1}: {self.trials} trials; chances {_percent(chances)}")
            if stopped == "interrupted":
                break
        return self._finish(kept, rounds, stopped, start)

    def _candidates(self, kept: Sequence[Alternative], rounds: Sequence[Round]) -> dict[Alternative, Bill]:
        """The graphs to decide between, with their bills: those that may still win first, then the cheapest."""
        chances = rounds[-1].chances if rounds else {}
        found = different([*kept, *self._proposed(len(rounds))])
        bills = {alternative: bill(alternative, self.prices) for alternative in found}
        limit = self.options.within * min(own.seconds for own in bills.values())

        def rank(alternative: Alternative) -> tuple[bool, float]:
            return chances.get(alternative.name, 0.0) < ALIVE, bills[alternative].seconds

        best = sorted((made for made in found if bills[made].seconds <= limit), key=rank)[: self.options.keep]
        for alternative in best:
            self.log(f"{alternative.name}: {bills[alternative]}")
        return {alternative: bills[alternative] for alternative in best}

    def _proposed(self, number: int) -> list[Alternative]:
        """The graphs that the proposals name; in the first round those that need no records come first."""
        beliefs = Beliefs(self.graph, self.rules, self.defaults, self.defaults, self.options.search)
        names = [name for name in PROPOSALS if name in self.options.proposals]
        lasting = [name for name in names if name in LASTING and number == 0]
        found = [made for name in lasting for made in PROPOSALS[name](beliefs)]
        if recall(self.prices, found) or number:
            beliefs = replace(beliefs, known=KnownCosts(self.prices, self.defaults))
        for name in names:
            if name not in LASTING:
                found += [_numbered(made, number) for made in PROPOSALS[name](beliefs)]
        return found

    def _tune(self, kept: Sequence[Alternative], trials: float, seconds: float) -> tuple[str, dict[str, float]]:
        """One round of tuning; why it stopped, and each graph's chance to be the best."""
        fixed = [bill(alternative, self.prices).fixed for alternative in kept]
        objective = partial(GraphChoice, fixed=fixed, seed=self.options.seed)
        with self._tuner(kept, Scheduling(objective=objective)) as tuner:
            earlier = tuner.trials
            last = math.inf if math.isinf(trials) else earlier + max(0, math.ceil(trials))
            stopped = tuner.run(trials=last, budget_seconds=seconds)
            self.trials += tuner.trials - earlier
            self._learn(tuner)
            chances = [1.0 / len(kept)] * len(kept)
            if all(task.history for task in tuner.scheduler.tasks) and math.isfinite(tuner.scheduler.value):
                histories = [task.history for task in tuner.scheduler.tasks]
                made = tuner.scheduler.objective
                assert isinstance(made, GraphChoice)
                chances = made.chances(tuner.scheduler.latencies, histories).tolist()
        return stopped, dict(zip([alternative.name for alternative in kept], chances, strict=True))

    def _tuner(self, kept: Sequence[Alternative], scheduling: Scheduling) -> NetworkTuner:
        first, *others = [(alternative.parts, frozenset(alternative.graph.weights)) for alternative in kept]
        return NetworkTuner(
            first[0],
            weights=first[1],
            others=others,
            machine=self.machine,
            threads=self.store.threads,
            seed=self.options.seed,
            records=self.store,
            resume=list(self.store.records),
            scheduling=scheduling,
        )

    def _learn(self, tuner: NetworkTuner) -> None:
        """Take what was measured into the model and the prices."""
        found = {self.prices.kernel(task.part, task.tuner.task.constants): task for task in tuner.tasks.values()}
        self.prices.learn(
            {
                kernel: task.tuner.measured
                for kernel, task in found.items()
                if kernel is not None and task.tuner.measured
            }
        )

    def _finish(self, kept: Sequence[Alternative], rounds: Sequence[Round], stopped: str, start: float) -> Joined:
        """Confirm the finalists' kernels, choose among them in place, build the graphs, time them in turns, choose."""
        bills = {alternative: bill(alternative, self.prices) for alternative in kept}
        final = sorted(bills, key=lambda alternative: bills[alternative].seconds)[: self.options.finalists]
        fresh = any(one.trials for one in rounds)
        if stopped != "interrupted" and fresh:
            with self._tuner(final, Scheduling()) as tuner:
                tuner.confirm()
        if stopped != "interrupted" and self.options.trials:
            self._choose_in_place([made for made in final if fresh or self.store.choice(made.parts) is None])
        nests = {alternative.name: best_nests(alternative, self.prices, self.machine) for alternative in final}
        timed: dict[str, float] = {}
        if len(final) > 1:
            networks = {made.name: network_of(made, nests[made.name], self.store.threads) for made in final}
            timed = time_networks(networks, sample_inputs(self.graph), self.store.threads)
        chosen = min(final, key=lambda alternative: timed.get(alternative.name, bills[alternative].seconds))
        error = self.model.check() if self.model.ready else None
        if error is not None:
            self.log(f"predictions of kernels not yet tuned are off by a factor of {math.exp(error):.2f} in the median")
        self.log(f"chosen: {chosen.name}")
        return Joined(
            chosen=chosen,
            nests=nests[chosen.name],
            bills={alternative.name: bill(alternative, self.prices) for alternative in kept},
            timed=timed,
            rounds=tuple(rounds),
            trials=self.trials,
            seconds=time.monotonic() - start,
            stopped=stopped,
            prediction_error=error,
            choice=self.store.choice(chosen.parts),
        )

    def _choose_in_place(self, final: Sequence[Alternative]) -> None:
        feeds = sample_inputs(self.graph)
        for alternative in final:
            self.log(f"{alternative.name}: {choose_and_keep(alternative, self.prices, self.machine, feeds)}")


def _numbered(alternative: Alternative, number: int) -> Alternative:
    """Later rounds' graphs have the round in their names."""
    if number == 0:
        return alternative
    return Alternative(f"{alternative.name} ({number + 1})", alternative.graph, alternative.steps)


def _percent(chances: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {chance:.0%}" for name, chance in chances.items())
