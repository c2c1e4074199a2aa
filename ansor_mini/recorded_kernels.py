"""Kernels of a partitioned graph out of records: the programs that are fastest alone, or those chosen in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_schedule import default_steps
from ansor_mini.in_place import CANDIDATES, ENDS, FASTEST_ALONE, choose_in_place
from ansor_mini.measured_programs import program_of
from ansor_mini.network_choice import NetworkChoice, as_program, choice_for, kernel_key, kernels_key
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph
from ansor_mini.records import MEASURED, OK, Record, now, read_choices, read_records, versions
from ansor_mini.sketch import Program, Sketch
from ansor_mini.steps import Step
from runtime.graph import Graph
from runtime.loop_nest import LoopNest
from runtime.machine import Machine, detect

BY_ROWS = "default schedules by rows"
DAGs = Mapping[str, ComputeDAG]  # by subgraph key


def dags_of(parts: Sequence[Subgraph]) -> dict[str, ComputeDAG]:
    """The computation of every distinct kernel, by subgraph key."""
    distinct = {part.key: part for part in parts if part.kind == "compute"}
    return {key: declare(part.fragment) for key, part in distinct.items()}


def recorded_nests(parts: Sequence[Subgraph], path: Path, threads: int) -> dict[str, LoopNest]:
    """The recorded program of each kernel for so many threads, by subgraph key: as chosen for these kernels, if they
    were; else the fastest alone, whichever machine it was found on.
    """
    chosen = chosen_nests(parts, read_choices(path), threads)
    if chosen is not None:
        return chosen
    dags = dags_of(parts)
    found = recorded_best(parts, path, threads)
    return {key: program_of(record, dags[key]).lower() for key, record in found.items()}


def chosen_nests(
    parts: Sequence[Subgraph], choices: Iterable[NetworkChoice], threads: int
) -> dict[str, LoopNest] | None:
    """The programs that were chosen in place for these kernels, lowered; None when no choice is for them."""
    choice = choice_for(choices, parts, threads, detect().line)
    return nests_of_choice(choice, dags_of(parts)) if choice is not None else None


def nests_of_choice(choice: NetworkChoice, dags: DAGs) -> dict[str, LoopNest]:
    """The programs of a choice for these kernels, lowered."""
    return {key: program_of(choice.programs[kernel_key(key)], dag).lower() for key, dag in dags.items()}


def recorded_best(parts: Sequence[Subgraph], path: Path, threads: int) -> dict[str, Record]:
    """As `fastest_alone`, of a file of records."""
    return fastest_alone(parts, read_records(path), threads)


def fastest_alone(parts: Sequence[Subgraph], records: Iterable[Record], threads: int) -> dict[str, Record]:
    """The fastest record of each kernel that has one for so many threads, by subgraph key."""
    best: dict[str, Record] = {}
    for record in records:
        known = best.get(record.task)
        if record.threads == threads and record.cost < (known.cost if known else math.inf):
            best[record.task] = record
    tasks = {key: dag.key() for key, dag in dags_of(parts).items()}
    return {key: best[task] for key, task in tasks.items() if task in best}


def candidates_of(
    dags: DAGs, records: Iterable[Record], machine: Machine, threads: int, count: int = CANDIDATES
) -> dict[str, list[Record]]:
    """By subgraph key: the few programs that are fastest alone, then, for several threads, the default schedule by
    rows, then the default schedule; each without times. All kernels have equally many.
    """
    fastest = fastest_programs(records, {dag.key() for dag in dags.values()}, threads, count, machine.line)
    longest = max((len(fastest.get(dag.key(), ())) for dag in dags.values()), default=0)
    found: dict[str, list[Record]] = {}
    for key, dag in dags.items():
        defaults = [
            _unmeasured(dag, default_steps(dag, machine, threads, by_rows=by_rows), machine, threads)
            for by_rows in ((True, False) if threads > 1 else (False,))
        ]
        own = fastest.get(dag.key(), [])
        found[key] = [*own, *(own or defaults)[-1:] * (longest - len(own)), *defaults]
    return found


def _unmeasured(dag: ComputeDAG, steps: tuple[Step, ...], machine: Machine, threads: int) -> Record:
    program = Program(Sketch(dag, steps))
    return Record(
        dag.key(), program.sketch.key, program.annotation, OK,
        threads=threads, machine=machine.line, versions=versions(),
    )  # fmt: skip


def fastest_programs(
    records: Iterable[Record], tasks: set[str], threads: int, count: int, machine: str = ""
) -> dict[str, list[Record]]:
    """The few programs of each task that are fastest alone, the fastest first; none that has failed.

    What was measured on this machine comes before what was measured on others, whose seconds say less.
    """
    programs: dict[str, dict[tuple[object, ...], tuple[tuple[bool, float], Record]]] = {}
    failed: set[tuple[object, ...]] = set()
    for record in records:
        if record.task in tasks and record.threads == threads and record.source == MEASURED:
            known = programs.setdefault(record.task, {})
            program = record.task, record.steps, tuple(record.annotation.items())
            cost = record.machine != machine, record.cost
            before, first = known.get(program, (cost, record))
            known[program] = (min(before, cost), first)
            if math.isinf(record.cost):
                failed.add(program)
    found: dict[str, list[Record]] = {}
    for task, known in programs.items():
        good = sorted((known[program] for program in known if program not in failed), key=lambda entry: entry[0])
        found[task] = [as_program(record) for _, record in good[:count]]
    return found


def choose_programs(
    graph: Graph,
    parts: Sequence[Subgraph],
    records: Iterable[Record],
    *,
    machine: Machine,
    threads: int,
    feeds: Mapping[str, Any] | None = None,
    count: int = CANDIDATES,
) -> NetworkChoice:
    """Choose among the recorded programs of a partitioned graph by their times in it; see `in_place`."""
    dags = dags_of(parts)
    candidates = candidates_of(dags, records, machine, threads, count)
    nests = {key: [program_of(record, dags[key]).lower() for record in own] for key, own in candidates.items()}
    rivals = dict(ENDS)
    if threads > 1:
        rivals[BY_ROWS] = -2
    if all(len(own) < len(rivals) for own in candidates.values()):
        del rivals[FASTEST_ALONE]  # there are default schedules only
    found = choose_in_place(graph, parts, nests, threads=threads, feeds=feeds, rivals=rivals)
    return NetworkChoice(
        network=graph.name,
        kernels=kernels_key(parts),
        threads=threads,
        machine=machine.line,
        programs={kernel_key(key): candidates[key][number] for key, number in found.picked.items()},
        seconds={name: float(f"{seconds:.4g}") for name, seconds in found.seconds.items()},
        fastest=found.fastest,
        time=now(),
    )
