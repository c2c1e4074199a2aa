"""Store where a copy would put it: LoopNest -> LoopNest.

Where all of a workspace is only copied on, element for element, in another order, each element is stored at its last
place at once, and neither copy nor workspace is left. A strided transposed convolution, computed class by class of its
residues, is such a case; with several threads the copy would also fetch what another core has computed.

    with workspace(float32[2, 4]) as T:               for q in range(2):
        for q in range(2):                                for i in range(4):
            for i in range(4):                                C[i * 2 + q] = X[i]
                T[q, i] = X[i]                   ->
        for j in range(8):
            C[j] = T[j % 2, j // 2]

It is done where an index of the workspace is one of the target's, or two of them its quotient and its remainder. Where
threads share the work, either what lies together fills a cache line, or each thread has blocks of the target of its
own; they would write to one line in turns otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from runtime.expr import ITEM_SIZE, Binary, Buffer, Const, Expr, Load
from runtime.expr_tree import free_variables
from runtime.indices.affine import Affine, affine_bounds
from runtime.indices.index_forms import flat_index, fold
from runtime.indices.index_grid import Grid
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import PARALLEL, Allocate, Block, For, LoopNest, Stmt, Store, block, transform_stmts
from runtime.passes.replace_buffers import map_accesses
from runtime.passes.visits import Access, accesses

LINE_BYTES = 64

# The target's indices for indices of the workspace.
Place = Callable[[tuple[Expr, ...]], tuple[Expr, ...]]


def store_directly(nest: LoopNest) -> LoopNest:
    """Drop the workspaces that are only copied on, see the module.

    >>> from runtime.loop_nest_text import parse
    >>> print(store_directly(parse('''
    ... def f(X: float32[4]) -> (C: float32[8]):
    ...     with workspace(float32[2, 4]) as T:
    ...         for q in range(2):
    ...             for i in range(4):
    ...                 T[q, i] = X[i]
    ...         for j in range(8):
    ...             C[j] = T[j % 2, j // 2]
    ... ''')))
    def f(X: float32[4]) -> (C: float32[8]):
        for q in range(2):
            for i in range(4):
                C[i * 2 + q] = X[i]
    """
    return LoopNest(nest.name, nest.inputs, nest.outputs, transform_stmts(nest.body, _without_workspace))


def _without_workspace(stmt: Stmt) -> Stmt | None:
    if not isinstance(stmt, Allocate) or stmt.buffer.scope != "global" or not isinstance(stmt.body, Block):
        return None
    *before, last = stmt.body.stmts
    copy, extents = last, dict[str, int]()
    while isinstance(copy, For):
        extents[copy.var.name] = copy.extent
        copy = copy.body
    if not isinstance(copy, Store) or not isinstance(copy.value, Load) or copy.value.buffer != stmt.buffer:
        return None
    target, touched = copy.buffer, accesses(block(*before))
    whole = prod(extents.values()) == target.size == stmt.buffer.size and target.dtype == stmt.buffer.dtype
    if not whole or target.scope != "global" or any(access.buffer.name == target.name for access in touched):
        return None
    place = _inverse(copy.indices, target, copy.value.indices, stmt.buffer, extents)
    if place is None:
        return None
    stores = [access for access in touched if access.buffer == stmt.buffer and access.is_store]
    short = _run(copy, stmt.buffer) * ITEM_SIZE[target.dtype] < LINE_BYTES
    if short and not all(_in_blocks(access, place, target) for access in stores):
        return None

    def load(node: Load) -> Expr | None:
        return Load(target, place(node.indices)) if node.buffer == stmt.buffer else None

    def store(node: Store) -> Store:
        return Store(target, place(node.indices), node.value) if node.buffer == stmt.buffer else node

    return map_accesses(block(*before), load, store)


def _inverse(
    there: tuple[Expr, ...], target: Buffer, here: tuple[Expr, ...], workspace: Buffer, extents: dict[str, int]
) -> Place | None:
    """Where the copy `target[there] = workspace[here]` puts an element; None where that is not clear."""
    simplify = Simplifier({name: (0, extent - 1) for name, extent in extents.items()}).value
    read = {axis: simplify(index) for axis, index in enumerate(here) if workspace.shape[axis] > 1}
    if not _all_reached(read, workspace.shape, extents):
        return None  # as often as there are elements, but some twice and some never

    def axis_of(index: Expr, extent: int) -> int | None:
        """The axis of the workspace that has this index and extent; each is taken once."""
        wanted = simplify(index)
        found = next((axis for axis in read if read[axis] == wanted and workspace.shape[axis] == extent), None)
        return None if found is None or read.pop(found) is None else found

    parts: list[tuple[int, int, int | None] | None] = []  # of each index: quotient's axis, divisor, remainder's axis
    for index, extent in zip(there, target.shape):
        found: tuple[int, int, int | None] | None = None
        whole = axis_of(index, extent) if extent > 1 else None
        if whole is not None:
            found = (whole, 1, None)
        elif extent > 1:
            found = _quotient_and_remainder(index, extent, workspace.shape, axis_of)
            if found is None:
                return None
        parts.append(found)
    if read:
        return None

    def place(indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return tuple(_joined(part, indices) for part in parts)

    return place


def _all_reached(indices: Mapping[int, Expr], shape: tuple[int, ...], extents: dict[str, int]) -> bool:
    """Whether the loops reach every element: they do when they reach those of all axes that share no loop."""
    groups: list[tuple[frozenset[str], list[int]]] = []
    for axis, index in indices.items():
        names, axes = frozenset(free_variables(index)), [axis]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names, axes = names | group[0], axes + group[1]
        groups.append((names, axes))
    for _, axes in groups:
        parts, own = tuple(indices[axis] for axis in axes), tuple(shape[axis] for axis in axes)
        grid = Grid.over(extents, parts)
        if grid is None or np.unique(grid.values(flat_index(parts, own))).size < prod(own):
            return False
    return True


def _quotient_and_remainder(
    index: Expr, extent: int, shape: tuple[int, ...], axis_of: Callable[[Expr, int], int | None]
) -> tuple[int, int, int | None] | None:
    for divisor in sorted({size for size in shape if 1 < size < extent and extent % size == 0}):
        remainder = axis_of(index % divisor, divisor)
        if remainder is not None:
            quotient = axis_of(index // divisor, extent // divisor)
            return None if quotient is None else (quotient, divisor, remainder)
    return None


def _joined(part: tuple[int, int, int | None] | None, indices: tuple[Expr, ...]) -> Expr:
    if part is None:
        return Const(0)
    quotient, divisor, remainder = part
    return fold(indices[quotient] if remainder is None else indices[quotient] * divisor + indices[remainder])


def _in_blocks(store: Access, place: Place, target: Buffer) -> bool:
    """Whether the iterations of the parallel loops around a store, or so many in a row, fill blocks of lines."""
    ranges = {loop.var.name: (0, loop.extent - 1) for loop in store.loops}
    for loop in store.loops:
        if loop.kind != PARALLEL:
            continue
        form = Simplifier(ranges).affine(flat_index(place(store.indices), target.shape))
        leading = max(form.terms, key=lambda atom: form.terms[atom], default=None)
        if leading is None or not _counts(leading, loop):
            return False
        block_size = form.terms[leading]
        low, high = affine_bounds(form.plus(Affine(0, {leading: block_size}), -1), ranges)
        if low < 0 or high >= block_size or block_size * ITEM_SIZE[target.dtype] < LINE_BYTES:
            return False
    return True


def _counts(atom: Expr, loop: For) -> bool:
    """Whether an atom is the loop's variable or a quotient of it."""
    return atom == loop.var or (isinstance(atom, Binary) and atom.op == "//" and atom.a == loop.var)


def _run(copy: Store, workspace: Buffer) -> int:
    """How many neighbours in the target are neighbours in the workspace, too."""
    assert isinstance(copy.value, Load)
    run = 1
    for index, other, extent, size in zip(
        reversed(copy.indices), reversed(copy.value.indices), reversed(copy.buffer.shape), reversed(workspace.shape)
    ):
        if index != other or extent != size:
            break
        run *= extent
    return run
