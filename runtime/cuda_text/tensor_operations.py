"""What the `tensor` loops of a nest ask a Tensor Core to do, read off the nest.

A nest of `tensor` loops stands for one operation of a whole warp on 16 x 16 tiles:

    fill        for i, j:      C[..., i, j] = 0.0                                    C is a fragment
    load        for i, k:      A[..., i, k] = A_shared[.., row + i, column + k]      or [.., row + k, column + i]
    multiply    for i, j, k:   C[..., i, j] = C[..., i, j] + cast(float32, A[..., i, k]) * cast(float32, B[..., k, j])
    store       for i, j:      out[anything] = a value of C[..., i, j]               out is not a fragment

Buffers of scope "fragment" have the 16 x 16 tile as their last two dimensions; those before number the tiles. float32
operands are rounded to tf32 by the Tensor Core, so results agree with the serial meaning up to that rounding (and
exactly on integers below 2048).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from runtime.expr import Binary, Buffer, Cast, Const, Expr, Load, Var
from runtime.expr_tree import free_variables, loads, substitute
from runtime.indices.index_forms import fold
from runtime.loop_nest import TENSOR, For, If, Stmt, Store, walk_stmts

TILE = 16
OPERANDS = ("float16", "bfloat16", "float32")
ROLES = ("a", "b", "accumulator")


class TensorError(ValueError):
    """A nest of tensor loops that no Tensor Core operation matches; the message holds the reason."""


@dataclass(frozen=True)
class Fill:
    """Every element of a fragment becomes `value`."""

    fragment: Load
    value: Const


@dataclass(frozen=True)
class LoadTile:
    """A fragment is read from a buffer: (0, 0) from `source`; transposed: rows of the buffer are its columns."""

    fragment: Load
    source: Load
    transposed: bool


@dataclass(frozen=True)
class Multiply:
    """c = c + a * b."""

    c: Load
    a: Load
    b: Load


@dataclass(frozen=True)
class StoreTile:
    """The statement for each element of a tile; `row` and `column` are the variables of its place in the fragment."""

    fragment: Load
    row: Var
    column: Var
    statement: Stmt


Operation = Union[Fill, LoadTile, Multiply, StoreTile]


def operation(stmt: For) -> Operation:
    """What a nest of tensor loops does.  Raises: TensorError: nothing that a Tensor Core can."""
    variables: list[Var] = []
    body: Stmt = stmt
    while isinstance(body, For) and body.kind == TENSOR:
        if body.extent != TILE:
            raise TensorError(f"tensor loops have extent {TILE}, got {body.extent} for `{body.var.name}`")
        variables.append(body.var)
        body = body.body
    found = None
    if isinstance(body, Store) and body.buffer.scope == "fragment":
        found = _multiply(body, variables) if len(variables) == 3 else _fill_or_load(body, variables)
    elif len(variables) == 2:
        found = _store(body, variables)
    if found is None:
        first = str(body).split("\n")[0]
        raise TensorError(f"the tensor loops around `{first}` are no fill, load, multiply or store of a 16 x 16 tile")
    return found


def _fill_or_load(store: Store, variables: list[Var]) -> Operation | None:
    place = Load(store.buffer, store.indices)
    row, column = store.indices[-2:]
    if len(variables) != 2 or {row, column} != set(variables):
        return None
    if isinstance(store.value, Const):
        return Fill(_origin(place, variables), store.value)
    if not isinstance(store.value, Load) or store.value.dtype != store.buffer.dtype:
        return None
    source = store.value
    for transposed in (False, True):
        first, second = (column, row) if transposed else (row, column)
        if _runs_along(source, first, second):
            return LoadTile(_origin(place, variables), _origin(source, variables), transposed)
    return None


def _runs_along(source: Load, first: Expr, second: Expr) -> bool:
    """Whether the last two indices are `something + first` and `something + second`, and nothing else uses the two."""
    assert isinstance(first, Var) and isinstance(second, Var)
    both = {first.name, second.name}
    if len(source.indices) < 2 or any(free_variables(index) & both for index in source.indices[:-2]):
        return False
    return all(_plus(index, var, both) for index, var in zip(source.indices[-2:], (first, second)))


def _plus(index: Expr, var: Var, both: set[str]) -> bool:
    if index == var:
        return True
    if not isinstance(index, Binary) or index.op != "+":
        return False
    if not free_variables(index.b) & both:
        return _plus(index.a, var, both)
    return not free_variables(index.a) & both and _plus(index.b, var, both)


def _multiply(store: Store, variables: list[Var]) -> Operation | None:
    place = Load(store.buffer, store.indices)
    value = store.value
    if not (isinstance(value, Binary) and value.op == "+" and place in (value.a, value.b)):
        return None
    product = value.b if value.a == place else value.a
    if not (isinstance(product, Binary) and product.op == "*"):
        return None
    factors = [part.value if isinstance(part, Cast) else part for part in (product.a, product.b)]
    row, column = store.indices[-2:]
    inner = [variable for variable in variables if variable not in (row, column)]
    if len(inner) != 1 or row == column or not {row, column} <= set(variables):
        return None
    for a, b in (factors, factors[::-1]):
        if not (isinstance(a, Load) and isinstance(b, Load)):
            return None
        if a.indices[-2:] == (row, inner[0]) and b.indices[-2:] == (inner[0], column):
            return Multiply(_origin(place, variables), _origin(a, variables), _origin(b, variables))
    return None


def _store(body: Stmt, variables: list[Var]) -> Operation | None:
    inner = body
    while isinstance(inner, If):
        inner = inner.body
    if not isinstance(inner, Store):
        return None
    fragments = {load for load in loads(inner.value) if load.buffer.scope == "fragment"}
    if len(fragments) != 1:
        return None
    fragment = fragments.pop()
    row, column = fragment.indices[-2:]
    if {row, column} != set(variables):
        return None
    assert isinstance(row, Var) and isinstance(column, Var)
    return StoreTile(_origin(fragment, variables), row, column, body)


def _origin(load: Load, variables: list[Var]) -> Load:
    """The access at element (0, 0) of the tile."""
    zero = {variable.name: Const(0) for variable in variables}
    return Load(load.buffer, tuple(fold(substitute(index, zero)) for index in load.indices))


def outermost_tensor_loops(stmt: Stmt) -> list[For]:
    """The tensor loops below a statement that stand in no other, in program order."""
    if isinstance(stmt, For) and stmt.kind == TENSOR:
        return [stmt]
    from runtime.loop_nest import sub_stmts

    return [loop for part in sub_stmts(stmt) for loop in outermost_tensor_loops(part)]


def has_tensor_loops(stmt: Stmt) -> bool:
    """Whether a statement holds work for a Tensor Core."""
    return any(isinstance(node, For) and node.kind == TENSOR for node in walk_stmts(stmt))


def roles(stmt: Stmt) -> dict[str, str]:
    """What each fragment below a statement is in its multiplications: "a", "b" or "accumulator".

    Raises: TensorError: one fragment in two roles, or operands of another dtype than `OPERANDS`.
    """
    found: dict[str, str] = {}
    for loop in outermost_tensor_loops(stmt):
        done = operation(loop)
        if not isinstance(done, Multiply):
            continue
        for load, role in ((done.a, "a"), (done.b, "b"), (done.c, "accumulator")):
            if found.setdefault(load.buffer.name, role) != role:
                raise TensorError(f"`{load.buffer.name}` is both {found[load.buffer.name]} and {role}")
        _check_types(done.c.buffer, done.a.buffer, done.b.buffer)
    return found


def _check_types(c: Buffer, a: Buffer, b: Buffer) -> None:
    if c.dtype != "float32" or a.dtype != b.dtype or a.dtype not in OPERANDS:
        wanted = f"operands of one dtype out of {', '.join(OPERANDS)} and a float32 sum"
        raise TensorError(f"a Tensor Core takes {wanted}, got {a.dtype}, {b.dtype} and {c.dtype}")
    for buffer in (a, b, c):
        if buffer.scope != "fragment" or buffer.shape[-2:] != (TILE, TILE):
            raise TensorError(f"`{buffer.name}` must be fragments of 16 x 16, got {buffer.scope} {list(buffer.shape)}")
