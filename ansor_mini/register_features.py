"""What a compiler makes of a statement's innermost loops: features beyond the paper's, for a program or a population.

The paper's features say how much is unrolled and vectorised, not what that leaves in registers: the same block of
iterations may hold one accumulator for a long reduction or sixteen for a step of it. Kernels differ by several times in
this, so here it is spelled out. A loop that does not move the written element leaves it in place, and what the loops
inside of it move is its tile. The emitter keeps a tile in registers around the outermost such loop whose tile is small
enough (`runtime.passes.register_tiles`), and copies what moves it; these features foretell that from loops and indices
alone.

What is neither vectorised nor copied stays a loop, and the innermost of those is what a compiler may vectorise by
itself: it does when each of its steps goes on to the next element of what is written and read, or to none. Without
these facts, programs that ask for no vectors look alike, and their times differ by a factor of ten.

The lines below run on integers and on symbols alike (`feature_symbols`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansor_mini.feature_nests import Mask, negation, product_of
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import Loop, Statement
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, maximum, minimum

LANES = 16  # floats in the longest vectors
FEWEST_LANES = 4  # in the shortest
TILE_LIMIT = 48  # vectors of a tile, as in `runtime.passes.register_tiles`
FAR = 64  # elements; longer steps are all alike


@dataclass(frozen=True)
class PlacedLoop:
    """A loop around a statement, its extent 1 where it is not there.

    moves: whether it moves each access, the written one first. steps: by how many elements. vector, unrolled, parallel:
    how it is annotated.
    """

    extent: Extent
    moves: Sequence[Mask]
    steps: Sequence[Extent]
    vector: Mask
    unrolled: Mask
    parallel: Mask

    @property
    def stays(self) -> Mask:
        """Where the loop runs and leaves the written element in place."""
        return negation(self.moves[0]) & (self.extent > 1)


def statement_registers(statement: Statement, loops: Sequence[Loop], masks: Sequence[Sequence[Mask]]) -> list[Extent]:
    """The features of a statement; masks: where each of the loops is vectorised, unrolled and parallel."""
    accesses, placed = statement.accesses, []
    for loop, annotated in zip(loops, masks):
        found = [index_stride(statement, access, loop.key) for access in accesses]
        moves, steps = [moves for moves, _ in found], [step for _, step in found]
        placed.append(PlacedLoop(loop.extent, moves, steps, *annotated))
    return register_features(placed, len(accesses))


def register_features(loops: Sequence[PlacedLoop], accesses: int) -> list[Extent]:
    """The features in the order of `feature_names.REGISTERS`; loops: outer to inner.

    A sum over k of 64, outside of 4 rows and two vectors of 16 columns, keeps 8 vectors for 64 iterations. Each takes
    the vectors of one input (2) and one element of each row of the other (4). The loop over k is all that stays a loop:
    it moves the input of rows to its neighbour and that of columns to its next row, around 8 vectors.

    >>> k = PlacedLoop(64, (False, True, True), (0, 1, 32), False, False, False)
    >>> i = PlacedLoop(4, (True, True, False), (32, 64, 0), False, True, False)
    >>> j = PlacedLoop(32, (True, False, True), (1, 0, 1), True, False, False)
    >>> register_features([k, i, j], 3)
    [8, 64, 6, 1.3333333333333333, 8, 6, 64, 4, 4, 1, 64, 0, 1, 1, 0, 8]
    """
    width = product_of([where(loop.vector, loop.extent, 1) for loop in loops])
    vectors = vector_count(width)
    levels = _tiles(loops, accesses, vectors)
    tile, depth, loads = 0, 1, 0
    inner_tile, inner_loads, inner_depth, innermost = 0, 0, 1, 1
    kept = [loop.stays & (tile <= TILE_LIMIT) & negation(loop.parallel) for loop, (tile, _) in zip(loops, levels)]
    for loop, stays, (vectors_inside, loaded) in reversed(list(zip(loops, kept, levels))):
        tile, loads = where(stays, vectors_inside, tile), where(stays, loaded, loads)
        depth = depth * where(stays, loop.extent, 1)
    for loop, (vectors_inside, loaded) in zip(loops, levels):
        inner_tile, inner_loads = where(loop.stays, vectors_inside, inner_tile), where(loop.stays, loaded, inner_loads)
        inner_depth = where(loop.stays, loop.extent, inner_depth)
        innermost = where(negation(loop.vector) & (loop.extent > 1), loop.extent, innermost)
    spatial = product_of([where(loop.unrolled & loop.moves[0], loop.extent, 1) for loop in loops])
    reduced = product_of([where(loop.unrolled & negation(loop.moves[0]), loop.extent, 1) for loop in loops])
    reuse = tile / maximum(loads, 1)
    tiles = [tile, depth, loads, reuse, inner_tile, inner_loads, inner_depth, innermost, spatial, reduced]
    return tiles + _rolled(loops, kept, accesses, width)


def vector_count(extent: Extent) -> Extent:
    """How many vectors and single elements a vectorised loop becomes: the widest vectors, then ever shorter ones.

    >>> [vector_count(extent) for extent in (16, 40, 7, 3)]
    [1, 3, 4, 3]
    """
    return extent // LANES + (extent % LANES >= 8) + (extent % 8 >= FEWEST_LANES) + extent % FEWEST_LANES


def _tiles(loops: Sequence[PlacedLoop], accesses: int, vectors: Extent) -> list[tuple[Extent, Extent]]:
    """For each loop, the vectors that the loops inside of it write, and how many vectors and elements they read."""
    loads: list[Extent] = []
    for access in range(1, accesses):
        moved: Mask = False
        for loop in loops:
            # one that runs once, a part of a fused loop in some programs, makes no vector of what it moves
            moved = moved | (loop.vector & loop.moves[access] & (loop.extent > 1))
        loads.append(where(moved, vectors, 1))
    tile, found = vectors, []
    for loop in reversed(loops):
        found.append((tile, sum(loads)))
        grows = loop.moves[0] & negation(loop.vector)
        tile = tile * where(grows, loop.extent, 1)
        loads = [n * where(grows & loop.moves[a], loop.extent, 1) for a, n in enumerate(loads, start=1)]
    return found[::-1]


def _rolled(loops: Sequence[PlacedLoop], kept: Sequence[Mask], accesses: int, width: Extent) -> list[Extent]:
    """The innermost loop that stays one: its length, its step, how many inputs it moves near, far and not, its body."""
    are_vectors = width >= FEWEST_LANES
    inside: list[Extent] = [where(are_vectors, vector_count(width), 1)]
    vector = [loop.vector & are_vectors for loop in loops]
    for loop, lanes in zip(reversed(loops[1:]), reversed(vector[1:])):
        inside.insert(0, inside[0] * where(lanes, 1, loop.extent))
    length, step, near, far, fixed, body = 0, 0, 0, 0, 0, 0
    in_tile: Mask = False
    for loop, holds, lanes, iterations in zip(loops, kept, vector, inside):
        copied = loop.unrolled | (loop.moves[0] & in_tile)
        in_tile = in_tile | holds
        rolled = negation(copied) & negation(lanes) & (loop.extent > 1)
        reads = [(loop.moves[a], loop.steps[a]) for a in range(1, accesses)]
        length, body = where(rolled, loop.extent, length), where(rolled, iterations, body)
        step = where(rolled, where(loop.moves[0], minimum(loop.steps[0], FAR), 0), step)
        near = where(rolled, sum(where(moves & (moved == 1), 1, 0) for moves, moved in reads), near)
        far = where(rolled, sum(where(moves & (moved > 1), 1, 0) for moves, moved in reads), far)
        fixed = where(rolled, sum(where(moves, 0, 1) for moves, _ in reads), fixed)
    return [length, step, near, far, fixed, body]
