"""A decent schedule for any compute DAG without search.

Every stage that is a plain function of others is inlined, and so is padding. A stage that reduces is computed in a
register tile of its element-wise consumer (or of its own copy-out): a few rows times a few vectors, sized so that
accumulators fill the vector registers, with the whole reduction around the tile; where neighbouring rows slide over
shared vectors, as in depthwise convolution, the taps along the rows are unrolled. All other stages are vectorised along
their last axis, and transforms by constant matrices stay in registers, tile by tile. The outer loops are fused and run
in parallel.

This is the heuristic that a search has to beat, and the program that a search starts from.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ansor_mini import dag_analysis as facts
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.constant_transforms import TileTransform, is_transform, loops_around, tile_steps, tile_transforms
from ansor_mini.lowering import lower
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph
from ansor_mini.schedule import Step, replay
from ansor_mini.steps import CacheWrite, ComputeAt, ComputeInline, Fuse, Parallel, Reorder, Split, Unroll, Vectorize
from ansor_mini.tensor_expression import Axis, Tensor
from runtime.expr import Const, Select
from runtime.expr_tree import free_variables
from runtime.loop_nest import LoopNest
from runtime.machine import Machine

PARALLEL_WORK = 1 << 15  # operations below which waking a second thread costs more than it saves
WIDEST_ROW = 6  # vectors in a row of the tile
TALLEST_TILE = 16  # rows
MOST_TAPS = 7  # of a window that are unrolled
BUSY_ACCUMULATORS = 10  # independent sums that keep the multiply-add units busy


@dataclass(frozen=True)
class Tile:
    """A register tile: `rows` along one axis (None when rows would share nothing) times `columns` along the last."""

    row_axis: str | None
    rows: int
    columns: int


def default_nest(part: Subgraph, machine: Machine, threads: int) -> LoopNest:
    """The default schedule of a fused subgraph, lowered."""
    dag = declare(part.fragment)
    return lower(replay(dag, default_steps(dag, machine, threads)))


def default_steps(dag: ComputeDAG, machine: Machine, threads: int = 1, *, by_rows: bool = False) -> tuple[Step, ...]:
    """The steps of the default schedule of a DAG.

    by_rows: every thread computes a share of the rows, over all columns. Kernels that follow each other then find what
    they read in their own core's cache; alone they may be slower, since every core reads all weights.
    """
    inlined = {op.name for op in dag.ops if not dag.is_output(op) and is_inlined(dag, op)}
    steps: list[Step] = [ComputeInline(name) for name in sorted(inlined)]
    placed = set(inlined)
    for transform in tile_transforms(dag):
        steps += _transformed(dag, transform, inlined, machine, threads)
        placed.update((transform.root, *transform.inlined, *transform.transforms))
    reductions = [op for op in dag.ops if op.reduce_axes and op.axes]
    consumers = {op.name: facts.fusible_consumer(dag, op.name) for op in reductions}
    consumers = {name: None if consumer in placed else consumer for name, consumer in consumers.items()}
    for op in dag.ops:
        if op.name in consumers:
            steps += _tiled(dag, op, consumers[op.name], machine, threads, by_rows)
        elif op.name not in placed and op.name not in consumers.values():
            steps += _streamed(op, machine, threads)
    return tuple(steps)


def is_inlined(dag: ComputeDAG, op: Tensor) -> bool:
    """Whether a stage is computed where it is read: cheap ones, and padding, whose taps a register tile then skips.

    Transforms are not: each would be computed once for every case of its reader.
    """
    if is_transform(op):
        return False
    if facts.is_strictly_inlineable(dag, op.name):
        return True
    readers = dag.consumers(op)
    padding = isinstance(op.body, Select) and isinstance(op.body.otherwise, Const) and not op.reduce_axes
    return padding and len(readers) == 1 and (bool(readers[0].reduce_axes) or is_transform(readers[0]))


def choose_tile(dag: ComputeDAG, op: Tensor, machine: Machine) -> Tile:
    """The register tile with the best estimated throughput; ties go to the smaller one.

    A tile need not divide its axis: what is left over becomes a shorter tile.
    """
    last = op.axes[-1].extent
    tiles = [Tile(None, 1, columns) for columns in _columns(last, machine.lanes)]
    for axis in _shared_axes(dag, op)[:1]:
        heights = range(2, min(axis.extent, TALLEST_TILE) + 1)
        tiles += [Tile(axis.name, height, tile.columns) for tile in tiles for height in heights]
    extents = {axis.name: axis.extent for axis in op.axes}

    def preference(tile: Tile) -> tuple[float, int]:
        return _throughput(tile, last, extents, machine, taps_along(op, tile.row_axis)), -tile.rows * tile.columns

    return max(tiles, key=preference)


def taps_along(op: Tensor, rows: str | None) -> int:
    """Taps of the innermost reduction that slides along an axis over vectors of the last one; 1 where none does.

    >>> from ansor_mini.workloads import parse_workload
    >>> taps_along(parse_workload("DEP:14,14,512,3,1,1")["conv"], "w")
    3
    >>> taps_along(parse_workload("C2D:14,14,256,256,3,1,1")["conv"], "w")
    1
    """
    tap, last = op.reduce_axes[-1], op.axes[-1].name
    along = [load for load in op.loads() if any(last in free_variables(index) for index in load.indices)]
    meeting = [free_variables(index) for load in along for index in load.indices]
    return tap.extent if tap.extent <= MOST_TAPS and any({rows, tap.name} <= names for names in meeting) else 1


def _columns(extent: int, lanes: int) -> Iterator[int]:
    """Widths of a row of a tile: a few whole vectors, or all of a short axis."""
    if extent < lanes:
        yield extent
    for vectors in range(1, min(WIDEST_ROW, extent // lanes) + 1):
        yield lanes * vectors


def _vectors(columns: int, lanes: int) -> int:
    """Registers that hold a row: whole vectors, then ever shorter ones for the rest.

    >>> _vectors(40, 16), _vectors(13, 16)
    (3, 3)
    """
    return columns // lanes + (columns % lanes).bit_count()


def _throughput(tile: Tile, last: int, extents: dict[str, int], machine: Machine, taps: int) -> float:
    """Results per cycle, roughly, over all tiles of both axes: whole ones and what is left over.

    taps: so many vectors of the shared operand are kept for each column.
    """
    height = extents[tile.row_axis] if tile.row_axis else 1
    cycles = 0.0
    for rows, row_tiles in _tiles(height, tile.rows):
        for columns, column_tiles in _tiles(last, tile.columns):
            vectors = _vectors(columns, machine.lanes)
            accumulators = rows * vectors
            if accumulators + taps * vectors + 1 > (32 if machine.vector_bytes == 64 else 16):
                return 0.0
            # A multiply-add per accumulator, unless the chain of additions takes longer; loads that get in the way; the
            # loop itself.
            reduction_step = max(accumulators, BUSY_ACCUMULATORS) + vectors + 0.5 * rows + 2
            cycles += row_tiles * column_tiles * reduction_step
    return height * last / cycles


def _tiles(extent: int, tile: int) -> list[tuple[int, int]]:
    """(length, how many) of the tiles of an axis."""
    return [(length, count) for length, count in ((tile, extent // tile), (extent % tile, 1)) if length and count]


def _shared_axes(dag: ComputeDAG, op: Tensor) -> list[Axis]:
    """Axes, innermost first, along which neighbouring results share a vector operand: good rows of a tile."""
    last = op.axes[-1].name
    vectors = [load for load in op.loads() if any(last in free_variables(index) for index in load.indices)]
    used = [{name for index in load.indices for name in free_variables(index)} for load in vectors]
    long = [axis for axis in reversed(op.axes[:-1]) if axis.extent > 1]
    return [axis for axis in long if any(axis.name not in names for names in used)]


def _tiled(
    dag: ComputeDAG, op: Tensor, consumer: str | None, machine: Machine, threads: int, by_rows: bool
) -> list[Step]:
    """Compute a reduction in register tiles of its consumer.

    Outer loops: column tiles, then the other axes, then row tiles, so that the operand shared by the rows stays in
    cache while the others stream past it. By rows, a loop over the threads' shares stands around them.
    """
    tile = choose_tile(dag, op, machine)
    steps: list[Step] = []
    inner, outer = op.name, consumer
    if outer is None:
        steps.append(CacheWrite(op.name))
        inner, outer = f"{op.name}.local", op.name
    # The consumer may name the same axes differently.
    *axes, column = [axis.name for axis in dag[outer].axes]
    steps.append(Split(outer, column, (tile.columns,)))
    work = 2 * op.size * math.prod(axis.extent for axis in op.reduce_axes)
    counts = [-(-own.extent // tile.rows) if own.name == tile.row_axis else own.extent for own in op.axes[:-1]]
    longest = max(counts, default=0)
    shared = counts.index(longest) if by_rows and 1 < threads <= longest and work >= PARALLEL_WORK else None
    # Levels of loops, outer to inner; an axis is split into a loop for each of its levels, the inner ones so long.
    shares, loops, row_tiles, rows = list[str](), [f"{column}.0"], list[str](), list[str]()
    for number, (name, own) in enumerate(zip(axes, op.axes[:-1], strict=True)):
        levels, lengths = [loops], list[int]()
        if own.name == tile.row_axis:
            levels, lengths = [row_tiles, rows], [tile.rows]
        if number == shared:
            levels, lengths = [shares, *levels], [-(-counts[number] // threads), *lengths]
        steps += [Split(outer, name, tuple(lengths))] if lengths else []
        for part, level in enumerate(levels):
            level.append(f"{name}.{part}" if lengths else name)
    # The row tiles are the innermost of the outer loops: there the tile is computed.
    loops += row_tiles
    steps += [Reorder(outer, (*shares, *loops, *rows, f"{column}.1")), Vectorize(outer, f"{column}.1")]
    steps.append(ComputeAt(inner, outer, loops[-1]))
    own_rows = [axis.name for axis in op.axes[:-1] if axis.name == tile.row_axis]
    around = [axis.name for axis in op.axes[:-1] if axis.name != tile.row_axis]
    order = (*around, *(axis.name for axis in op.reduce_axes), *own_rows, op.axes[-1].name)
    steps += [Reorder(inner, order), Vectorize(inner, op.axes[-1].name)]
    if taps_along(op, tile.row_axis) > 1:
        steps.append(Unroll(inner, op.reduce_axes[-1].name))
    return steps + _parallel(outer, shares or (loops[:-1] if len(loops) > 1 else loops), work, threads)


def _transformed(
    dag: ComputeDAG, transform: TileTransform, inlined: Collection[str], machine: Machine, threads: int
) -> list[Step]:
    """Compute transforms by constant matrices tile by tile, a vector at a time."""
    root = dag[transform.root]
    steps: list[Step] = [ComputeInline(name) for name in transform.inlined if name not in inlined]
    steps += tile_steps(dag, transform, (min(machine.lanes, root.axes[-1].extent),))
    return steps + _parallel(root.name, loops_around(dag, transform), root.size, threads)


def _streamed(op: Tensor, machine: Machine, threads: int) -> list[Step]:
    """Vectorise a stage that reads and writes once along its last axis."""
    if not op.axes:
        return []
    steps: list[Step] = []
    *outer, last = [axis.name for axis in op.axes]
    if not op.reduce_axes:
        columns = max(width for width in _columns(op.axes[-1].extent, machine.lanes))
        steps = [Split(op.name, last, (columns,)), Vectorize(op.name, f"{last}.1")]
        outer.append(f"{last}.0")
    return steps + _parallel(op.name, outer, op.size, threads)


def _parallel(stage: str, loops: Sequence[str], work: int, threads: int) -> list[Step]:
    """Fuse loops into a parallel one, when there is enough to do."""
    if threads == 1 or work < PARALLEL_WORK or not loops:
        return []
    if len(loops) == 1:
        return [Parallel(stage, loops[0])]
    return [Fuse(stage, tuple(loops)), Parallel(stage, "@".join(loops))]
