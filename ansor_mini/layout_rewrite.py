"""Store constant weights in the order in which a kernel reads them.

Paper: Ansor §4.2

Weights are known when a network is compiled, so their layout is free. The loops of the kernel that reads them give it:
each loop over a weight becomes a dimension of the packed weight, outer loops first, and the innermost loop reads
consecutive elements. A tile that sticks out of an axis is filled up with zeros that nothing reads.

    for c0 in range(2):                              for c0 in range(2):
        for k in range(3):                               for k in range(3):
            for c1 in vectorize(4):              ->          for c1 in vectorize(4):
                ... W[k, c0 * 4 + c1] ...                        ... W[c0, k, c1] ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.expr import Buffer, Expr, Load
from runtime.expr_tree import free_variables, transform, walk
from runtime.indices.affine import Affine
from runtime.indices.simplify import Simplifier, bounds
from runtime.loop_nest import For, If, LoopNest, Stmt, Store, expressions, rebuild_stmt, sub_stmts
from runtime.measure_case import MeasureCase

GROWTH_LIMIT = 1.25  # times the original size that a packed weight may take


@dataclass(frozen=True)
class Packing:
    """How a weight is stored: its packed shape, and where each original index comes from.

    original: for each original dimension a constant and (packed dimension, coefficient) pairs.
    """

    argument: str
    shape: tuple[int, ...]
    original: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """The weight in the packed layout.

        >>> packing = Packing("W", (2, 1, 2), ((0, ((1, 1),)), (0, ((0, 2), (2, 1)))))
        >>> packing.pack(np.array([[1, 2, 3]])).tolist()
        [[[1, 2]], [[3, 0]]]
        """
        grid = np.indices(self.shape, sparse=True)
        inside = np.ones((), bool)
        index = []
        for (constant, terms), extent in zip(self.original, weight.shape, strict=True):
            place = constant + sum((grid[dimension] * factor for dimension, factor in terms), np.zeros((), np.intp))
            inside = inside & (place >= 0) & (place < extent)
            index.append(np.clip(place, 0, extent - 1))
        return np.where(inside, weight[tuple(index)], weight.dtype.type(0)).reshape(self.shape)


def rewrite_layout(nest: LoopNest, argument: str) -> tuple[LoopNest, Packing] | None:
    """Let a nest read one of its inputs packed; None when it reads it in several ways or already in order.

    >>> from runtime.loop_nest_text import parse
    >>> packed, packing = rewrite_layout(parse('''
    ... def f(W: float32[3, 8]) -> (C: float32[8]):
    ...     for c0 in range(2):
    ...         for k in range(3):
    ...             for c1 in vectorize(4):
    ...                 C[c0 * 4 + c1] = C[c0 * 4 + c1] + W[k, c0 * 4 + c1]
    ... '''), "W")
    >>> print(packed)
    def f(W: float32[2, 3, 4]) -> (C: float32[8]):
        for c0 in range(2):
            for k in range(3):
                for c1 in vectorize(4):
                    C[c0 * 4 + c1] = C[c0 * 4 + c1] + W[c0, k, c1]
    """
    weight = next(buffer for buffer in nest.inputs if buffer.name == argument)
    found = {load: loops for load, loops in _loads(nest.body, argument, ())}
    if len(found) != 1:
        return None
    ((read, loops),) = found.items()
    ranges = {loop.var.name: (0, loop.extent - 1) for loop in loops}
    forms = [Simplifier(ranges).affine(index) for index in read.indices]
    atoms = _atoms(forms, [loop.var.name for loop in loops])
    if atoms is None:
        return None
    highest = [bounds(atom, ranges) for atom in atoms]
    if any(low != 0 for low, _ in highest):
        return None
    packing = Packing(
        argument,
        tuple(int(high) + 1 for _, high in highest),
        tuple((form.const, tuple((atoms.index(a), factor) for a, factor in form.terms.items())) for form in forms),
    )
    packed = Buffer(weight.name, packing.shape, weight.dtype, weight.scope)
    if packing.shape == weight.shape or packed.size > GROWTH_LIMIT * weight.size:
        return None
    inputs = tuple(packed if buffer.name == argument else buffer for buffer in nest.inputs)
    return LoopNest(nest.name, inputs, nest.outputs, _replace(nest.body, read, Load(packed, tuple(atoms)))), packing


def pack_case(nest: LoopNest, case: MeasureCase, constants: Collection[str]) -> tuple[LoopNest, MeasureCase]:
    """A nest with the inputs named in `constants` packed, and the case with the same arrays packed."""
    arrays = list(case.inputs)
    for position, buffer in enumerate(nest.inputs):
        rewritten = rewrite_layout(nest, buffer.name) if buffer.name in constants and len(buffer.shape) > 1 else None
        if rewritten is not None:
            nest, packing = rewritten
            arrays[position] = packing.pack(arrays[position])
    if all(new is old for new, old in zip(arrays, case.inputs, strict=True)):
        return nest, case
    return nest, MeasureCase(arrays, case.expected, exact=case.exact, rtol=case.rtol)


def _loads(stmt: Stmt, argument: str, loops: tuple[For, ...]) -> Iterator[tuple[Load, tuple[For, ...]]]:
    """The loads of an argument and the loops around each."""
    for expression in expressions(stmt):
        for node in walk(expression):
            if isinstance(node, Load) and node.buffer.name == argument:
                yield node, loops
    for part in sub_stmts(stmt):
        yield from _loads(part, argument, (*loops, stmt) if isinstance(stmt, For) else loops)


def _atoms(forms: list[Affine], order: list[str]) -> list[Expr] | None:
    """The variables (or their quotients and remainders) in the indices, outer loops first; None if one comes twice."""
    atoms = [atom for form in forms for atom in form.terms]
    if len(set(atoms)) != len(atoms):
        return None
    if any(isinstance(node, Load) for atom in atoms for node in walk(atom)):
        return None
    return sorted(atoms, key=lambda atom: (max(order.index(name) for name in free_variables(atom)), str(atom)))


def _replace(stmt: Stmt, old: Load, new: Load) -> Stmt:
    """The statement reading `new` wherever it read `old`."""

    def visit(expr: Expr) -> Expr:
        return transform(expr, lambda node: new if node == old else None)

    if isinstance(stmt, Store):
        return Store(stmt.buffer, tuple(map(visit, stmt.indices)), visit(stmt.value))
    parts = tuple(_replace(part, old, new) for part in sub_stmts(stmt))
    if isinstance(stmt, If):
        return If(visit(stmt.condition), parts[0])
    return rebuild_stmt(stmt, parts) if parts else stmt
