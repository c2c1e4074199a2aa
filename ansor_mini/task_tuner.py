"""The search of one task, round by round: propose, measure, keep, learn.

Paper: Ansor §3

1. Derive the sketches of the task's DAG.
2. Draw random programs, add the best measured ones, evolve them under the cost model.
3. Lower the most promising ones (a share epsilon of random ones among them), skip texts that were measured before.
4. Measure; each result is one record, on the disk before the next is looked at; tell the cost model.

A program that cannot be built, hangs, crashes or answers wrongly is a record with its kind, and tuning goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ansor_mini.ablations import Search, by_evolution
from ansor_mini.cost_model import CostModel
from ansor_mini.evolution import pick, spread
from ansor_mini.feasibility import Feasibility
from ansor_mini.measured_programs import program_of, record_of
from ansor_mini.population import Population
from ansor_mini.population_evolution import scores_of
from ansor_mini.population_mutations import mutate_rows
from ansor_mini.population_space import Space
from ansor_mini.records import MEASURED, MODEL, OK, Record
from ansor_mini.schedule import ScheduleError
from ansor_mini.screening import screened
from ansor_mini.sketch import Program, derive
from ansor_mini.target import Device, target_of
from ansor_mini.task import Measurer, OnResult, RecordSink, SearchOptions, Task, TuneResult
from ansor_mini.twins import twins_of
from runtime import debug
from runtime.loop_nest import LoopNest
from runtime.machine import detect
from runtime.measure_case import MeasureResult

__all__ = [
    "Measurer",
    "Observer",
    "OnResult",
    "RecordSink",
    "SearchOptions",
    "Task",
    "TaskTuner",
    "TuneResult",
    "program_of",
]

Observer = Callable[["TaskTuner", Record], None]

BORDERS = 1  # axes of a stage whose tiles may stick out
ANCESTORS = 4  # best measured programs whose neighbours are looked at
TWINS = 2  # measured in a round whatever the model says
ELITE = 0.2  # share of the initial population taken from the best measured programs


def default_model(machine: Device, threads: int, rng: np.random.Generator) -> CostModel:
    """The cost model that a search for a machine or a GPU learns, when it is given none."""
    return target_of(machine, threads).model(rng)


class TaskTuner:
    """The search of one task, round by round.

    Attributes: measured: every program with its seconds, in order: the fastest when it was measured more than once,
    since other load only adds time, and infinite when it ever failed.
    """

    def __init__(
        self,
        task: Task,
        *,
        rng: np.random.Generator,
        measurer: Measurer,
        records: RecordSink | None = None,
        resume: Iterable[Record] = (),
        seeds: Sequence[Program] = (),
        model: CostModel | None = None,
        machine: Device | None = None,
        options: SearchOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Prepare the search.

        measurer: measures loop nests and calls back with each number and result; its `source`, if it has one, says
        what records may call that. records: gets each record as it is known. resume: earlier records; those of this
        task, thread count, machine and source count as trials and are not measured again. seeds: programs to measure
        first, such as the default schedule. machine: a GPU, or the cores of a machine; by default those of this one.
        """
        self.task, self.rng, self.measurer, self.records, self.observer = task, rng, measurer, records, observer
        self.machine = machine or detect()
        self.source: str = getattr(measurer, "source", MEASURED)
        self.target = target_of(self.machine, task.threads)
        self.options = options or self.target.options
        strategy = self.options.strategy
        self._looks_around = bool(self.options.local) and strategy.propose is by_evolution
        self.model = strategy.model(model or self.target.model(rng), rng)
        structure = strategy.structure or self.options.structure
        rules = self.target.rules(task.constants) if self.options.rules is None else self.options.rules
        derived = derive(task.dag, rules, self.machine, structure=structure)
        self.sketches = tuple(map(strategy.space, derived))
        self.seeds = list(seeds)
        self.feasible = Feasibility(borders=BORDERS)
        self.failures: Counter[str] = Counter()
        self.measured: dict[Program, float] = {}
        self.curve: list[tuple[int, float]] = []
        self.best: Program | None = None
        self.best_seconds = math.inf
        self._seen: set[Program] = set()
        self._texts: set[str] = set()
        self._resume(resume)

    @property
    def rejections(self) -> Counter[str]:
        """Programs dropped before measuring, by reason."""
        return self.feasible.rejections

    def round(self, count: int) -> int:
        """Propose and measure up to `count` programs; returns how many were measured."""
        proposals = self.propose(count)
        before = len(self.measured)

        def on_result(number: int, result: MeasureResult) -> None:
            self._observe(proposals[number][0], result)

        if proposals:
            self.measurer([nest for _, nest in proposals], on_result)
            fresh = list(self.measured)[before:]
            self.model.update(fresh, [self.measured[program] for program in fresh])
        debug.say(2, lambda: f"{self.task.key}: {len(self.measured)} trials, best {self.best_seconds * 1e6:.1f} us")
        return len(self.measured) - before

    def confirm(self, finalists: int) -> None:
        """Measure the first program and the best few again, in turn, so that a lucky or unlucky moment decides nothing.

        Each gives one more record; none counts as a new trial.
        """
        good = [program for program, seconds in self.measured.items() if math.isfinite(seconds)]
        best = sorted(good, key=self.measured.__getitem__)[:finalists]
        programs = list(dict.fromkeys(good[:1] + best))
        if len(programs) > 1:
            self.measurer([p.lower() for p in programs], lambda number, result: self._observe(programs[number], result))

    def propose(self, count: int) -> list[tuple[Program, LoopNest]]:
        """The next programs to measure with their loop nests, none of which was measured before."""
        chosen: dict[Program, LoopNest] = {}
        self._admit(self.seeds, count, chosen)
        self.seeds = [seed for seed in self.seeds if seed not in self._seen]
        best = self._elite(self.options.round_size) if self._looks_around else []
        self._admit(twins_of(best, self.rng, self.task.threads), min(count, len(chosen) + TWINS), chosen)
        if len(chosen) < count and self.sketches:
            # A model's own predictions are not screened by it: they are what is asked for.
            estimate = self.target.estimate if self.source != MODEL else None
            wanted = (count - len(chosen)) * (self.options.screen if estimate else 1)
            found: dict[Program, LoopNest] = {}
            self._admit(pick(*self._candidates(wanted), count=4 * wanted, epsilon=0.0), wanted, found)
            left = count - len(chosen)
            kept = screened(found, left, estimate, self.options.evolution.epsilon) if estimate else found
            if len(kept) < len(found):
                self.rejections["slower than others, says the target's model"] += len(found) - len(kept)
            chosen |= kept
        return list(chosen.items())

    def _candidates(self, count: int) -> tuple[list[Program], list[Program]]:
        """Programs in the order in which to try them, and random ones to fall back on."""
        options = self.options
        search = Search(
            self.sketches,
            self.model,
            self.rng,
            self.machine,
            threads=self.task.threads,
            options=options.evolution,
            tiles=options.tiles,
            mutations=options.mutations,
            elite=self._elite(int(ELITE * options.evolution.population)),
            seen=self._seen,
            feasible=self.feasible,
        )
        proposed = spread(options.strategy.propose(search, 8 * count), each=2)
        others = search.random_programs(count)
        local = self._neighbours(4 * count)
        share = min(len(local), round(options.local * count))
        greedy = pick([*proposed[: count - share], *local[:share]], others, count, options.evolution.epsilon)
        return [*greedy, *proposed[count - share :], *local[share:]], others

    def _elite(self, count: int) -> list[Program]:
        """The best measured programs that have holes to change."""
        good = [
            (seconds, i, program)
            for i, (program, seconds) in enumerate(self.measured.items())
            if seconds < math.inf and program.frozen
        ]
        return [program for _, _, program in sorted(good, key=lambda entry: entry[:2])[:count]]

    def _neighbours(self, count: int) -> list[Program]:
        """Unmeasured mutations, one or two steps away, of the few best measured programs; the model's order."""
        elite = self._elite(ANCESTORS) if self._looks_around else []
        children: dict[Program, float] = {}
        for sketch in self.sketches:
            parents = Population.of(sketch, elite, skip=True)
            if not len(parents):
                continue
            space = Space(sketch)
            rows = parents.choices[self.rng.integers(len(parents), size=4 * count * len(parents) // len(elite))]
            once, _ = mutate_rows(space, rows, self.rng, self.task.threads, self.options.mutations)
            twice, _ = mutate_rows(space, once, self.rng, self.task.threads, self.options.mutations)
            both = space.population(np.where(self.rng.random(len(rows))[:, None] < 0.5, once, twice))
            legal = both.take(self.feasible.of_population(both))
            children.update(zip(legal.programs(), scores_of(self.model, legal).tolist()))
        fresh = [program for program in children if program not in self._seen]
        return sorted(fresh, key=lambda program: -children[program])[:count]

    def _admit(self, programs: Iterable[Program], count: int, chosen: dict[Program, LoopNest]) -> None:
        """Lower programs until `count` are chosen; drop, counted by reason, what cannot be lowered or is not new."""
        for program in programs:
            if len(chosen) == count:
                return
            if program in self._seen:
                continue
            self._seen.add(program)
            try:
                nest = program.lower()
            except ScheduleError as error:
                self._reject(program, f"infeasible: {error.reason}")
                continue
            text = str(nest)
            known = text in self._texts
            reason = "same loop nest as before" if known else self.target.admit(nest)
            if reason:
                self._reject(program, reason)
                continue
            self._texts.add(text)
            chosen[program] = nest

    def _reject(self, program: Program, reason: str) -> None:
        self.rejections[reason] += 1
        debug.say(4, lambda: f"{self.task.key}: {reason}: {program}")

    def _observe(self, program: Program, result: MeasureResult) -> None:
        """Keep a result: first on the disk, then in the search."""
        record = record_of(program, result, self.task.key, self.task.threads, self.machine.line, self.source)
        if self.records is not None:
            self.records.append(record)
        self._count(program, record)
        if self.best is program:
            debug.say(3, lambda: f"{self.task.key}: {result}\n{program.lower()}")
        elif not result.ok:
            debug.say(4, lambda: f"{self.task.key}: {result}: {program}")
        if self.observer is not None:
            self.observer(self, record)

    def _count(self, program: Program, record: Record) -> None:
        if record.kind != OK:
            self.failures[record.kind] += 1
        known = self.measured.get(program, record.cost)
        self.measured[program] = min(known, record.cost) if math.isfinite(known) and record.kind == OK else math.inf
        self._seen.add(program)
        if record.cost < self.best_seconds and self.measured[program] == record.cost:
            self.best, self.best_seconds = program, record.cost
            self.curve.append((len(self.measured), record.cost))
        elif program == self.best and record.kind != OK:
            self.best = min(self.measured, key=self.measured.__getitem__)
            self.best_seconds = self.measured[self.best]
            self.best = self.best if math.isfinite(self.best_seconds) else None

    def _resume(self, records: Iterable[Record]) -> None:
        known = {sketch.key: sketch for sketch in (*self.sketches, *(seed.sketch for seed in self.seeds))}
        wanted = (self.task.key, self.task.threads, self.machine.line, self.source)
        for record in records:
            if (record.task, record.threads, record.machine, record.source) != wanted:
                continue
            program = program_of(record, self.task.dag, known)
            self._count(program, record)
            if record.kind == OK:
                self._texts.add(str(program.lower()))
        if self.measured:
            self.model.update(list(self.measured), list(self.measured.values()))

    def result(self, stopped: str) -> TuneResult:
        """What was found so far."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejections.most_common(3)) or "none"
        debug.say(1, f"{self.task.key}: {len(self.measured)} trials, {stopped}; commonest rejections: {reasons}")
        return TuneResult(
            task=self.task,
            best=self.best,
            best_seconds=self.best_seconds,
            trials=len(self.measured),
            curve=tuple(self.curve),
            failures=self.failures,
            rejections=self.rejections,
            stopped=stopped,
        )
