"""Sketches and programs: the structure of a schedule, and the structure with its numbers filled in.

Paper: Ansor §4.1

A sketch is a compute DAG and a tuple of transform steps with named holes; a program is a sketch and a value for each
hole. Everything else is derived by replaying the steps. `derive` enumerates the sketches of a DAG: it walks the stages
from the output to the inputs and lets a list of rules branch at each one.

1. Start with the naive state and the last stage.
2. Each rule looks at (state, stage) and says Skip, Apply or Apply-and-skip-the-rest; applying gives new states.
3. When all stages are done, `open_choices` appends the steps with the other holes: location, parallel, unroll, vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.holes import TILE, Annotation, HoleSpec, Value, freeze
from ansor_mini.lowering import lower
from ansor_mini.schedule import State, Step, replay
from ansor_mini.steps import fill
from runtime.gpu import Gpu
from runtime.loop_nest import LoopNest
from runtime.machine import Machine, detect

if TYPE_CHECKING:
    from ansor_mini.rule_types import Rule


@dataclass(frozen=True)
class StageFacts:
    """What a cost estimate needs to know about a stage; `root` is the stage in whose loops it is, or itself."""

    name: str
    root: str
    spatial: tuple[int, ...]
    reduce: tuple[int, ...]

    @property
    def iterations(self) -> int:
        """Number of innermost iterations."""
        return math.prod(self.spatial) * math.prod(self.reduce)


@dataclass(frozen=True)
class Sketch:
    """A compute DAG and the steps that schedule it, with holes.

    rules: names of the derivation rules that were applied, in order. stages: facts for cost estimates. gpu: what it is
    for, None for a CPU; its limits say which programs are feasible.
    """

    dag: ComputeDAG
    steps: tuple[Step, ...]
    holes: tuple[HoleSpec, ...] = ()
    rules: tuple[str, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    gpu: Gpu | None = None

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The steps as text: equal for equal structures, and what a record stores."""
        return tuple(repr(step) for step in self.steps)

    @cached_property
    def hole(self) -> Mapping[str, HoleSpec]:
        """Holes by name."""
        return {hole.name: hole for hole in self.holes}

    @cached_property
    def tiled(self) -> Mapping[str, tuple[tuple[HoleSpec, ...], tuple[HoleSpec, ...]]]:
        """For each stage with spatial tiles, those and its reduction tiles, in axis order."""
        tiles = [hole for hole in self.holes if hole.kind == TILE and not hole.choices]
        nodes = dict.fromkeys(hole.node for hole in tiles if not hole.reduce)
        return {
            node: (
                tuple(hole for hole in tiles if hole.node == node and not hole.reduce),
                tuple(hole for hole in tiles if hole.node == node and hole.reduce),
            )
            for node in nodes
        }

    def program(self, annotation: Mapping[str, Value]) -> Program:
        """This sketch with its holes filled.  Raises: ValueError: a hole is missing or a name is not a hole."""
        if set(annotation) != set(self.hole):
            odd = sorted(set(annotation) ^ set(self.hole))
            raise ValueError(
                f"an annotation needs a value for each of the {len(self.holes)} holes; missing or unknown: {odd}"
            )
        return Program(self, freeze(annotation))

    def __str__(self) -> str:
        lines = [f"sketch: {', '.join(self.rules) or 'fixed'}", *(f"  {step}" for step in self.steps)]
        return "\n".join(lines + [f"  ? {hole}" for hole in self.holes])


@dataclass(frozen=True)
class Program:
    """A sketch and a value for each of its holes."""

    sketch: Sketch = field(compare=False)
    frozen: tuple[tuple[str, Value], ...] = ()
    identity: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", self.sketch.key)

    @property
    def annotation(self) -> Annotation:
        """A fresh dictionary of hole values."""
        return dict(self.frozen)

    def steps(self) -> tuple[Step, ...]:
        """The steps with numbers; those whose choice is "leave it alone" (a width of 0) are left out."""
        values = self.annotation
        return tuple(fill(step, values) for step in self.sketch.steps)

    def schedule(self) -> State:
        """Replay the steps.  Raises: ScheduleError: a step is illegal with these values."""
        return replay(self.sketch.dag, self.steps())

    def lower(self, name: str = "kernel") -> LoopNest:
        """The loop nest.  Raises: ScheduleError: the program is not feasible."""
        return lower(self.schedule(), name)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.frozen) or "no holes"


@dataclass(frozen=True)
class Derivation:
    """A state on the way to a sketch: the steps with holes, and the state they give with every tile length 1.

    caches: stages added by the cache rule. followers: for each consumer with a fused producer, that producer and the
    level it is attached at.
    """

    state: State
    steps: tuple[Step, ...] = ()
    holes: tuple[HoleSpec, ...] = ()
    rules: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    followers: tuple[tuple[str, str, int], ...] = ()

    def then(self, rule: str, steps: Sequence[Step], holes: Sequence[HoleSpec] = ()) -> Derivation:
        """Apply more steps; tile holes stand for length 1, or their first, while the structure is being derived."""
        state = self.state
        stand_in = {hole.name: _stand_in(hole) for hole in holes}
        for step in steps:
            state = fill(step, stand_in).apply(state)
        rules = (*self.rules, rule) if rule else self.rules
        return replace(self, state=state, steps=(*self.steps, *steps), holes=(*self.holes, *holes), rules=rules)


def _stand_in(hole: HoleSpec) -> Value:
    return hole.values[0] if hole.choices else (1,) * (hole.parts - 1)


def derive(
    dag: ComputeDAG,
    rules: Sequence[Rule] | None = None,
    machine: Machine | Gpu | None = None,
    *,
    structure: str = "",
) -> tuple[Sketch, ...]:
    """Enumerate the sketches of a DAG.

    rules: tried in order at each stage (default `sketch_rules.CPU_RULES`, for a GPU `gpu_rules.rules.GPU_RULES`).
    structure: levels of the tiled loops, S for spatial and R for reduction, outer to inner; "SSRSRS" for a CPU and
    "SSSRRSRS" for a GPU when empty. Paper: Ansor §4.1, §4.3
    Raises: ValueError: the structure has other letters than S and R, or a tensor's hint names no axis of it.
    TypeError: a hint is not what it should be.
    """
    from ansor_mini import sketch_hints
    from ansor_mini.gpu_rules.bindings import add_bindings
    from ansor_mini.gpu_rules.rules import GPU_RULES
    from ansor_mini.open_choices import add_open_choices
    from ansor_mini.sketch_rules import CPU_RULES, Context

    target = machine or detect()
    structure = structure or ("SSSRRSRS" if isinstance(target, Gpu) else "SSRSRS")
    if set(structure) - set("SR"):
        raise ValueError(f"structure must be a string of S and R, got {structure!r}")
    sketch_hints.check(dag.ops)
    context = Context(target, structure)
    if rules is None:
        rules = GPU_RULES if isinstance(target, Gpu) else CPU_RULES
    start = Derivation(State.initial(dag))
    work = [(start, len(start.state.stages) - 1)]
    finished: list[Derivation] = []
    while work:
        derivation, index = work.pop(0)
        if index < 0:
            finished.append(derivation)
            continue
        for rule in rules:
            verdict = rule.condition(context, derivation, index)
            if verdict.applies:
                work.extend(rule.apply(context, derivation, index))
            if verdict.last:
                break
    if isinstance(target, Gpu):
        return tuple(add_bindings(dag, derivation, target) for derivation in finished)
    return tuple(add_open_choices(dag, derivation) for derivation in finished)
