"""Toys of which every program has been measured: what the search could find, known in advance.

A `Landscape` is a few sketches, the seconds of each different kernel, and which kernel each program is. It is measured
once and kept in a file that holds everything needed to search it again: steps, holes, and one number per program.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ansor_mini.feasibility import Feasibility
from ansor_mini.holes import PARALLEL, UNROLL, HoleSpec, LoopExtent
from ansor_mini.population_space import Space
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.steps import parse_step
from ansor_mini.workloads import parse_workload
from runtime.c_text.statements import EmitError
from runtime.emit_c import emit_kernel
from runtime.loop_nest import LoopNest

UNROLL_CHOICES = (0, 64)


def toy_sketches(workload: str, structure: str) -> tuple[Sketch, ...]:
    """The sketches of a workload for one thread, with two unroll limits instead of four."""

    def narrowed(hole: HoleSpec) -> HoleSpec:
        choices = {PARALLEL: (0,), UNROLL: UNROLL_CHOICES}.get(hole.kind, hole.choices)
        return replace(hole, choices=choices)

    sketches = derive(parse_workload(workload), structure=structure)
    return tuple(replace(sketch, holes=tuple(map(narrowed, sketch.holes))) for sketch in sketches)


@dataclass(frozen=True)
class Landscape:
    """Every program of a toy.

    kernel: the number of each program's kernel. seconds: of each kernel, infinite for a failure.
    """

    workload: str
    sketches: tuple[Sketch, ...]
    kernel: dict[Program, int]
    seconds: tuple[float, ...]

    @cached_property
    def best(self) -> float:
        """The seconds of the best program."""
        return min(self.seconds)

    def cost(self, program: Program) -> float:
        """The seconds of a program, infinite for one that was not measured or failed."""
        return self.seconds[self.kernel[program]] if program in self.kernel else math.inf

    def to_json(self) -> dict[str, Any]:
        """Plain data; for each sketch the kernel of each program in the order of `Space.everything`."""
        return {
            "workload": self.workload,
            "sketches": [
                {
                    "steps": sketch.key,
                    "holes": [asdict(hole) for hole in sketch.holes],
                    "kernels": [self.kernel.get(program, -1) for program in Space(sketch).everything().programs()],
                }
                for sketch in self.sketches
            ],
            "seconds": [None if math.isinf(s) else float(f"{s:.4g}") for s in self.seconds],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Landscape:
        """The inverse of `to_json`."""
        dag = parse_workload(data["workload"])
        sketches, kernel = [], {}
        for entry in data["sketches"]:
            sketch = Sketch(dag, tuple(map(parse_step, entry["steps"])), tuple(map(_hole, entry["holes"])))
            programs = Space(sketch).everything().programs()
            if len(programs) != len(entry["kernels"]):
                raise ValueError(
                    f"{data['workload']} was measured with {len(entry['kernels'])} programs of a sketch that now has "
                    f"{len(programs)}: measure it again"
                )
            sketches.append(sketch)
            kernel |= {program: number for program, number in zip(programs, entry["kernels"]) if number >= 0}
        seconds = tuple(math.inf if s is None else s for s in data["seconds"])
        return cls(data["workload"], tuple(sketches), kernel, seconds)


def _hole(data: dict[str, Any]) -> HoleSpec:
    loops = tuple(LoopExtent(**loop) for loop in data["loops"])
    return HoleSpec(**{**data, "rounded": tuple(data["rounded"]), "choices": tuple(data["choices"]), "loops": loops})


def kernels_of(sketches: Sequence[Sketch]) -> tuple[dict[Program, int], list[LoopNest]]:
    """Lower every feasible program; programs with the same C text are one kernel."""
    kernel: dict[Program, int] = {}
    numbers: dict[str, int] = {}
    nests: list[LoopNest] = []
    feasible = Feasibility()
    for sketch in sketches:
        everything = Space(sketch).everything()
        for program in everything.take(feasible.of_population(everything)).programs():
            try:
                nest = program.lower()
                text = emit_kernel(nest)
            except (ScheduleError, EmitError):
                continue
            if text not in numbers:
                numbers[text] = len(nests)
                nests.append(nest)
            kernel[program] = numbers[text]
    return kernel, nests


def read_landscapes(path: Path) -> dict[str, Landscape]:
    """All landscapes of a file, by workload.  Raises: OSError: there is no file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return {entry["workload"]: Landscape.from_json(entry) for entry in map(json.loads, file)}


def write_landscapes(path: Path, landscapes: Sequence[Landscape]) -> None:
    """Write landscapes, one JSON line each."""
    text = "".join(json.dumps(landscape.to_json()) + "\n" for landscape in landscapes)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
