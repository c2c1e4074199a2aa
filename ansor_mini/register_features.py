"""What a statement keeps in registers: features beyond the paper's, for a program alone and for a population.

The paper's features say how much is unrolled and vectorised, not what that leaves in registers: the same block of
iterations may hold one accumulator for a long reduction or sixteen for a step of it. Kernels differ by several times in
this, so here it is spelled out. A loop that does not move the written element leaves it in place, and what the loops
inside of it move is its tile. The emitter keeps a tile in registers around the outermost such loop whose tile is small
enough (`runtime.passes.register_tiles`); these features foretell that from loops and indices alone.

The lines below run on integers and on symbols alike (`feature_symbols`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansor_mini.feature_nests import Mask, negation, product_of
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import Loop, Statement
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, ceil_divide, maximum

LANES = 16  # floats in the longest vectors
TILE_LIMIT = 48  # vectors of a tile, as in `runtime.passes.register_tiles`


@dataclass(frozen=True)
class PlacedLoop:
    """A loop around a statement, its extent 1 where it is not there.

    moves: whether it moves each access, the written one first. vector, unrolled, parallel: how it is annotated.
    """

    extent: Extent
    moves: Sequence[Mask]
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
        moves = [index_stride(statement, access, loop.key)[0] for access in accesses]
        placed.append(PlacedLoop(loop.extent, moves, *annotated))
    return register_features(placed, len(accesses))


def register_features(loops: Sequence[PlacedLoop], accesses: int) -> list[Extent]:
    """The features in the order of `feature_names.REGISTERS`; loops: outer to inner.

    A sum over k of 64, outside of 4 rows and one vector of 32 columns, keeps 8 vectors for 64 iterations. Each takes
    the vectors of one input (2) and one element of each row of the other (4):

    >>> k = PlacedLoop(64, (False, True, True), False, False, False)
    >>> i = PlacedLoop(4, (True, True, False), False, True, False)
    >>> j = PlacedLoop(32, (True, False, True), True, False, False)
    >>> register_features([k, i, j], 3)
    [8, 64, 6, 1.3333333333333333, 8, 6, 64, 4, 4, 1]
    """
    levels = _tiles(loops, accesses)
    tile, depth, loads = 0, 1, 0
    inner_tile, inner_loads, inner_depth, innermost = 0, 0, 1, 1
    for loop, (vectors, loaded) in reversed(list(zip(loops, levels))):
        kept = loop.stays & (vectors <= TILE_LIMIT) & negation(loop.parallel)
        tile, loads = where(kept, vectors, tile), where(kept, loaded, loads)
        depth = depth * where(kept, loop.extent, 1)
    for loop, (vectors, loaded) in zip(loops, levels):
        inner_tile, inner_loads = where(loop.stays, vectors, inner_tile), where(loop.stays, loaded, inner_loads)
        inner_depth = where(loop.stays, loop.extent, inner_depth)
        innermost = where(negation(loop.vector) & (loop.extent > 1), loop.extent, innermost)
    spatial = product_of([where(loop.unrolled & loop.moves[0], loop.extent, 1) for loop in loops])
    reduced = product_of([where(loop.unrolled & negation(loop.moves[0]), loop.extent, 1) for loop in loops])
    reuse = tile / maximum(loads, 1)
    return [tile, depth, loads, reuse, inner_tile, inner_loads, inner_depth, innermost, spatial, reduced]


def _tiles(loops: Sequence[PlacedLoop], accesses: int) -> list[tuple[Extent, Extent]]:
    """For each loop, the vectors that the loops inside of it write, and how many vectors and elements they read."""
    vectors = ceil_divide(product_of([where(loop.vector, loop.extent, 1) for loop in loops]), LANES)
    loads: list[Extent] = []
    for access in range(1, accesses):
        moved: Mask = False
        for loop in loops:
            moved = moved | (loop.vector & loop.moves[access])
        loads.append(where(moved, vectors, 1))
    tile, found = vectors, []
    for loop in reversed(loops):
        found.append((tile, sum(loads)))
        grows = loop.moves[0] & negation(loop.vector)
        tile = tile * where(grows, loop.extent, 1)
        loads = [n * where(grows & loop.moves[a], loop.extent, 1) for a, n in enumerate(loads, start=1)]
    return found[::-1]
