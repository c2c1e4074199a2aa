"""What the operators on populations look up: the columns of each kind, the nodes, and the moves between tilings.

Paper: Ansor §5.1

A row of a population is a point; its space is the sketch's holes with their values. All tables here are arrays, so
that "move one divisor of a random axis in each of 2000 programs" is a handful of lookups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.population import HoleTable, Population, hole_table
from ansor_mini.sketch import Sketch

MOST = 4_000_000  # programs that `Space.everything` lists


@dataclass(frozen=True, eq=False)
class Moves:
    """For each value of a tile hole, the values one move away.

    Those of value v are `targets[first[v] : first[v + 1]]`; `first` is int64 [values + 1], `targets` int32 [moves].
    """

    first: np.ndarray
    targets: np.ndarray


@lru_cache(maxsize=4096)
def tile_moves(hole: HoleSpec) -> Moves:
    """The moves of a tile hole, as `HoleSpec.neighbours` has them."""
    table = hole_table(hole)
    first, targets = [0], []
    for value in table.values:
        assert isinstance(value, tuple)
        targets += [table.index[other] for other in hole.neighbours(value)]
        first.append(len(targets))
    return Moves(np.array(first, dtype=np.int64), np.array(targets, dtype=np.int32))


@dataclass(frozen=True, eq=False)
class Space:
    """The holes of a sketch as tables; a column is the number of a hole.

    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import WORKLOADS
    >>> space = Space(derive(WORKLOADS["matmul"].dag(4, 4, 4))[0])
    >>> space.sketch.holes[0].name, int(space.sizes[0]), space.nodes
    ('C.i', 10, ('C',))
    """

    sketch: Sketch

    @cached_property
    def tables(self) -> tuple[HoleTable, ...]:
        """The values of each hole."""
        return tuple(hole_table(hole) for hole in self.sketch.holes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of values of each hole, int64 [holes]."""
        return np.array([len(table.values) for table in self.tables], dtype=np.int64)

    @cached_property
    def column(self) -> dict[str, int]:
        """The column of each hole, by name."""
        return {hole.name: column for column, hole in enumerate(self.sketch.holes)}

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that have holes."""
        return tuple(dict.fromkeys(hole.node for hole in self.sketch.holes))

    @cached_property
    def node_of(self) -> np.ndarray:
        """The number of each hole's node, int64 [holes]."""
        return np.array([self.nodes.index(hole.node) for hole in self.sketch.holes], dtype=np.int64)

    def columns(self, *kinds: str) -> np.ndarray:
        """The columns of some kinds that have more than one value."""
        return np.array(
            [c for c, hole in enumerate(self.sketch.holes) if hole.kind in kinds and self.sizes[c] > 1], dtype=np.int64
        )

    @cached_property
    def tiles(self) -> np.ndarray:
        """The columns of the tile holes whose axis has more than one element."""
        return np.array(
            [c for c, hole in enumerate(self.sketch.holes) if hole.kind == TILE and hole.extent > 1], dtype=np.int64
        )

    @cached_property
    def moves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All tile moves in one table: where each column begins in `first`; `first` and `targets` as in `Moves`."""
        begin = np.zeros(len(self.tables), dtype=np.int64)
        firsts, targets, values, edges = [], [], 0, 0
        for column in self.tiles.tolist():
            moves = tile_moves(self.sketch.holes[column])
            begin[column] = values
            firsts.append(moves.first + edges)
            targets.append(moves.targets)
            values += len(moves.first)
            edges += len(moves.targets)
        return begin, np.concatenate([*firsts, [0]]), np.concatenate([*targets, np.zeros(0, dtype=np.int32)])

    def everything(self) -> Population:
        """Every program of the sketch, feasible or not; for toys.  Raises: ValueError: more than `MOST` of them."""
        count = math.prod(self.sizes.tolist())
        if count > MOST:
            raise ValueError(f"the space must have at most {MOST:,} programs to be listed, got {count:,}")
        return self.population(np.indices(tuple(self.sizes.tolist()), dtype=np.int32).reshape(len(self.sizes), count).T)

    def population(self, choices: np.ndarray) -> Population:
        """The programs of some rows."""
        return Population(self.sketch, choices)
