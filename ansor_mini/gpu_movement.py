"""Concat and split on a GPU: each piece is a launch of its own, a thread for every element.

Like `data_movement`, both see their tensors as matrices of everything before the axis times the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ansor_mini.default_gpu_schedule import threads_for
from runtime.expr import Buffer, Expr, Var
from runtime.gpu import Gpu
from runtime.graph import Graph, Node
from runtime.loop_nest import BLOCK, THREAD, For, If, LoopNest, Stmt, Store, block


def gpu_movement_nest(graph: Graph, node: Node, gpu: Gpu, name: str) -> LoopNest:
    """The copies that a concat or split of a graph stands for, on a GPU."""
    whole = graph.types[node.outputs[0] if node.operator == "concat" else node.inputs[0]]
    axis = node["axis"] % whole.rank
    rows = math.prod(whole.shape[:axis])
    pieces = node.inputs if node.operator == "concat" else node.outputs
    widths = [math.prod(graph.types[piece].shape[axis:]) for piece in pieces]
    return copies_nest(rows, widths, node.operator == "concat", whole.dtype, name, gpu)


def copies_nest(rows: int, widths: Sequence[int], join: bool, dtype: str, name: str, gpu: Gpu) -> LoopNest:
    """Join matrices side by side, or cut one into such pieces.

    >>> from runtime.gpu import gpu
    >>> print(copies_nest(32, [3, 4], True, "float32", "concat", gpu("h100")))
    def concat(x0: float32[32, 3], x1: float32[32, 4]) -> (y: float32[32, 7]):
        for b in block(3):
            for t in thread(32):
                y[(b * 32 + t) // 3, (b * 32 + t) % 3] = x0[(b * 32 + t) // 3, (b * 32 + t) % 3]
        for b in block(4):
            for t in thread(32):
                y[(b * 32 + t) // 4, (b * 32 + t) % 4 + 3] = x1[(b * 32 + t) // 4, (b * 32 + t) % 4]
    """
    letters = "xy" if join else "yx"
    pieces = tuple(Buffer(f"{letters[0]}{number}", (rows, width), dtype) for number, width in enumerate(widths))
    whole = Buffer(letters[1], (rows, sum(widths)), dtype)
    launches, start = [], 0
    for piece in pieces:
        launches.append(_copy(piece, whole, start, join, gpu))
        start += piece.shape[1]
    inputs, outputs = (pieces, (whole,)) if join else ((whole,), pieces)
    return LoopNest(name, inputs, outputs, block(*launches))


def _copy(piece: Buffer, whole: Buffer, start: int, join: bool, gpu: Gpu) -> Stmt:
    threads, width = threads_for(piece.size, gpu), piece.shape[1]
    b, t = Var("b"), Var("t")
    place: Expr = b * threads + t
    row, column = place // width, place % width
    own, other = (row, column), (row, column + start if start else column)
    store = Store(whole, other, piece[own]) if join else Store(piece, own, whole[other])
    guarded = If(place < piece.size, store) if piece.size % threads else store
    return For(b, -(-piece.size // threads), BLOCK, For(t, threads, THREAD, guarded))
