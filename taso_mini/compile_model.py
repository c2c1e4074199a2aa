"""The main job: a model goes in; an equal, faster one comes out, and is checked.

1. Load the model and compute its outputs with the operators' NumPy references.
2. Substitute: search for a cheaper equal graph and its layouts (Paper: TASO §5); it stays unless the given one is
   faster under default schedules.
3. Partition it into fused subgraphs and tune a kernel for each (Paper: Ansor §3). Or do 2 and 3 at once, so that tuned
   kernels decide between graphs (`joint`). Of the best programs of each kernel, that one stays which takes least time
   in the network.
4. Compile the network and compare its outputs with step 1's.
5. Time it against the model as imported in plain loops, under default schedules, after substitution alone, and against
   ONNX Runtime when that is installed, all interleaved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.default_schedule import default_nest
from ansor_mini.network import assemble, default_network, nests_for, plain_nest, plain_network
from ansor_mini.network_choice import NetworkChoice
from ansor_mini.partition import Subgraph, partition
from ansor_mini.recorded_kernels import dags_of, nests_of_choice
from runtime import executor
from runtime.compile_c import find_compiler
from runtime.compiled_network import CompiledNetwork
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from runtime.memory_plan import plan
from runtime.network import Network
from runtime.onnx_peer import onnxruntime_program
from runtime.staging import check_writable
from runtime.timing import interleaved
from taso_mini.ansor_backend import FUSED_SHARES
from taso_mini.compile_job import Job, Log, measured_costs
from taso_mini.compile_options import CompileOptions
from taso_mini.costs import CostSource, FlopCost, Shares, Views
from taso_mini.derived_rules import completed
from taso_mini.final_kernels import choose_kernels
from taso_mini.graph_check import keep_faster, under_default_schedules
from taso_mini.joint.compiling import compile_jointly
from taso_mini.joint.definitions import tune_definitions
from taso_mini.kernel_tuning import Tuned, TunedTask
from taso_mini.layouts.joint import JOINT, LAYOUTS, optimize_jointly
from taso_mini.load_model import load_model, sample_inputs
from taso_mini.optimizer import Optimized, optimize
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution
from taso_mini.trace import Trace

VARIANTS = PLAIN, DEFAULT, TASO, TUNED = "plain loops", "default schedules", "TASO", "TASO + Ansor"
PEER = "ONNX Runtime"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Compiled:
    """The result of `compile_model`.

    latency: seconds per inference by variant. errors: largest difference from the NumPy reference by variant, relative
    to the largest magnitude in the output.
    hottest: the kernel that takes the most time; before, after: its loop nests in plain loops and as compiled; none
        in a model that only moves data.
    choice: of the kernels by their time in the network, if it was made. emitted: where the C program went.
    """

    model: str
    machine: Machine
    threads: int
    seed: int
    network: CompiledNetwork
    substitution: Optimized
    tasks: tuple[TunedTask, ...]
    trials: int
    stopped: str
    latency: Mapping[str, float]
    errors: Mapping[str, float]
    hottest: str
    before: LoopNest | None
    after: LoopNest | None
    emitted: Path | None
    choice: NetworkChoice | None

    @property
    def max_relative_error(self) -> float:
        """The largest of `errors`."""
        return max(self.errors.values())


class WrongOutput(RuntimeError):
    """A compiled network does not compute what its model says."""


TOLERANCE = 1e-3  # of the largest magnitude in an output


def compile_model(
    model: str | Path | Graph, options: CompileOptions | None = None, log: Log = lambda _: None
) -> Compiled:
    """Compile a model; see the module.

    log: is told one line per stage.
    Raises: ValueError: a bad model or option; OutputError: `out` cannot be written; CompilerNotFound; WrongOutput.
    """
    options = options or CompileOptions()
    for directory in (options.out, options.emit_c):
        if directory is not None:
            check_writable(directory)
    find_compiler()
    job = Job.here(options, log)
    machine, threads = job.machine, job.threads
    graph = load_model(model, seed=options.seed, shapes=options.shapes)
    log(f"{graph.name}: {len(graph.nodes)} operators, {graph.flops / 1e9:.3f} GFLOP")
    feeds = sample_inputs(graph, options.seed)
    reference = graph.evaluate(feeds)

    optimized, tuned = choose(graph, job)
    better = optimized.graph
    parts = partition(better)
    choice = choose_kernels(better, parts, tuned, feeds, job)
    known = nests_of_choice(choice, dags_of(parts)) if choice is not None else tuned.nests
    nests = nests_for(parts, lambda part: known.get(part.key) or default_nest(part, machine, threads))
    assembled = assemble(better, parts, nests, threads=threads)
    log(f"memory: {plan(assembled)}")
    network = executor.build(assembled, options.out, threads=threads)
    variants = {TUNED: network, **(_other_variants(graph, better, job) if options.compare else {})}
    errors = _checked(graph.name, variants, feeds, reference)
    latency: dict[str, float] = {}
    if options.compare:
        log("timing")
        path = None if isinstance(model, Graph) or not Path(model).exists() else Path(model)
        latency = _latency(variants, onnxruntime_program(graph, feeds, threads, path=path), feeds)
    if options.emit_c is not None:
        network.emit_c(options.emit_c)
    hot = _hottest(parts, tuned.tasks)
    return Compiled(
        model=graph.name,
        machine=machine,
        threads=threads,
        seed=options.seed,
        network=network,
        substitution=optimized,
        tasks=tuned.tasks,
        trials=tuned.trials,
        stopped=tuned.stopped,
        latency=latency,
        errors=errors,
        hottest=hot.key if hot else "",
        before=plain_nest(hot) if hot else None,
        after=nests[hot.key] if hot else None,
        emitted=options.emit_c,
        choice=choice,
    )


def compile(model: str | Path | Graph, *, log: Log = lambda _: None, **options: Any) -> CompiledNetwork:
    """Compile a model into a function of arrays; `from taso_mini import compile, load`.

    options: the fields of `CompileOptions` (trials=, threads=, shapes=, out=, …). Without `out` the files are
    temporary and go with the result; `save`, `emit_c` and pickle keep it. Other variants are not built for comparison.
    Raises: as `compile_model`; TypeError: an unknown option.
    """
    return compile_model(model, CompileOptions(**{"compare": False, **options}), log).network


load = CompiledNetwork.load


def _checked(model: str, variants: Mapping[str, CompiledNetwork], feeds: Arrays, wanted: Arrays) -> dict[str, float]:
    """The error of each variant.  Raises: WrongOutput: one is too large."""
    errors = {name: relative_error(variant.run(**feeds), wanted) for name, variant in variants.items()}
    for name, error in errors.items():
        if not error <= TOLERANCE:
            raise WrongOutput(f"{model} under {name} differs from its NumPy reference by {error:.1e}")
    return errors


def _latency(
    variants: Mapping[str, CompiledNetwork], peer: Callable[[], object] | None, feeds: Arrays
) -> dict[str, float]:
    """Seconds per inference of all variants and the peer, taken in turns."""
    programs: dict[str, Callable[[], object]] = {name: variants[name].bind(feeds) for name in VARIANTS}
    return interleaved(programs | ({PEER: peer} if peer is not None else {}))


def choose(graph: Graph, job: Job) -> tuple[Optimized, Tuned]:
    """The graph to compile, in its layouts, and its kernels as tuned: one after the other, or both at once."""
    if job.options.joint:
        return compile_jointly(graph, job)
    if job.options.cost == "flops":
        optimized = substitute(graph)
        optimized = replace(optimized, graph=to_channels_last(optimized.graph))
    else:
        optimized = lay_out(graph, job)
    job.log(f"{len(optimized.trace.steps)} substitutions, {optimized.trace.expanded} graphs looked at")
    defined, tuned = tune_definitions(optimized.graph, job)
    return replace(optimized, graph=defined), tuned


def substitute(graph: Graph) -> Optimized:
    """Search for a cheaper equal graph with the shipped rules, prices by a formula; layouts stay as they are."""
    return optimize(graph, completed(load_rules()), Shares(FlopCost(), FUSED_SHARES))


def lay_out(graph: Graph, job: Job) -> Optimized:
    """Search for a cheaper equal graph and its layouts with the shipped rules, prices measured under default schedules.

    The costs are those of the given graph in its best layouts, and of the result. When the given graph turns out to be
    the faster one it is returned, its images channels last.
    """
    looked_at: list[int] = []

    def search(graph: Graph, rules: Sequence[Substitution], costs: CostSource) -> Optimized:
        found = optimize(graph, rules, costs)
        looked_at.append(found.trace.expanded)
        return found

    with measured_costs(job) as measured:
        costs = Views(Shares(measured, FUSED_SHARES))
        found = optimize_jointly(graph, completed(load_rules()), costs, search=search)
    trace = Trace(found.steps, sum(looked_at))
    chosen = Optimized(found.graph, found.costs[LAYOUTS], found.costs[JOINT], trace)
    timer = under_default_schedules(job.machine, job.threads, job.options.seed)
    return keep_faster(graph, chosen, costs, timer, job.log)


def _other_variants(graph: Graph, better: Graph, job: Job) -> dict[str, CompiledNetwork]:
    """What the result is compared with, built one after the other."""
    makers: dict[str, Callable[[], Network]] = {
        PLAIN: lambda: plain_network(graph),
        DEFAULT: lambda: default_network(to_channels_last(graph), job.machine, job.threads),
        TASO: lambda: default_network(better, job.machine, job.threads),
    }
    built = {}
    for name, make in makers.items():
        network = make()
        job.log(f"building the variant for comparison: {name}")
        built[name] = executor.build(network, threads=1 if name == PLAIN else job.threads)
    return built


def _hottest(parts: Sequence[Subgraph], tasks: Sequence[TunedTask]) -> Subgraph | None:
    """The kernel that takes the most time, or without timings the one with the most arithmetic; None without any."""
    seconds = {task.key: task.weight * task.best_seconds for task in tasks}
    kernels = [part for part in parts if part.kind == "compute"]
    return max(kernels, key=lambda part: (seconds.get(part.key, 0.0), part.fragment.flops), default=None)


def relative_error(found: Arrays, wanted: Arrays) -> float:
    """Largest difference in any output, relative to the largest magnitude in that output; infinite for a NaN."""
    worst = 0.0
    for name, array in wanted.items():
        scale = float(np.max(np.abs(array))) or 1.0
        error = float(np.max(np.abs(found[name].astype(np.float64) - array))) / scale
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst
