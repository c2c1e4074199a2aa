"""Roll loops again whose copies would be too many: LoopNest -> LoopNest.

A schedule may ask for more copies than a compiler digests, whose time grows faster than their number. From the inside
out, a loop to unroll becomes a plain one when it would make more than a limit of statements, or when it is around a
tile of several accumulators and its copies have nothing to share: neither constant conditions nor loaded elements.
Loops that index registers stay unrolled, for a register has no address; the loops inside them share what they leave.

    for k in unroll(4):                            for k in range(4):
        for i in unroll(8):              ->            for i in unroll(8):
            T[i] = T[i] + A[i, k] * B[k]                   T[i] = T[i] + A[i, k] * B[k]
"""

from __future__ import annotations

from runtime.expr import Expr, Select
from runtime.expr_tree import free_variables, walk
from runtime.indices.index_forms import flat_index, step
from runtime.loop_nest import SERIAL, UNROLL, For, If, LoopNest, Stmt, Store, expressions, rebuild_stmt, sub_stmts
from runtime.passes.visits import accesses, tile_loops

STATEMENT_LIMITS = (512, 128, 32)  # below one loop after unrolling; the next is tried when the whole nest has too many
NEST_LIMIT = 1024  # statements of a nest after unrolling
FULL_TILE = 8  # accumulators that keep a multiply-add unit busy without unrolling the reduction


def bound_unrolling(nest: LoopNest) -> LoopNest:
    """Roll loops whose copies would be too many.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f() -> (C: float32[4, 64]):\\n  for i in {}:\\n    for j in unroll(64):\\n      C[i, j] = 0.0"
    >>> print(bound_unrolling(parse(text.format("unroll(4)"))))
    def f() -> (C: float32[4, 64]):
        for i in range(4):
            for j in unroll(64):
                C[i, j] = 0.0
    """
    body = nest.body
    for limit in STATEMENT_LIMITS:
        body, copies = _bound(body, limit, _indexing_registers(body))
        if copies <= NEST_LIMIT:
            break
    return LoopNest(nest.name, nest.inputs, nest.outputs, body)


def unrolled_size(stmt: Stmt) -> int:
    """How many statements a statement is once unrolled.

    >>> from runtime.loop_nest_text import parse
    >>> nest = parse("def f() -> (C: int32[4]):\\n for i in range(2):\\n  for j in unroll(4):\\n   C[j] = i")
    >>> unrolled_size(nest.body)
    4
    """
    size = sum(unrolled_size(part) for part in sub_stmts(stmt)) or 1
    return size * stmt.extent if isinstance(stmt, For) and stmt.kind == UNROLL else size


def _bound(stmt: Stmt, limit: int, staying: set[int]) -> tuple[Stmt, int]:
    """A statement, and how many statements it is once unrolled; loops that may be rolled make at most `limit`."""
    stays = isinstance(stmt, For) and stmt.kind == UNROLL and id(stmt) in staying
    inner = limit // stmt.extent if stays and isinstance(stmt, For) else limit
    parts = [_bound(part, inner, staying) for part in sub_stmts(stmt)]
    if not parts:
        return stmt, 1
    copies = sum(count for _, count in parts)
    stmt = rebuild_stmt(stmt, tuple(part for part, _ in parts))
    if not isinstance(stmt, For) or stmt.kind != UNROLL:
        return stmt, copies
    if not stays and (stmt.extent * copies > limit or _is_useless(stmt, copies)):
        return For(stmt.var, stmt.extent, SERIAL, stmt.body), copies
    return stmt, stmt.extent * copies


def _is_useless(loop: For, copies: int) -> bool:
    return copies >= FULL_TILE and not _decides(loop) and not shares_loads(loop)


def shares_loads(loop: For) -> bool:
    """Whether copies of a loop's body read the same elements, as neighbouring taps of a window do.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f(A: int32[8, 9]) -> (C: int32[8]):\\n for k in unroll(3):\\n  for i in unroll(3):\\n   C[i] = {}"
    >>> [shares_loads(parse(text.format(value)).body) for value in ("A[0, i + k]", "A[i, k]")]
    [True, False]
    """
    for access in accesses(loop.body):
        if access.is_store or access.buffer.scope == "register" or loop.var.name not in access.variables:
            continue
        place = flat_index(access.indices, access.buffer.shape)
        own = step(place, loop.var.name, loop.extent)
        for inner in access.loops:
            stride = step(place, inner.var.name, inner.extent) if inner.kind == UNROLL else None
            if own and stride and own % stride == 0 and abs(own // stride) < inner.extent:
                return True
    return False


def _indexing_registers(stmt: Stmt) -> set[int]:
    """The identities of the loops below a statement that index registers."""
    found = set()
    for access in accesses(stmt):
        if access.buffer.scope == "register":
            found |= {id(loop) for loop in tile_loops(access)}
    return found


def _decides(loop: For) -> bool:
    """Whether the loop's variable is in a condition below it."""
    name = loop.var.name
    return any(name in free_variables(condition) for condition in _conditions(loop.body))


def _conditions(stmt: Stmt) -> list[Expr]:
    found = [stmt.condition] if isinstance(stmt, If) else []
    if isinstance(stmt, Store):
        tops = expressions(stmt)
        found += [node.condition for top in tops for node in walk(top) if isinstance(node, Select)]
    for part in sub_stmts(stmt):
        found += _conditions(part)
    return found
