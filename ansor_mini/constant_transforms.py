"""Transforms by constant matrices, computed tile by tile: how their loops are put together.

Paper: Ansor §7

A transform is a stage without reduction whose cases are chosen by axes that `SIMPLIFY_CONST_INDICES` names, such as the
rows and columns of Winograd's tiles (`definitions.winograd`). It is at its best when all transforms of one tile stay in
registers, for as many channels as a vector holds:

    for p:                                              for y, x in tiles:
        for c0:                                             for c0:
            rows = first transform [6, 6, 1, 16]                rows = first transform [4, 6, 1, 1, 1, 16]
            for e, v in unroll(6), unroll(6):                   back = second transform [4, 4, 1, 1, 1, 16]
                for c1 in vectorize(16):                        for h1, w1 in unroll(4), unroll(4):
                    V[e, v, p, c] = ...                             for c1 in vectorize(16):
                                                                        Y[y * 4 + h1, x * 4 + w1, c] = ...

On the left the last transform is what is computed; on the right it is read by the tile, through h % 4 and w % 4, by the
stage that writes the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansor_mini import dag_analysis as facts
from ansor_mini import sketch_hints as hints
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.loop_steps import Ints
from ansor_mini.steps import ComputeAt, Reorder, Split, Step, Unroll, Vectorize
from ansor_mini.tensor_expression import Tensor
from runtime.expr import Binary, Const, Var


@dataclass(frozen=True)
class TileTransform:
    """The stage whose tiles are computed, what is inlined into it, and the transforms that stay in its tile.

    transforms: consumers before producers, without the root. tiles: lengths of the root's axes in one tile.
    """

    root: str
    inlined: tuple[str, ...]
    transforms: tuple[str, ...]
    tiles: Mapping[str, int]


def is_transform(op: Tensor) -> bool:
    """Whether a stage has cases that vanish when its named axes are unrolled, sums nothing up, and fills vectors."""
    named = hints.names(op, hints.SIMPLIFY_CONST_INDICES)
    return bool(named) and not op.combiner and op.axes[-1].name not in named


def tile_transforms(dag: ComputeDAG) -> Iterator[TileTransform]:
    """All transforms of a DAG, those of one tile together."""
    for last in dag.ops:
        if is_transform(last) and not any(is_transform(reader) for reader in dag.consumers(last)):
            earlier = tuple(_producing_transforms(dag, last))
            tiles = _tiles_read(dag, last)
            if tiles:
                *inlined, root = _epilogue(dag, dag.consumers(last)[0])
                # Axes have the same order in all stages of an epilogue, but their own names.
                named = {dag[root].axes[position].name: length for position, length in tiles.items()}
                yield TileTransform(root, tuple(inlined), (last.name, *earlier), named)
            else:
                yield TileTransform(last.name, (), earlier, {})


def _tiles_read(dag: ComputeDAG, last: Tensor) -> dict[int, int]:
    """If one stage reads the named axes of a transform by remainders, positions of its axes that do, and the divisors.

    Its last axis is the one along vectors, and stays out of this.
    """
    if dag.is_output(last) or len(dag.consumers(last)) != 1 or dag.consumers(last)[0].combiner:
        return {}
    [reader] = dag.consumers(last)
    named = hints.names(last, hints.SIMPLIFY_CONST_INDICES)
    read = {
        (index, axis.extent)
        for load in reader.loads()
        if load.buffer.name == last.name
        for axis, index in zip(last.axes, load.indices, strict=True)
        if axis.name in named
    }
    return {
        position: extent
        for position, axis in enumerate(reader.axes[:-1])
        for index, extent in read
        if index == Binary("%", Var(axis.name), Const(extent))
    }


def _epilogue(dag: ComputeDAG, stage: Tensor) -> list[str]:
    """A stage and those behind it that take it element by element, one after the other."""
    found = [stage.name]
    while not dag.is_output(stage) and len(dag.consumers(stage)) == 1:
        [following] = dag.consumers(stage)
        if following.combiner or not facts.elementwise_match(dag, stage.name, following.name):
            break
        stage = following
        found.append(stage.name)
    return found


def _producing_transforms(dag: ComputeDAG, last: Tensor) -> Iterator[str]:
    """The transforms that a transform reads, one after the other."""
    for producer in dag.producers(last):
        if is_transform(producer) and len(dag.consumers(producer)) == 1 and not dag.is_output(producer):
            yield producer.name
            yield from _producing_transforms(dag, producer)


def tile_steps(dag: ComputeDAG, transform: TileTransform, columns: Ints) -> list[Step]:
    """The steps that compute a transform tile by tile, once what is to be inlined has been.

    columns: length of a tile along the last axis, or its hole.
    """
    root, last = dag[transform.root], dag[transform.root].axes[-1].name
    steps: list[Step] = [Split(root.name, name, (length,)) for name, length in transform.tiles.items()]
    steps.append(Split(root.name, last, columns))
    inside = [*_kept(root), *(f"{name}.1" for name in transform.tiles)]
    place = f"{last}.0"
    steps.append(Reorder(root.name, (*loops_around(dag, transform), place, *inside, f"{last}.1")))
    steps += [Unroll(root.name, name) for name in inside] + [Vectorize(root.name, f"{last}.1")]
    for name in transform.transforms:
        steps += _inside(dag[name], transform.root, place)
    return steps


def loops_around(dag: ComputeDAG, transform: TileTransform) -> list[str]:
    """The root's loops over tiles, but for that over columns, which stands inside them."""
    root = dag[transform.root]
    names = [axis.name for axis in root.axes[:-1] if axis.name not in _kept(root)]
    return [f"{name}.0" if name in transform.tiles else name for name in names]


def _kept(op: Tensor) -> tuple[str, ...]:
    """The axes of a transform that choose its cases."""
    return hints.names(op, hints.SIMPLIFY_CONST_INDICES) if is_transform(op) else ()


def _inside(op: Tensor, root: str, place: str) -> list[Step]:
    """Compute a transform in the root's tile."""
    kept = hints.names(op, hints.SIMPLIFY_CONST_INDICES)
    *rest, last = [axis.name for axis in op.axes if axis.name not in kept]
    steps: list[Step] = [ComputeAt(op.name, root, place), Reorder(op.name, (*rest, *kept, last))]
    return steps + [Unroll(op.name, name) for name in kept] + [Vectorize(op.name, last)]
