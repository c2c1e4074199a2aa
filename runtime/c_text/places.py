"""What the loops around a register tile contribute to the places in memory that it touches, computed once per tile.

A place is a sum: what outer loops fix, and what moves inside the tile. gcc follows every place through all loops
around it, which in a deep nest takes most of the time to compile. The fixed part therefore becomes an integer of which
gcc does not know where it comes from:

    conv_tile[w] += X[h0 * 1792 + h1 * 896 + (w + kw) * 64 + ci] * ...     ->

    int32_t at = opaque_i32(h0 * 1792 + h1 * 896);
    ... conv_tile[w] += X[at + ((w + kw) * 64 + ci)] * ...

Where outer loops fix nothing the integer is 0. Otherwise gcc would load what does not change between tiles, such as the
bias of an epilogue, before all loops, into registers that the tile then lacks. Only a thread's own buffers then keep
their constant places: what a tile leaves there for the next statement can stay in registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from runtime.expr import Buffer, Const, Expr, Var
from runtime.expr_tree import free_variables
from runtime.indices.affine import Affine
from runtime.indices.index_forms import flat_index
from runtime.indices.simplify import affine_form, place_form
from runtime.loop_nest import PARALLEL, SERIAL, For, Prefetch, Stmt, walk_stmts
from runtime.names import Names
from runtime.passes.visits import Access, accesses

INT32_LIMIT = 2**31  # elements from which on places take 64 bits and are left alone


def split_place(place: Expr, outer: Set[str]) -> tuple[Expr, Expr]:
    """The parts of an integer expression that move with the variables `outer` alone, and the rest.

    >>> fixed, moving = split_place((Var("h0") * 8 + Var("h1") + 1) * 10 + Var("w"), {"h0"})
    >>> print(fixed, "|", moving)
    h0 * 80 | h1 * 10 + w + 10
    """
    fixed, moving = _split(affine_form(place), outer)
    return fixed.to_expr(), moving.to_expr()


def _split(form: Affine, outer: Set[str]) -> tuple[Affine, Affine]:
    fixed: dict[Expr, int] = {}
    moving: dict[Expr, int] = {}
    for atom, factor in form.terms.items():
        part = fixed if free_variables(atom) <= outer else moving
        part[atom] = factor
    return Affine(0, fixed), Affine(form.const, moving)


def fixed_parts(tile: Stmt, outer: Set[str], names: Names) -> dict[Expr, Var]:
    """A new variable for each fixed part of the places in memory below a tile; none when nothing repeats inside."""
    kinds = {stmt.kind for stmt in walk_stmts(tile) if isinstance(stmt, For)}
    if not outer or SERIAL not in kinds or PARALLEL in kinds:
        return {}
    touched: list[Access | Prefetch] = [access for access in accesses(tile) if access.buffer.scope != "register"]
    touched += [stmt for stmt in walk_stmts(tile) if isinstance(stmt, Prefetch)]
    small = [access for access in touched if access.buffer.size < INT32_LIMIT]
    parts = [_split(place_form(each.indices, each.buffer.shape), outer)[0] for each in small]
    hidden = [part.to_expr() for part, access in zip(parts, small) if _is_hidden(part, access.buffer)]
    return {fixed: names.variable("at") for fixed in dict.fromkeys(hidden)}


def _is_hidden(fixed: Affine, buffer: Buffer) -> bool:
    return bool(fixed.terms) or buffer.scope != "local"


def with_fixed_part(buffer: Buffer, indices: tuple[Expr, ...], outer: Set[str], known: Mapping[Expr, Var]) -> Expr:
    """The place of an element, written with the variable of its fixed part where that has one."""
    fixed, moving = _split(place_form(indices, buffer.shape), outer)
    variable = known.get(fixed.to_expr()) if _is_hidden(fixed, buffer) else None
    if variable is None:
        return flat_index(indices, buffer.shape)
    rest = moving.to_expr()
    return variable if rest == Const(0) else variable + rest
