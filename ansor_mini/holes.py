"""The named holes of a sketch, and every value that each may take.

Paper: Ansor §4.2

A hole is a number (or a tuple of tile lengths) that the sketch leaves open. Its `HoleSpec` says what the number means
and which values are legal, so that sampling, mutation and exhaustive enumeration all draw from the same list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Union

Value = Union[int, tuple[int, ...]]
Annotation = dict[str, Value]

TILE, PARALLEL, VECTORIZE, UNROLL, LOCATION = "tile", "parallel", "vectorize", "unroll", "location"
KINDS = (TILE, PARALLEL, VECTORIZE, UNROLL, LOCATION)

MAX_INNERMOST = 64  # longest innermost tile, in elements
UNROLL_STEPS = (0, 16, 64, 512)
GPU_UNROLL_STEPS = (0, 16, 64, 512, 1024)


@dataclass(frozen=True, slots=True)
class LoopExtent:
    """The extent of a loop, as a function of an annotation: some adjacent tiles of an axis, or all of it.

    hole: the tile hole of the axis, "" when it is not tiled. first, last: which of the parts (0 is the outermost).

    >>> LoopExtent(512, "C.i", 2, 4).of({"C.i": (4, 2, 16)})
    32
    """

    axis: int
    hole: str = ""
    first: int = 0
    last: int = 1

    def of(self, annotation: Mapping[str, Value]) -> int:
        """The extent in one program."""
        lengths = annotation[self.hole] if self.hole else ()
        assert isinstance(lengths, tuple)
        return math.prod((-(-self.axis // math.prod(lengths)), *lengths)[self.first : self.last])


@dataclass(frozen=True, slots=True)
class HoleSpec:
    """One open choice of a sketch.

    name: unique in the sketch, `stage.axis` for tiles and `stage.kind` for the others.
    node: the stage that the choice belongs to; crossover takes all holes of a node from one parent.
    kind: one of `KINDS`.
    A tile hole holds `parts - 1` inner lengths, outer to inner, of an axis of `extent` elements whose innermost length
    is at most `innermost`; `reduce` tells a reduction axis. Tilings are exact, or exact for one of `rounded`, larger
    (the last tile is then cut short by a guard), with an innermost length that is a multiple of `step`: whole vectors.
    With `choices`, a tile in two parts has one of these inner lengths, whether it divides the extent or not.
    The other kinds hold an int out of `choices`: for parallel and vectorize the number of `loops` fused, counted from
    the outermost and from the innermost; for unroll the longest body to unroll; for location 0 (inline), 1 (root) or
    2 + i (at the i-th candidate loop).
    """

    name: str
    node: str
    kind: str
    extent: int = 0
    parts: int = 0
    reduce: bool = False
    innermost: int = MAX_INNERMOST
    rounded: tuple[int, ...] = ()
    choices: tuple[int, ...] = ()
    loops: tuple[LoopExtent, ...] = ()
    step: int = 1

    @property
    def values(self) -> tuple[Value, ...]:
        """Every legal value, in a fixed order."""
        if self.kind == TILE and self.choices:
            return tuple((choice,) for choice in self.choices)
        if self.kind == TILE:
            return tilings((self.extent, *self.rounded), self.parts, self.innermost, self.step)
        return self.choices

    @property
    def neighbours(self) -> Callable[[tuple[int, ...]], tuple[tuple[int, ...], ...]]:
        """The function from a tiling to those one move away."""
        if self.choices:
            return lambda lengths: tuple((choice,) for choice in self.choices if (choice,) != lengths)
        return lambda lengths: tile_neighbours((self.extent, *self.rounded), lengths, self.innermost, self.step)

    def __str__(self) -> str:
        what = f"{self.extent} in {self.parts} parts" if self.kind == TILE else f"one of {self.choices}"
        return f"{self.name}: {self.kind}, {what}"


def divisors(number: int) -> tuple[int, ...]:
    """All divisors, ascending.

    >>> divisors(12)
    (1, 2, 3, 4, 6, 12)
    """
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


@lru_cache(maxsize=4096)
def factorizations(extent: int, parts: int, innermost: int = MAX_INNERMOST) -> tuple[tuple[int, ...], ...]:
    """Every way to cut `extent` into `parts` exact tiles: the `parts - 1` inner lengths, outer to inner.

    The outermost length is what is left over. Paper: Ansor §4.2

    >>> factorizations(4, 2)
    ((1,), (2,), (4,))
    >>> factorizations(4, 3, innermost=2)
    ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1))
    """
    if extent < 1 or parts < 1:
        raise ValueError(f"a tile needs extent and parts of at least 1, got extent={extent}, parts={parts}")
    if parts == 1:
        return ((),)
    found: list[tuple[int, ...]] = []
    for length in divisors(extent):
        for rest in factorizations(extent // length, parts - 1, innermost):
            if (rest or (length,))[-1] <= innermost:
                found.append((length, *rest))
    return tuple(found)


@lru_cache(maxsize=4096)
def tilings(
    extents: tuple[int, ...], parts: int, innermost: int = MAX_INNERMOST, step: int = 1
) -> tuple[tuple[int, ...], ...]:
    """The exact tilings of any of the extents, each once; but for the first only those in steps of `step`.

    >>> tilings((5, 6), 2), tilings((5, 6), 2, step=3)
    (((1,), (5,), (2,), (3,), (6,)), ((1,), (5,), (3,), (6,)))
    """
    first, *rounded = extents
    found = dict.fromkeys(factorizations(first, parts, innermost))
    for extent in rounded:
        found.update((tile, None) for tile in factorizations(extent, parts, innermost) if tile[-1] % step == 0)
    return tuple(found)


HEIGHTS = range(5, 15)  # rows of a register tile that keep the multiply-add units busy
WIDTHS = range(2, 5)  # vectors in such a row
MOST_ROUNDED = 3
WARP = 32  # threads that run together on every GPU so far


@lru_cache(maxsize=4096)
def rounded_extents(extent: int, lanes: int) -> tuple[int, ...]:
    """Larger extents worth tiling instead of an awkward one, so that a good register tile can always be reached.

    Along the vectors (lanes > 1): whole vectors, in rows of 2, 3 and 4. Along the rows (lanes = 1): multiples of
    heights that do not divide the extent and still leave no tiny tile over; those that add most heights come first.
    Nothing is computed beyond the axis: the last tile is cut short.

    >>> rounded_extents(1000, 16), rounded_extents(512, 16), rounded_extents(8, 16)
    ((1008, 1024), (528,), ())
    >>> rounded_extents(47, 1), rounded_extents(56, 1), rounded_extents(7, 1)
    ((48, 56, 50), (60, 65), ())
    """
    return _whole_vectors(extent, lanes) if lanes > 1 else _whole_rows(extent)


@lru_cache(maxsize=4096)
def whole_warps(extent: int) -> tuple[int, ...]:
    """Larger extents worth tiling for a GPU instead of an awkward one: few threads idle, and the tiles are regular.

    >>> whole_warps(1000), whole_warps(147), whole_warps(224), whole_warps(7)
    ((1008, 1024), (152, 160), (), (8,))
    """
    if extent % WARP == 0 or extent < 4:
        return ()
    rounded = (-(-extent // multiple) * multiple for multiple in (4, 8, 16, WARP))
    found = [whole for whole in dict.fromkeys(rounded) if extent < whole and whole * 7 <= extent * 8]
    return tuple(found[-MOST_ROUNDED + 1 :])


def _whole_vectors(extent: int, lanes: int) -> tuple[int, ...]:
    if extent <= lanes:
        return ()
    vectors = -(-extent // lanes)
    found = dict.fromkeys([vectors] if extent % lanes else [])
    for width in WIDTHS:
        rounded = -(-vectors // width) * width
        if rounded * 8 <= vectors * 9 and rounded != vectors:
            found[rounded] = None
    return tuple(vectors * lanes for vectors in found)


def _whole_rows(extent: int) -> tuple[int, ...]:
    heights = {height for height in HEIGHTS if extent % height and height < extent and _leaves_little(extent, height)}
    found: list[int] = []
    while heights and len(found) < MOST_ROUNDED:
        rounded = {-(-extent // height) * height for height in heights}
        best = max(rounded, key=lambda whole: (sum(whole % height == 0 for height in heights), -whole))
        heights = {height for height in heights if best % height}
        found.append(best)
    return tuple(found)


def _leaves_little(extent: int, height: int) -> bool:
    """Whether cutting an axis into tiles of a height loses at most 5 %: a small last tile takes as long as a larger."""
    rest = extent % height
    return extent >= 0.95 * (extent - rest + max(rest, HEIGHTS.start))


@lru_cache(maxsize=65536)
def tile_neighbours(
    extents: tuple[int, ...], lengths: tuple[int, ...], innermost: int = MAX_INNERMOST, step: int = 1
) -> tuple[tuple[int, ...], ...]:
    """The tilings reached by moving one divisor from one level to another, the implicit outermost level included.

    Paper: Ansor §5.1 (tile size mutation)

    >>> tile_neighbours((4,), (2, 1))
    ((4, 1), (2, 2), (1, 1), (1, 2))
    """
    tile = math.prod(lengths)
    found: dict[tuple[int, ...], None] = {}
    for extent in extents:
        if extent % tile == 0:
            moves = _moves([extent // tile, *lengths], innermost)
            found.update((other, None) for other in moves if _is_tiling(extents[0], other, step))
    found.pop(lengths, None)
    return tuple(found)


def _is_tiling(extent: int, lengths: tuple[int, ...], step: int) -> bool:
    """Whether lengths that are exact for an axis or for what it is rounded to are legal."""
    return lengths[-1] % step == 0 or extent % math.prod(lengths) == 0


def _moves(levels: list[int], innermost: int) -> Iterator[tuple[int, ...]]:
    """Inner lengths after moving one divisor from one level to another."""
    for source, held in enumerate(levels):
        for divisor in divisors(held)[1:]:
            for target in range(len(levels)):
                if target != source:
                    moved = levels.copy()
                    moved[source] //= divisor
                    moved[target] *= divisor
                    if moved[-1] <= innermost:
                        yield tuple(moved[1:])


def freeze(annotation: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """An annotation as a hashable, order-free key.

    >>> freeze({"b": 1, "a": (2, 4)})
    (('a', (2, 4)), ('b', 1))
    """
    return tuple(sorted(annotation.items()))
