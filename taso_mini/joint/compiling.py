"""The joint search as a stage of `compile`: its graph, its kernels, and what the report says of them."""

from __future__ import annotations

from runtime.graph import Graph
from taso_mini.compile_job import Job, measured_costs
from taso_mini.derived_rules import completed
from taso_mini.joint.alternatives import Bill
from taso_mini.joint.finals import Joined
from taso_mini.joint.search import JointOptions, JointSearch
from taso_mini.joint.store import Store
from taso_mini.kernel_tuning import RECORDS, Tuned, TunedTask
from taso_mini.optimizer import Optimized
from taso_mini.rules_text import load_rules
from taso_mini.trace import Trace


def compile_jointly(graph: Graph, job: Job) -> tuple[Optimized, Tuned]:
    """Choose a graph in its layouts and tune its kernels, within the options' trials and seconds."""
    options, machine = job.options, job.machine
    trials, budget_seconds = options.limits
    path = options.out / RECORDS if options.out else None
    shared = options.records
    earlier = [shared] if shared is not None and shared.exists() else []
    also = shared if options.trials != 0 else None
    with (
        measured_costs(job) as defaults,
        Store(path, machine=machine, threads=job.threads, earlier=earlier, resume=options.resume, also=also) as store,
    ):
        search = JointSearch(
            graph,
            completed(load_rules()),
            machine,
            store,
            defaults,
            JointOptions(
                trials=trials,
                budget_seconds=budget_seconds,
                seed=options.seed,
                # Without trials nothing can be learned between rounds.
                rounds=1 if options.trials == 0 else JointOptions.rounds,
            ),
            job.log,
            trials=store.total if options.resume else 0,
        )
        found = search.run()
        for line in str(found).splitlines():
            job.log(line)
        return _optimized(found), _tuned(found, store)


def _optimized(found: Joined) -> Optimized:
    """The chosen graph and the rewrites on the way; its costs are bills: of the dearest graph left, and its own."""
    bills = {name: bill.seconds for name, bill in found.bills.items()}
    return Optimized(found.chosen.graph, max(bills.values()), bills[found.chosen.name], Trace(found.chosen.steps))


def _tuned(found: Joined, store: Store) -> Tuned:
    tasks = tuple(_tasks(found.bills[found.chosen.name], store))
    return Tuned(tasks, found.nests, found.trials, found.stopped, choice=found.choice)


def _tasks(bill: Bill, store: Store) -> list[TunedTask]:
    """The report's line of every kernel that was measured."""
    lines = []
    for item in bill.items:
        kernel = item.kernel
        best = store.best(kernel.task) if kernel is not None else None
        if kernel is None or best is None:
            continue
        lines.append(
            TunedTask(
                key=kernel.part.key,
                label=item.label,
                weight=item.runs,
                trials=store.tried(kernel.task),
                default_seconds=store.seconds(kernel.task, kernel.default),
                best_seconds=best.cost,
                gflops=kernel.dag.flops / best.cost / 1e9,
                failures=store.failures(kernel.task),
            )
        )
    return lines
