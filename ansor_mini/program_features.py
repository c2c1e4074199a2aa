"""Features of programs that the search has at hand: any mix of sketches, each program once.

Paper: Ansor §5.2

Programs of one sketch are featurised together, as a `Population`. A program that does not fit one (its sketch was
rebuilt from a record and lists no holes) is lowered and featurised by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ansor_mini.feature_arrays import population_features
from ansor_mini.feature_names import FEATURE_SETS
from ansor_mini.features import features
from ansor_mini.population import Population
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program
from runtime.gpu import Gpu
from runtime.machine import Machine


def featurise(
    programs: Sequence[Program], machine: Machine | Gpu | None = None, kind: str = "paper"
) -> list[np.ndarray | None]:
    """The rows of each program, float32 [statements, columns]; None for one that cannot be lowered.

    kind: one of `FEATURE_SETS`, the paper's 164 columns, or those of `register_features` as well.
    """
    if kind not in FEATURE_SETS:
        raise ValueError(f"features must be one of {sorted(FEATURE_SETS)}, got {kind!r}")
    found: list[np.ndarray | None] = [None] * len(programs)
    groups: dict[int, list[int]] = {}
    for position, program in enumerate(programs):
        groups.setdefault(id(program.sketch), []).append(position)
    for positions in groups.values():
        together = _together([programs[position] for position in positions], machine, kind)
        for position, rows in zip(positions, together):
            found[position] = rows
    return found


def _together(programs: Sequence[Program], machine: Machine | Gpu | None, kind: str) -> list[np.ndarray | None]:
    """The rows of programs of one sketch."""
    sketch = programs[0].sketch
    if len(programs) > 1 and sketch.holes:
        try:
            population = Population.of(sketch, programs)
        except ValueError:
            pass  # a value that the holes do not list
        else:
            batch = population_features(population, machine, columns=np.arange(len(FEATURE_SETS[kind])))
            values = np.ascontiguousarray(batch.values.transpose(2, 0, 1), dtype=np.float32)
            return [rows[there] if there.any() else None for rows, there in zip(values, batch.present.T)]
    return [_alone(program, machine, kind) for program in programs]


def _alone(program: Program, machine: Machine | Gpu | None, kind: str) -> np.ndarray | None:
    try:
        return np.asarray(features(program, machine, registers=kind == "registers"), np.float32)
    except ScheduleError:
        return None
