"""Split tiles that stick out of their axis into whole tiles and the last, shorter one: LoopNest → LoopNest.

A tile of T iterations that does not divide an axis of N stands under a guard `base + v < N`, where base is a multiple
of T that outer loops fix and v runs over the tile. Only the last tile fails the guard, and it fails it after N mod T
iterations. So the nest below the innermost loop that base depends on is written twice:

    for i0 in range(4):                         for i0 in range(3):
        for i1 in range(4):                         for i1 in range(4):
            if i0 * 4 + i1 < 13:           ->           C[i0 * 4 + i1] = 0.0
                C[i0 * 4 + i1] = 0.0            for i1 in range(1):
                                                    C[12 + i1] = 0.0

Whole tiles then run without guards, and vectors and register tiles of the last one are as short as it is. A parallel
loop, or one that does not decide the base alone, stays one loop with both forms in it, under conditions. Where tiles
divide the axis but there are more of them than it holds, the guard asks for the tile's base alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.expr import Binary, Const, Expr, Var
from runtime.expr_tree import free_variables
from runtime.indices.affine import Affine
from runtime.indices.index_forms import interval, multiple_of
from runtime.indices.simplify import affine_form
from runtime.loop_nest import (
    SERIAL,
    UNROLL,
    For,
    If,
    LoopNest,
    Stmt,
    block,
    change_parts,
    rebuild_stmt,
    sub_stmts,
    walk_stmts,
)
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import conjuncts

COPIES_LIMIT = 4  # times that one statement may be written


@dataclass(frozen=True)
class Border:
    """Tiles of `tile` iterations from `base` on, of an axis that ends at `end`."""

    base: Expr
    tile: int
    end: int

    @property
    def last_whole(self) -> int:
        """The largest base of a whole tile."""
        return (self.end // self.tile - 1) * self.tile


def split_borders(nest: LoopNest) -> LoopNest:
    """Split all tiles of a nest, see the module.

    >>> from runtime.loop_nest_text import parse
    >>> print(split_borders(parse('''
    ... def f() -> (C: float32[13]):
    ...     for i0 in range(4):
    ...         for i1 in vectorize(4):
    ...             if i0 * 4 + i1 < 13:
    ...                 C[i0 * 4 + i1] = 0.0
    ... ''')))
    def f() -> (C: float32[13]):
        for i0 in range(3):
            for i1 in vectorize(4):
                C[i0 * 4 + i1] = 0.0
        for i1 in vectorize(1):
            C[12 + i1] = 0.0
    """
    return LoopNest(nest.name, nest.inputs, nest.outputs, _split(_ask_bases(nest.body, ()), {}, 1))


def _ask_bases(stmt: Stmt, loops: tuple[For, ...]) -> Stmt:
    """Replace guards `base + v < end` by `base < end` where tiles are either whole or beyond the end."""
    if isinstance(stmt, For):
        loops = (*loops, stmt)
    parts = tuple(_ask_bases(part, loops) for part in sub_stmts(stmt))
    if isinstance(stmt, If):
        asked: list[Expr] = []
        for conjunct in conjuncts(stmt.condition):
            border = border_of(conjunct, loops, divides=True)
            asked.append(conjunct if border is None else Binary("<", border.base, Const(border.end)))
        condition = asked[0]
        for part in asked[1:]:
            condition = Binary("and", condition, part)
        return If(condition, parts[0])
    return rebuild_stmt(stmt, parts) if parts else stmt


def _split(stmt: Stmt, extents: dict[str, int], copies: int) -> Stmt:
    """Split the borders whose base the loops around and this one fix; `extents` are those of the loops around."""
    if not isinstance(stmt, For):
        return change_parts(stmt, lambda part: _split(part, extents, copies))
    inside = {**extents, stmt.var.name: stmt.extent}
    border = _first_border(stmt.body, stmt.var.name, inside, copies)
    if border is not None and stmt.kind in (SERIAL, UNROLL):
        count = _whole_tiles(border, stmt)
        if count is not None:
            whole = For(stmt.var, count, stmt.kind, _without(stmt.body, border, border.tile))
            last = _without(stmt.body, border, border.end % border.tile)
            last = substitute_stmt(last, {stmt.var.name: Const(count)})
            return block(_split(whole, extents, 2 * copies), _split(last, extents, 2 * copies))
    return rebuild_stmt(stmt, (_split_body(stmt.body, border, stmt.var.name, inside, copies),))


def _whole_tiles(border: Border, loop: For) -> int | None:
    """How many iterations of a loop are whole tiles, if the next one is the last tile and the loop alone decides."""
    form = affine_form(border.base)
    step = form.terms.get(loop.var, 0)
    if len(form.terms) > 1 or step < border.tile:
        return None
    count = (border.last_whole - form.const) // step + 1
    is_last = form.const + count * step == border.last_whole + border.tile
    return count if 0 < count < loop.extent and is_last else None


def _split_body(body: Stmt, border: Border | None, var: str, extents: dict[str, int], copies: int) -> Stmt:
    """Write the body of a loop over `var` for whole tiles and for the last one, under conditions."""
    if border is None:
        return _split(body, extents, copies)

    def with_tiles(extent: int) -> Stmt:
        short = _without(body, border, extent)
        return _split_body(short, _first_border(short, var, extents, 2 * copies), var, extents, 2 * copies)

    whole, last = with_tiles(border.tile), with_tiles(border.end % border.tile)
    limit = Const(border.last_whole)
    short = Binary(">", border.base, limit)
    if interval(border.base, extents)[1] >= border.end:  # some tiles lie beyond the end of the axis
        short = Binary("and", short, Binary("<", border.base, Const(border.end)))
    return block(If(Binary("<=", border.base, limit), whole), If(short, last))


def _first_border(body: Stmt, var: str, extents: dict[str, int], copies: int) -> Border | None:
    return next(_borders(body, var, set(extents)), None) if copies < COPIES_LIMIT else None


def _borders(stmt: Stmt, var: str, fixed: set[str], loops: tuple[For, ...] = ()) -> Iterator[Border]:
    """The borders below a statement whose base depends on `var` and on nothing that is not fixed."""
    if isinstance(stmt, For):
        loops = (*loops, stmt)
    if isinstance(stmt, If):
        for conjunct in conjuncts(stmt.condition):
            found = border_of(conjunct, loops) if var in free_variables(conjunct) else None
            if found is not None and var in (used := free_variables(found.base)) and used <= fixed:
                yield found
    for part in sub_stmts(stmt):
        yield from _borders(part, var, fixed, loops)


def border_of(condition: Expr, loops: tuple[For, ...], divides: bool = False) -> Border | None:
    """The border that a guard `base + v < end` guards, where v is the variable of one of the loops.

    divides: look for tiles that divide the axis instead of those that do not.
    """
    if not (isinstance(condition, Binary) and condition.op == "<" and isinstance(condition.b, Const)):
        return None
    if condition.a.dtype != "int32":
        return None
    end = int(condition.b.value)
    used = free_variables(condition.a)
    tiles = [loop for loop in loops if loop.var.name in used and _fits(loop.extent, end, divides)]
    form = affine_form(condition.a) if tiles else Affine()
    for loop in tiles:
        if form.terms.get(loop.var) == 1:
            base = form.plus(Affine(0, {loop.var: 1}), -1)
            tile = loop.extent
            if base.terms and multiple_of(base.to_expr()) % tile == 0:
                return Border(base.to_expr(), tile, end)
    return None


def _fits(tile: int, end: int, divides: bool) -> bool:
    return end % tile == 0 if divides else end % tile != 0 and end > tile


def _without(stmt: Stmt, border: Border, extent: int) -> Stmt:
    """The statement where the border's tiles have `extent` iterations and no guard."""
    guarded = {id(loop) for loop in walk_stmts(stmt) if isinstance(loop, For) and _guards(loop, border)}

    def rewrite(stmt: Stmt, loops: tuple[For, ...]) -> Stmt:
        if isinstance(stmt, For):
            body = rewrite(stmt.body, (*loops, stmt))
            return For(stmt.var, extent if id(stmt) in guarded else stmt.extent, stmt.kind, body)
        if isinstance(stmt, If):
            return _keep_guards(stmt, border, loops, rewrite(stmt.body, loops), guarded, extent)
        return change_parts(stmt, lambda part: rewrite(part, loops))

    return rewrite(stmt, ())


def _guards(loop: For, border: Border) -> bool:
    """Whether the loop is nothing but the border's guard, perhaps below other loops, around its body."""
    if loop.extent != border.tile:
        return False
    stmt = loop.body
    while isinstance(stmt, For):
        stmt = stmt.body
    return isinstance(stmt, If) and any(border_of(part, (loop,)) == border for part in conjuncts(stmt.condition))


def _keep_guards(stmt: If, border: Border, loops: tuple[For, ...], body: Stmt, guarded: set[int], extent: int) -> Stmt:
    """The body under the conditions still needed; where its loop could not be shortened, v alone is compared."""
    kept: list[Expr] = []
    tiles = [loop for loop in loops if loop.extent == border.tile]
    for part in conjuncts(stmt.condition):
        loop = next((loop for loop in tiles if border_of(part, (loop,)) == border), None)
        if loop is None:
            kept.append(part)
        elif id(loop) not in guarded and extent < loop.extent:
            kept.append(Binary("<", Var(loop.var.name), Const(extent)))
    for condition in reversed(kept):
        body = If(condition, body)
    return body
