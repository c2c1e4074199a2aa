"""The features of a whole population at once, as NumPy expressions over arrays.

Paper: Ansor §5.2, App. B

`features` is the readable definition; this computes the same numbers.

1. Programs are grouped by structure (`feature_structures`): the same stages and loops.
2. The features of a structure are written down once (`feature_programs`), which takes as long as a few programs on
   their own; so a structure of which hardly any programs are met is not.
3. What is written down runs on the arrays of hole values of all programs of a group.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ansor_mini.feature_names import COUNT
from ansor_mini.feature_programs import StructureFeatures
from ansor_mini.feature_structures import Structure, Structures, statement_stages
from ansor_mini.features import CACHE_LINE, scaled, statement_features
from ansor_mini.population import Population
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Sketch
from runtime.gpu import Gpu
from runtime.machine import Machine

ALL = np.arange(COUNT)
FEWEST = 20  # programs on their own take about as long as writing their structure's features down


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """The features of the programs of one sketch.

    stages: names of the statements, producers first. values: float32 [statements, columns, programs], of all 164
    columns unless some were asked for.
    present: bool [statements, programs]; an inlined stage has no statement, and a program that cannot be replayed may
    have none at all (otherwise it has meaningless ones). Values are 0 where no statement is present.
    """

    stages: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray


def population_features(
    population: Population,
    machine: Machine | Gpu | None = None,
    *,
    fewest: int = FEWEST,
    columns: np.ndarray | None = None,
) -> FeatureBatch:
    """The features of all programs.

    machine: gives the length of a cache line (64 bytes without). fewest: programs of a structure that must have been
    met before its features are written down; until then each program is treated on its own. columns: numbers of the
    features wanted, in this order, such as those that a model looks at; computing a third of them takes two thirds of
    the time. By default the paper's 164; those from 164 on are of `register_features`.
    """
    return _batch(population, machine, True, fewest, ALL if columns is None else np.asarray(columns, np.int64))


def raw_population_features(
    population: Population,
    machine: Machine | Gpu | None = None,
    *,
    fewest: int = FEWEST,
    columns: np.ndarray | None = None,
) -> FeatureBatch:
    """The features before numbers become log2(x + 1), float64."""
    return _batch(population, machine, False, fewest, ALL if columns is None else np.asarray(columns, np.int64))


def _batch(
    population: Population, machine: Machine | Gpu | None, scale: bool, fewest: int, columns: np.ndarray
) -> FeatureBatch:
    sketch = compiled_sketch(population.sketch, CACHE_LINE if machine is None else machine.cache_line)
    groups = sketch.structures.groups(population) if len(population) else []
    names = next((statement_stages(population.sketch, s.state) for s, _ in groups if s is not None), ())
    values = np.empty((len(names), len(columns), len(population)), dtype=np.float32 if scale else np.float64)
    present = np.zeros((len(names), len(population)), dtype=bool)
    for number, (structure, rows) in enumerate(sorted(groups, key=lambda group: -len(group[1]))):
        features = None if structure is None else sketch.features(structure, len(rows), fewest)
        if features is None:
            block = np.zeros((*values.shape[:2], len(rows)), dtype=values.dtype)
            if structure is not None:
                present[:, rows] = _one_by_one(population.take(rows), machine, names, scale, block, columns)
            values[:, :, rows] = block
            continue
        numbers = [names.index(name) for name in features.stages]
        present[np.ix_(np.array(numbers), rows)] = True
        if number == 0:
            # Computed for all programs, and the others written over it: faster than picking rows of a large group.
            features.write(population, values, numbers, scale, columns)
        else:
            block = np.empty((*values.shape[:2], len(rows)), dtype=values.dtype)
            features.write(population.take(rows), block, numbers, scale, columns)
            values[:, :, rows] = block
    values.transpose(0, 2, 1)[~present] = 0
    return FeatureBatch(names, values, present)


def _one_by_one(
    population: Population,
    machine: Machine | Gpu | None,
    names: tuple[str, ...],
    scale: bool,
    out: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Put the features of a few programs into `out`; which statements there are, bool [statements, programs]."""
    present = np.zeros((len(names), len(population)), dtype=bool)
    for at, program in enumerate(population.programs()):
        try:
            rows = statement_features(program, machine, registers=bool((columns >= COUNT).any()))
        except ScheduleError:
            continue
        for name, row in rows.items():
            number = names.index(name)
            out[number, :, at] = (scaled(row.astype(out.dtype)) if scale else row)[columns]
            present[number, at] = True
    return present


class CompiledSketch:
    """The structures of a sketch, and how often each has been met."""

    def __init__(self, sketch: Sketch, line: int) -> None:
        self.structures = Structures(sketch)
        self.line = line
        self.met: Counter[Structure] = Counter()

    def features(self, structure: Structure, programs: int, fewest: int) -> StructureFeatures | None:
        """The features of a structure; None while too few of its programs have been met."""
        self.met[structure] += programs
        return _written_down(structure, self) if self.met[structure] >= fewest else None


class _Same:
    """A sketch that is equal to any other, so that a cache looks at the rest of its key."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=256)
def _compiled(key: tuple[Any, ...], same: _Same, line: int) -> CompiledSketch:
    return CompiledSketch(same.sketch, line)


@lru_cache(maxsize=256)
def _written_down(structure: Structure, sketch: CompiledSketch) -> StructureFeatures:
    return StructureFeatures(structure, sketch.structures.sketch, sketch.line)


def compiled_sketch(sketch: Sketch, line: int) -> CompiledSketch:
    """The features of a sketch's structures; equal sketches of equal computations share them."""
    return _compiled((sketch.key, sketch.holes, _dag_key(sketch)), _Same(sketch), line)


_DAG_KEYS: dict[int, tuple[object, str]] = {}


def _dag_key(sketch: Sketch) -> str:
    """The key of the computation, which takes longer to find than features do."""
    known = _DAG_KEYS.get(id(sketch.dag))
    if known is None or known[0] is not sketch.dag:
        known = _DAG_KEYS[id(sketch.dag)] = (sketch.dag, sketch.dag.key())
    return known[1]
