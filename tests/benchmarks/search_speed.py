"""How long the search itself takes: one round of evolution with the learned model, everything but measuring.

Paper: Ansor §7.4, Table 3

The task is a convolution with padding, bias and relu. A round draws 2048 random programs and evolves them for four
generations: sampling, mutation, crossover, validity, features, prediction, keeping the best 128. TVM v0.12, in C++,
takes 13.8 s on two cores for one. Here the process is pinned to one core. The model is trained on 1,000 programs whose
times are made up by arithmetic (with 5 % noise): they decide what the trees look like, hardly how long they take.

Then what is done once for each program that is measured: replaying its steps, lowering, emitting C.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ansor_mini.ablations import Search, by_evolution
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cost_model import TrivialModel
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.feature_arrays import population_features
from ansor_mini.learned_model import LearnedModel
from ansor_mini.lowering import lower
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_populations
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.tensor_expression import compute, placeholder
from ansor_mini.workload_tensors import convolution
from runtime.c_text.statements import EmitError
from runtime.emit_c import emit_kernel, native_vector_bytes
from runtime.expr import Const, maximum
from runtime.machine import Machine, detect
from tests.benchmarks.command import main

POPULATION, GENERATIONS, KEEP = 2048, 4, 128
TRAINING_PROGRAMS = 1000
BIGGER = 5  # times the population, and times the generations
BUDGET_SECONDS = 10.0  # for rounds of one size


def conv_bias_relu() -> ComputeDAG:
    """A 3 x 3 convolution of 14 x 14 x 256 (ResNet-50's), with padding, bias and relu; channels last."""
    conv = convolution(1, (14, 14), 256, 256, 3, 1, 1)
    bias = placeholder((256,), "bias")
    body = lambda *at: maximum(conv[at] + bias[at[-1]], Const(0.0, "float32"))  # noqa: E731
    return ComputeDAG([compute(conv.shape, body, "relu", axes=("n", "h", "w", "c"))])


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, threads of libraries included, on one of its cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@dataclass
class Clock:
    """Seconds spent in each part of a round."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to a part."""

        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

        return call


class TimedModel:
    """A model that has the clock running when it is asked."""

    def __init__(self, model: LearnedModel, clock: Clock) -> None:
        self.predict = model.predict
        self.update = model.update
        self.predict_population = clock.timed("features and prediction", model.predict_population)


def trained_model(search: Search, programs: int) -> tuple[LearnedModel, float]:
    """A model of random programs with made-up times, and the seconds that fitting took."""
    rng = np.random.default_rng(1)
    drawn = search.random_programs(programs)
    seconds = 1e-6 / TrivialModel(search.machine).predict(drawn) * rng.normal(1.0, 0.05, len(drawn))
    model = LearnedModel(rng, machine=search.machine)
    model.update(drawn[:-1], list(seconds[:-1]))
    started = time.perf_counter()
    model.train()
    return model, time.perf_counter() - started


def rounds(search: Search, options: EvolutionOptions, repeats: int) -> tuple[list[float], list[dict[str, float]]]:
    """The seconds of some rounds (fewer when they take long), and of their parts."""
    totals, parts = [], []
    while len(totals) < repeats and sum(totals) < BUDGET_SECONDS:
        clock = Clock()
        timed = Search(
            search.sketches,
            TimedModel(search.model, clock),  # type: ignore[arg-type]
            search.rng,
            search.machine,
            options=options,
            feasible=search.feasible,
        )
        started = time.perf_counter()
        found = by_evolution(timed, KEEP)
        totals.append(time.perf_counter() - started)
        assert len(found) == KEEP
        parts.append(clock.seconds | {"everything else": totals[-1] - sum(clock.seconds.values())})
    return totals, parts


def predictions(search: Search, repeats: int, size: int) -> tuple[float, float, int]:
    """Seconds per population of a size: features, features and prediction; and the groups of structures in it.

    Features alone are all of them; for a prediction only those that the trees look at are computed.
    """
    populations = _feasible(search, size)
    count = sum(map(len, populations))
    model = search.model

    def features() -> list[Any]:
        return [population_features(population, search.machine) for population in populations]

    def both() -> list[Any]:
        return [model.predict_population(population) for population in populations]

    scale = size / count
    return _median(features, repeats) * scale, _median(both, repeats) * scale, len(populations)


def _feasible(search: Search, count: int) -> list[Population]:
    drawn = sample_populations(search.sketches, count, search.rng, search.machine)
    return [population.take(search.feasible.of_population(population)) for population in drawn]


def _median(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def per_program(programs: Sequence[Program]) -> dict[str, list[float]]:
    """Seconds of each program for replaying, lowering and emitting."""
    native_vector_bytes()  # asks the compiler, once in a process
    seconds: dict[str, list[float]] = {"replay": [], "lower": [], "emit": []}
    for program in programs:
        try:
            at = [time.perf_counter()]
            state = program.schedule()
            at.append(time.perf_counter())
            nest = lower(state)
            at.append(time.perf_counter())
            emit_kernel(nest)
            at.append(time.perf_counter())
        except (ScheduleError, EmitError):  # the tuner drops these as well, counted
            continue
        for name, begin, end in zip(seconds, at, at[1:]):
            seconds[name].append(end - begin)
    return seconds


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the tables and return the figures."""
    machine: Machine = detect()
    repeats = 5 if quick else 15
    with one_core():
        started = time.perf_counter()
        sketches = derive(conv_bias_relu(), machine=machine)
        derive_seconds = time.perf_counter() - started
        untrained = Search(sketches, TrivialModel(machine), np.random.default_rng(0), machine)
        model, fit_seconds = trained_model(untrained, TRAINING_PROGRAMS)
        search = Search(sketches, model, np.random.default_rng(0), machine)
        first, _ = rounds(search, EvolutionOptions(POPULATION, GENERATIONS), 1)
        totals, parts = rounds(search, EvolutionOptions(POPULATION, GENERATIONS), repeats)
        more = EvolutionOptions(BIGGER * POPULATION, BIGGER * GENERATIONS)
        bigger = None if quick else rounds(search, more, 1)[0][0]
        features, both, groups = predictions(search, repeats, POPULATION)
        _, both_of_many, _ = predictions(search, 5, BIGGER * POPULATION)
        evolved = by_evolution(search, 32 if quick else 64)
        seconds = per_program(evolved)
    figures = {
        "round_seconds": statistics.median(totals),
        "first_round_seconds": first[0],
        "programs_per_second": POPULATION / both,
        "programs_per_second_of_a_bigger_population": BIGGER * POPULATION / both_of_many,
        "features_per_second": POPULATION / features,
        "bigger_round_seconds": bigger,
        "fit_seconds": fit_seconds,
        "per_program_ms": 1e3 * sum(statistics.median(times) for times in seconds.values()),
        **{f"{name}_ms": 1e3 * statistics.median(times) for name, times in seconds.items()},
    }
    show(figures, parts, seconds, derive_seconds, groups)
    return figures


def show(
    figures: dict[str, Any],
    parts: Sequence[dict[str, float]],
    seconds: dict[str, list[float]],
    derive_seconds: float,
    groups: int,
) -> None:
    """Print what was measured."""
    lines = [
        f"one round, {POPULATION} programs x {GENERATIONS} generations, one core",
        f"  {'whole round':34} {1e3 * figures['round_seconds']:8.1f} ms   (at most 500 wanted; the first, which "
        f"replays structures: {1e3 * figures['first_round_seconds']:.1f})",
    ]
    for name in parts[0]:
        lines.append(f"    {name:32} {1e3 * statistics.median(part[name] for part in parts):8.1f} ms")
    if figures["bigger_round_seconds"] is not None:
        name = f"{BIGGER} x the programs and generations"
        lines.append(f"  {name:34} {1e3 * figures['bigger_round_seconds']:8.1f} ms")
    lines += [
        f"all features of {POPULATION} programs in {groups} sketches: {figures['features_per_second']:,.0f} programs/s",
        f"features and prediction: {figures['programs_per_second']:,.0f} programs/s   (at least 100,000 wanted)",
        f"  of {BIGGER} x as many at once: {figures['programs_per_second_of_a_bigger_population']:,.0f} programs/s",
        f"deriving the sketches {1e3 * derive_seconds:.1f} ms, training on {TRAINING_PROGRAMS} programs "
        f"{1e3 * figures['fit_seconds']:.1f} ms",
        f"one program: {figures['per_program_ms']:.2f} ms   (at most 10 wanted)",
    ]
    for name, times in seconds.items():
        lines.append(f"    {name:32} {1e3 * statistics.median(times):8.2f} ms   (most: {1e3 * max(times):.2f})")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(
        main("search_speed", benchmark, "Time one round of evolution with the learned model, everything but measuring.")
    )
