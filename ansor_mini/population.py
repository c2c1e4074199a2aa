"""Many programs of one sketch as one array of small integers.

Paper: Ansor §5.1

A program is a value for each hole of its sketch, and each hole has a fixed list of legal values. So a row of indices
into those lists is a program, and thousands of programs are one array, on which mutation, crossover, features and
prediction are a few NumPy calls each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ansor_mini.holes import TILE, HoleSpec, Value
from ansor_mini.sketch import Program, Sketch


@dataclass(frozen=True, eq=False)
class HoleTable:
    """Every value of a hole, as Python values, as arrays of integers and of floats, and by value."""

    values: tuple[Value, ...]
    numbers: np.ndarray
    floats: np.ndarray
    index: dict[Value, int]


@lru_cache(maxsize=4096)
def hole_table(hole: HoleSpec) -> HoleTable:
    """The values of a hole; `numbers` is int64 [parts - 1, values] for a tile hole and [1, values] for others.

    `floats` are the same in float64.
    """
    values = tuple(hole.values)
    rows = values if hole.kind == TILE else [(value,) for value in values]
    width = hole.parts - 1 if hole.kind == TILE else 1
    numbers = np.array(rows, dtype=np.int64).reshape(len(values), width).T.copy()
    return HoleTable(
        values, numbers, numbers.astype(np.float64), {value: number for number, value in enumerate(values)}
    )


def _mixed(word: np.ndarray) -> np.ndarray:
    """64-bit words in which every bit of the result depends on every bit of the argument (splitmix64's mixer)."""
    word = (word + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@lru_cache(maxsize=4096)
def _words(column: int, hole: HoleSpec) -> np.ndarray:
    """A 64-bit word for each value of a column, uint64 [values]."""
    numbers = hole_table(hole).numbers
    word = np.full(numbers.shape[1], column, dtype=np.uint64)
    for row in numbers:
        word = _mixed(word ^ _mixed(row.astype(np.uint64)))
    return _mixed(word)


@dataclass(frozen=True, eq=False)
class Population:
    """Programs of one sketch, one row of small integers each.

    choices: int32 [programs, holes]; an entry is an index into the `values` of that hole of the sketch.

    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import WORKLOADS
    >>> sketch = derive(WORKLOADS["matmul"].dag(4, 4, 4))[0]
    >>> population = Population(sketch, np.array([[0] * len(sketch.holes), [1] * len(sketch.holes)]))
    >>> print(population.program(1))  # doctest: +ELLIPSIS
    C.i=(1, 1, 2), C.j=(1, 1, 2), C.k=(2,), ...
    >>> population.numbers("C.i")
    (array([1, 1]), array([1, 1]), array([1, 2]))
    """

    sketch: Sketch
    choices: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.choices)
        if len(shape) != 2 or shape[1] != len(self.sketch.holes):
            raise ValueError(f"choices must have shape (programs, {len(self.sketch.holes)}), got {shape}")
        object.__setattr__(self, "choices", np.asarray(self.choices, dtype=np.int32))

    @classmethod
    def of(cls, sketch: Sketch, programs: Iterable[Program], *, skip: bool = False) -> Population:
        """The rows of some programs; skip: leave out those that have none instead of raising.

        Raises: ValueError: a program is of another sketch, or has a value that its hole does not allow.
        """
        tables = [(hole.name, hole_table(hole).index) for hole in sketch.holes]
        rows: list[list[int]] = []
        for program in programs:
            annotation = dict(program.frozen)
            if program.sketch is not sketch and program.identity != sketch.key:
                if not skip:
                    raise ValueError(f"every program must be of the given sketch, got one of another: {program}")
                continue
            try:
                rows.append([index[annotation[name]] for name, index in tables])
            except KeyError as error:
                if not skip:
                    raise ValueError(f"every value must be legal for its hole, got {error} in {program}") from None
        return cls(sketch, np.array(rows, dtype=np.int32).reshape(len(rows), len(sketch.holes)))

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def _tables(self) -> tuple[HoleTable, ...]:
        return tuple(hole_table(hole) for hole in self.sketch.holes)

    @cached_property
    def _column(self) -> dict[str, int]:
        return {hole.name: column for column, hole in enumerate(self.sketch.holes)}

    @cached_property
    def _sorted_columns(self) -> tuple[tuple[str, int, tuple[Value, ...]], ...]:
        # Program keeps its values sorted by name.
        return tuple(
            (name, self._column[name], self._tables[self._column[name]].values) for name in sorted(self._column)
        )

    def program(self, row: int) -> Program:
        """One of the programs."""
        choices = self.choices[row].tolist()
        return Program(
            self.sketch, tuple((name, values[choices[column]]) for name, column, values in self._sorted_columns)
        )

    def programs(self) -> list[Program]:
        """All programs, in the order of the rows."""
        return [self.program(row) for row in range(len(self))]

    def keys(self, columns: Sequence[int] | None = None) -> np.ndarray:
        """A number for each program, uint64 [programs]: equal for equal programs (in some columns: in those).

        It depends on the values alone, so a sketch with fewer values for a hole gives the same numbers. They are 64-bit
        hashes; different programs having the same one is not a practical matter.
        """
        total = np.zeros(len(self), dtype=np.uint64)
        for column in range(len(self.sketch.holes)) if columns is None else columns:
            total += _words(column, self.sketch.holes[column])[self.choices[:, column]]
        return total

    def take(self, rows: np.ndarray | Sequence[int]) -> Population:
        """The programs of some rows (indices or a mask), in that order."""
        return Population(self.sketch, self.choices[np.asarray(rows)])

    def numbers(self, name: str) -> tuple[np.ndarray, ...]:
        """The values of a hole in all programs, int64 [programs]: of a tile its inner lengths, of others one array.

        Raises: ValueError: the sketch has no such hole.
        """
        table, chosen = self._chosen(name)
        return tuple(numbers[chosen] for numbers in table.numbers)

    def floats(self, name: str) -> tuple[np.ndarray, ...]:
        """The same in float64."""
        table, chosen = self._chosen(name)
        return tuple(numbers.take(chosen) for numbers in table.floats)

    def _chosen(self, name: str) -> tuple[HoleTable, np.ndarray]:
        if name not in self._column:
            raise ValueError(f"name must be a hole of the sketch ({', '.join(self._column)}), got {name!r}")
        column = self._column[name]
        return self._tables[column], self.choices[:, column]


def by_sketch(programs: Sequence[Program]) -> list[tuple[np.ndarray, Population]]:
    """Group programs of several sketches: for each sketch the positions of its programs, and these as a population."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, program in enumerate(programs):
        groups.setdefault(program.identity, []).append(position)
    return [
        (np.array(positions), Population.of(programs[positions[0]].sketch, [programs[i] for i in positions]))
        for positions in groups.values()
    ]
