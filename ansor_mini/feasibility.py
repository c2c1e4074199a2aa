"""Which programs can be replayed, and why the others cannot.

Paper: Ansor §5.1

Tile lengths change extents and unroll limits change nothing that a step looks at, so programs that are alike in their
other choices, their structure, are feasible or not together. A structure is replayed once, with every tile length 1;
structures that begin with the same choices share the states up to there. A mutation of a population makes a handful of
new structures among thousands of programs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.feature_structures import Structures
from ansor_mini.gpu_rules.limits import violated
from ansor_mini.holes import TILE, UNROLL
from ansor_mini.population import Population
from ansor_mini.schedule import ScheduleError, State, Step
from ansor_mini.sketch import Program, Sketch
from ansor_mini.steps import fill, holes

TOO_MANY_BORDERS = "too many axes of a stage with tiles that stick out"
FREE = (TILE, UNROLL)  # kinds of holes that do not matter here


@dataclass
class _Node:
    """The state after some steps, or why the last of them is illegal; next: by the choices in the next step."""

    state: State
    reason: str = ""
    next: dict[tuple[object, ...], _Node] = field(default_factory=dict)


class _Replays:
    """All structures of one sketch that have been replayed, as a tree with a level for each step."""

    def __init__(self, sketch: Sketch) -> None:
        self.steps: list[tuple[Step, tuple[str, ...]]] = []
        self.fixed = {
            hole.name: (1,) * (hole.parts - 1) if hole.kind == TILE else hole.values[0]
            for hole in sketch.holes
            if hole.kind in FREE
        }
        for step in sketch.steps:
            self.steps.append((fill(step, self.fixed) if self._is_fixed(step) else step, holes(step)))
        self.root = _Node(State.initial(sketch.dag))
        # By structural key; programs without a row in a population have no key and take the way through the tree.
        self.reasons: dict[int, str] = {}

    def _is_fixed(self, step: Step) -> bool:
        return all(name in self.fixed for name in holes(step))

    def reason(self, annotation: Mapping[str, object]) -> str:
        """Why the program cannot be replayed; empty when it can."""
        values = {**annotation, **self.fixed}
        node = self.root
        for step, names in self.steps:
            choices = tuple(values[name] for name in names)
            if choices not in node.next:
                node.next[choices] = _after(node.state, fill(step, values))
            node = node.next[choices]
            if node.reason:
                break
        return node.reason


def _after(state: State, step: Step) -> _Node:
    try:
        return _Node(step.apply(state))
    except ScheduleError as error:
        return _Node(state, f"infeasible: {error.reason}")


@dataclass
class Feasibility:
    """Says whether programs can be replayed, and counts why not.

    borders: how many axes of a stage may have tiles that stick out, None for any number. The text of a tile is doubled
    for each of them, and a compiler that gets 50 KiB of it is busy for seconds.
    """

    rejections: Counter[str] = field(default_factory=Counter)
    borders: int | None = None
    _replays: dict[tuple[str, ...], _Replays] = field(default_factory=dict, repr=False)
    _structures: dict[tuple[str, ...], Structures] = field(default_factory=dict, repr=False)

    def _of(self, sketch: Sketch) -> _Replays:
        if sketch.key not in self._replays:
            self._replays[sketch.key] = _Replays(sketch)
        return self._replays[sketch.key]

    def __call__(self, program: Program) -> bool:
        """True when the steps replay; False, counted, when they do not."""
        reason = self._of(program.sketch).reason(program.annotation)
        if not reason and program.sketch.gpu is not None:
            state = program.schedule()
            broken = violated(state, infer(state), program.sketch.gpu)
            reason = next((limit for limit, is_broken in broken.items() if is_broken), "")
        elif not reason and self.borders is not None:
            few = few_borders(program.annotation, program.sketch, self.borders)
            reason = "" if few else TOO_MANY_BORDERS
        if reason:
            self.rejections[reason] += 1
        return not reason

    def of_population(self, population: Population) -> np.ndarray:
        """The same for each program of a population: bool [programs]."""
        replays = self._of(population.sketch)
        columns = [column for column, hole in enumerate(population.sketch.holes) if hole.kind not in FREE]
        keys, first, which = np.unique(population.keys(columns), return_index=True, return_inverse=True)
        reasons = []
        for key, row in zip(keys.tolist(), first.tolist()):
            if key not in replays.reasons:
                replays.reasons[key] = replays.reason(population.program(row).annotation)
            reasons.append(replays.reasons[key])
        counts = np.bincount(which.ravel(), minlength=len(reasons))
        for reason, count in zip(reasons, counts.tolist()):
            if reason:
                self.rejections[reason] += count
        fits = np.array([not reason for reason in reasons], dtype=bool)[which.ravel()]
        if population.sketch.gpu is not None:
            return self._within_limits(population, fits)
        if self.borders is not None and len(population):
            numbers = {hole.name: population.numbers(hole.name) for hole in population.sketch.holes}
            few = np.broadcast_to(few_borders(numbers, population.sketch, self.borders), fits.shape)
            if not few[fits].all():
                self.rejections[TOO_MANY_BORDERS] += int((fits & ~few).sum())
            fits &= few
        return fits

    def _within_limits(self, population: Population, fits: np.ndarray) -> np.ndarray:
        """Those of the programs that fit, of a sketch for a GPU, that keep its limits: bool [programs]."""
        sketch, fits = population.sketch, fits.copy()
        assert sketch.gpu is not None
        if sketch.key not in self._structures:
            self._structures[sketch.key] = Structures(sketch)
        for structure, rows in self._structures[sketch.key].groups(population):
            if structure is None or not fits[rows].any():
                continue
            state = structure.schedule(population.take(rows).numbers)
            for reason, broken in violated(state, infer(state), sketch.gpu).items():
                hit = fits[rows] & np.broadcast_to(broken, len(rows))
                if hit.any():
                    self.rejections[reason] += int(hit.sum())
                    fits[rows[hit]] = False
        return fits


def few_borders(choices: Mapping[str, Any], sketch: Sketch, most: int) -> Any:
    """Whether no stage has more than `most` borders: of one program a bool, of a population bool [programs]."""
    counts: dict[str, Any] = {}
    for hole in sketch.holes:
        if hole.kind == TILE and hole.rounded:
            sticks_out = np.not_equal(hole.extent % math.prod(choices[hole.name]), 0)
            counts[hole.node] = counts.get(hole.node, 0) + sticks_out
    return np.logical_and.reduce([np.less_equal(count, most) for count in counts.values()] or [True])
