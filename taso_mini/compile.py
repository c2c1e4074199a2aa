"""The main job: a model goes in; an equal, faster one comes out, and is checked.

1. Load the model and compute its outputs with the operators' NumPy references.
2. Substitute: search for a cheaper equal graph (Paper: TASO §5).
3. Partition it into fused subgraphs and tune a kernel for each (Paper: Ansor §3).
4. Compile the network and compare its outputs with step 1's.
5. Time it against the model as imported in plain loops, under default schedules, after substitution alone, and against
   ONNX Runtime when that is installed, all interleaved.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ansor_mini.default_schedule import default_nest
from ansor_mini.network import assemble, default_network, nests_for, plain_nest, plain_network
from ansor_mini.network_tuner import NetworkTask, NetworkTuner
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph, partition
from ansor_mini.records import Record, RecordFile, best_of, read_records
from ansor_mini.task_tuner import program_of
from runtime import executor
from runtime.compile_c import cache_directory, find_compiler
from runtime.executor import CompiledNetwork
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.loop_nest import LoopNest
from runtime.machine import Machine, detect
from runtime.network import Network
from runtime.onnx_peer import onnxruntime_program
from runtime.staging import check_writable
from runtime.timing import interleaved
from taso_mini.ansor_backend import MeasuredKernels
from taso_mini.costs import FlopCost, MeasuredCost
from taso_mini.load_model import load_model, sample_inputs
from taso_mini.optimizer import Optimized, optimize
from taso_mini.rules_text import load_rules

DEFAULT_BUDGET_SECONDS = 80.0
PROGRESS_SECONDS = 5.0
RECORDS = "records.jsonl"
VARIANTS = PLAIN, DEFAULT, TASO, TUNED = "plain loops", "default schedules", "TASO", "TASO + Ansor"
PEER = "ONNX Runtime"


@dataclass(frozen=True)
class CompileOptions:
    """What `compile_model` may be told.

    trials, budget_seconds: programs to measure and seconds to spend in all; with neither, 80 seconds.
    cost: "measured" (operators timed on this machine, once each, kept in `cost_file`) or "flops" (a model).
    out: directory for the compiled network, the records and the report. resume: go on from the records in it.
    records: a file with earlier records; with no trials, the best programs in it are used as they are.
    compare: also build and time the plain, default and substituted variants and ONNX Runtime.
    """

    trials: int | None = None
    budget_seconds: float | None = None
    threads: int | None = None
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    out: Path | None = None
    resume: bool = False
    records: Path | None = None
    cost: str = "measured"
    cost_file: Path | None = None
    compare: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (("trials", self.trials, 0), ("threads", self.threads, 1)):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.budget_seconds is not None and not self.budget_seconds >= 0:
            raise ValueError(f"budget_seconds must not be negative, got {self.budget_seconds}")
        if self.cost not in ("measured", "flops"):
            raise ValueError(f'cost must be "measured" or "flops", got {self.cost!r}')
        if self.resume and self.out is None:
            raise ValueError("--resume needs --out DIR, where the records are")


@dataclass(frozen=True)
class TunedTask:
    """One line of the report: a distinct kernel, what it cost by default and what it costs now, in seconds per call."""

    key: str
    label: str
    weight: int
    trials: int
    default_seconds: float
    best_seconds: float
    gflops: float
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Compiled:
    """The result of `compile_model`.

    latency: seconds per inference by variant. errors: largest difference from the NumPy reference by variant, relative
    to the largest magnitude in the output.
    hottest: the kernel that takes the most time; before, after: its loop nests in plain loops and as compiled.
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
    before: LoopNest
    after: LoopNest

    @property
    def max_relative_error(self) -> float:
        """The largest of `errors`."""
        return max(self.errors.values())


class WrongOutput(RuntimeError):
    """A compiled network does not compute what its model says."""


Log = Callable[[str], None]
TOLERANCE = 1e-3  # of the largest magnitude in an output


def compile_model(
    model: str | Path | Graph, options: CompileOptions | None = None, log: Log = lambda _: None
) -> Compiled:
    """Compile a model; see the module.

    log: is told one line per stage.
    Raises: ValueError: a bad model or option; OutputError: `out` cannot be written; CompilerNotFound; WrongOutput.
    """
    options = options or CompileOptions()
    if options.out is not None:
        check_writable(options.out)
    find_compiler()
    machine = detect()
    threads = options.threads or machine.cores
    graph = load_model(model, seed=options.seed, shapes=options.shapes)
    log(f"{graph.name}: {len(graph.nodes)} operators, {graph.flops / 1e9:.3f} GFLOP")
    feeds = sample_inputs(graph, options.seed)
    reference = graph.evaluate(feeds)

    optimized = substitute(graph, machine, threads, options)
    log(f"{len(optimized.trace.steps)} substitutions, {optimized.trace.expanded} graphs looked at")
    better = to_channels_last(optimized.graph)
    parts = partition(better)
    tuned = tune(parts, better.weights, machine, threads, options, log)
    nests = nests_for(parts, lambda part: tuned.nests.get(part.key) or default_nest(part, machine, threads))
    directory = options.out or Path(tempfile.mkdtemp(prefix="mini-compilers-model-"))
    network = executor.build(assemble(better, parts, nests, threads=threads), directory, threads=threads)

    with tempfile.TemporaryDirectory(prefix="mini-compilers-") as scratch:
        variants = {TUNED: network}
        if options.compare:
            for name, other in _other_variants(graph, better, machine, threads):
                log(f"building the variant for comparison: {name}")
                cores = 1 if name == PLAIN else threads
                variants[name] = executor.build(other, Path(scratch) / name.replace(" ", "-"), threads=cores)
        errors = {name: relative_error(variant.run(**feeds), reference) for name, variant in variants.items()}
        for name, error in errors.items():
            if not error <= TOLERANCE:
                raise WrongOutput(f"{graph.name} under {name} differs from its NumPy reference by {error:.1e}")
        latency: dict[str, float] = {}
        if options.compare:
            log("timing")
            path = None if isinstance(model, Graph) or not Path(model).exists() else Path(model)
            latency = _latency(variants, onnxruntime_program(graph, feeds, threads, path=path), feeds)
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
        hottest=hot.key,
        before=plain_nest(hot),
        after=nests[hot.key],
    )


def _latency(
    variants: Mapping[str, CompiledNetwork], peer: Callable[[], object] | None, feeds: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Seconds per inference of all variants and the peer, taken in turns."""
    programs: dict[str, Callable[[], object]] = {name: variants[name].bind(feeds) for name in VARIANTS}
    return interleaved(programs | ({PEER: peer} if peer is not None else {}))


def substitute(graph: Graph, machine: Machine, threads: int, options: CompileOptions) -> Optimized:
    """Search for a cheaper equal graph with the shipped rules."""
    rules = load_rules()
    if options.cost == "flops":
        return optimize(graph, rules, FlopCost())
    with MeasuredKernels(machine, threads) as measure:
        path = options.cost_file or cache_directory() / "operator-costs.jsonl"
        return optimize(graph, rules, MeasuredCost(measure, path, f"{machine.line}; {threads} threads"))


@dataclass(frozen=True)
class Tuned:
    """What tuning the kernels gave: the report's lines and the best nests by subgraph key."""

    tasks: tuple[TunedTask, ...] = ()
    nests: Mapping[str, LoopNest] = field(default_factory=dict)
    trials: int = 0
    stopped: str = "trials"


def tune(
    parts: Sequence[Subgraph],
    weights: Collection[str],
    machine: Machine,
    threads: int,
    options: CompileOptions,
    log: Log,
) -> Tuned:
    """Tune the kernels of a partitioned graph with these weights, within the options' trials and seconds."""
    if options.trials == 0:
        return Tuned(nests=recorded_nests(parts, options.records, threads) if options.records else {})
    budget = options.budget_seconds
    if budget is None:
        budget = DEFAULT_BUDGET_SECONDS if options.trials is None else math.inf
    path = options.out / RECORDS if options.out else None
    earlier = read_records(path) if options.resume and path is not None and path.exists() else []
    with ExitStack() as stack:
        sink = stack.enter_context(RecordFile(path)) if path is not None else None
        tuner = NetworkTuner(
            parts,
            weights=weights,
            machine=machine,
            threads=threads,
            seed=options.seed,
            records=sink,
            resume=earlier,
            observer=_progress(log),
        )
        stack.enter_context(tuner)
        stopped = tuner.run(trials=math.inf if options.trials is None else options.trials, budget_seconds=budget)
        if stopped != "interrupted":
            tuner.confirm()
        tasks = tuple(_line(key, task) for key, task in tuner.tasks.items())
        return Tuned(tasks, tuner.nests(), tuner.trials, stopped)


def recorded_nests(parts: Sequence[Subgraph], path: Path, threads: int) -> dict[str, LoopNest]:
    """The best recorded program of each kernel for so many threads, whichever machine it was found on."""
    records = read_records(path)
    nests: dict[str, LoopNest] = {}
    for part in parts:
        if part.kind == "compute" and part.key not in nests:
            dag = declare(part.fragment)
            best = best_of(records, dag.key(), threads)
            if best is not None:
                nests[part.key] = program_of(best, dag).lower()
    return nests


def _line(key: str, task: NetworkTask) -> TunedTask:
    result = task.result("")
    return TunedTask(
        key=key,
        label=task.label,
        weight=task.weight,
        trials=result.trials,
        default_seconds=task.default_seconds,
        best_seconds=result.best_seconds,
        gflops=result.gflops,
        failures=result.failures,
    )


def _progress(log: Log) -> Callable[[NetworkTask, Record], None]:
    """Log a line every few seconds of tuning."""
    last = time.monotonic()

    def observe(task: NetworkTask, record: Record) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log(f"tuning {task.label}: {len(task.tuner.measured)} trials, best {task.tuner.best_seconds * 1e6:.1f} us")

    return observe


def _other_variants(graph: Graph, better: Graph, machine: Machine, threads: int) -> Iterator[tuple[str, Network]]:
    """What the result is compared with, each made when it is asked for."""
    yield PLAIN, plain_network(graph)
    yield DEFAULT, default_network(to_channels_last(graph), machine, threads)
    yield TASO, default_network(better, machine, threads)


def _hottest(parts: Sequence[Subgraph], tasks: Sequence[TunedTask]) -> Subgraph:
    """The kernel that takes the most time, or without timings the one with the most arithmetic."""
    seconds = {task.key: task.weight * task.best_seconds for task in tasks}
    kernels = [part for part in parts if part.kind == "compute"]
    return max(kernels, key=lambda part: (seconds.get(part.key, 0.0), part.fragment.flops))


def relative_error(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Largest difference in any output, relative to the largest magnitude in that output; infinite for a NaN."""
    worst = 0.0
    for name, array in wanted.items():
        scale = float(np.max(np.abs(array))) or 1.0
        error = float(np.max(np.abs(found[name].astype(np.float64) - array))) / scale
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst
