"""Legality of loop nests, as readable rules.

`verify` walks a nest once, keeping the buffers, loops and guards in scope, and raises on the first statement that
breaks a rule, naming both. Bounds of indices are decided by interval arithmetic, and where that is too weak by trying
every value of the variables involved (up to `GRID_LIMIT` of them; beyond that, and for indices that are read from
memory, the access is let through).
"""

from __future__ import annotations

from runtime.expr import DTYPES, SCOPES, Binary, Buffer, Call, Cast, Expr, Load, Select, Var
from runtime.expr_text import show
from runtime.expr_tree import children, free_variables, loads
from runtime.indices.index_forms import flat_index, interval
from runtime.indices.index_grid import GRID_LIMIT, Grid
from runtime.loop_nest import (
    BLOCK,
    LOOP_KINDS,
    PARALLEL,
    THREAD,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Prefetch,
    Stmt,
    Store,
)
from runtime.passes.visits import conjuncts

INDEX_DTYPES = ("int32", "int64")
APART = (PARALLEL, BLOCK)  # loops whose iterations know nothing of each other


class LoopNestError(ValueError):
    """A nest breaks a rule; the message names the rule, what was found, and the statement."""


def verify(nest: LoopNest) -> None:
    """Check a nest against every rule.

    Raises: LoopNestError: the first rule broken.

    >>> from runtime.loop_nest_text import parse
    >>> verify(parse("def f(A: float32[4]) -> (B: float32[4]):\\n  for i in range(4):\\n    B[i] = A[i + 1]"))
    Traceback (most recent call last):
    runtime.verify_nest.LoopNestError: f: index in bounds: `A[i + 1]` reaches 4 where dimension 0 has extent 4
      in `B[i] = A[i + 1]`
    """
    _Verifier(nest).check()


_OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


def negation(condition: Expr) -> Expr | None:
    """The opposite of a comparison, or None for any other condition."""
    if isinstance(condition, Binary) and condition.op in _OPPOSITE:
        return Binary(_OPPOSITE[condition.op], condition.a, condition.b)
    return None


class _Verifier:
    """What is in scope at one statement of the walk."""

    def __init__(self, nest: LoopNest) -> None:
        self.nest = nest
        self.buffers: dict[str, Buffer] = {}
        self.loops: list[For] = []
        self.extents: dict[str, int] = {}
        self.outside: dict[str, int] = {}  # buffer name -> number of loops around its allocation
        self.stmt: Stmt = nest.body

    def fail(self, rule: str, found: str) -> LoopNestError:
        first_line = str(self.stmt).split("\n")[0]
        return LoopNestError(f"{self.nest.name}: {rule}: {found}\n  in `{first_line}`")

    def check(self) -> None:
        for buffer in (*self.nest.inputs, *self.nest.outputs):
            if buffer.scope != "global":
                raise self.fail("arguments are global", f"`{buffer.name}` has scope {buffer.scope}")
            self.declare(buffer)
        self.visit(self.nest.body, ())

    def declare(self, buffer: Buffer) -> None:
        if not buffer.name.isidentifier():
            raise self.fail("names are identifiers", f"`{buffer.name}`")
        if buffer.name in self.buffers or buffer.name in self.extents:
            raise self.fail("names are not shadowed", f"`{buffer.name}` already names something here")
        if buffer.dtype not in DTYPES or any(type(extent) is not int or extent < 1 for extent in buffer.shape):
            raise self.fail("buffers have positive extents", f"`{buffer.name}`: {buffer.dtype}{list(buffer.shape)}")
        self.buffers[buffer.name] = buffer
        self.outside[buffer.name] = len(self.loops)

    def visit(self, stmt: Stmt, guards: tuple[Expr, ...]) -> None:
        self.stmt = stmt
        if isinstance(stmt, Block):
            for part in stmt.stmts:
                self.visit(part, guards)
        elif isinstance(stmt, For):
            self.loop(stmt, guards)
        elif isinstance(stmt, If):
            self.condition(stmt.condition, guards)
            self.visit(stmt.body, (*guards, *conjuncts(stmt.condition)))
        elif isinstance(stmt, Allocate):
            self.allocate(stmt, guards)
        elif isinstance(stmt, Store):
            self.store(stmt, guards)
        elif not isinstance(stmt, Prefetch):
            raise self.fail("statements are of the six kinds", repr(stmt))

    def loop(self, stmt: For, guards: tuple[Expr, ...]) -> None:
        name = stmt.var.name
        if not name.isidentifier() or stmt.var.dtype != "int32":
            raise self.fail("loop variables are int32 identifiers", f"`{name}`: {stmt.var.dtype}")
        if name in self.extents or name in self.buffers:
            raise self.fail("names are not shadowed", f"`{name}` already names something here")
        if stmt.kind not in LOOP_KINDS or type(stmt.extent) is not int or stmt.extent < 1:
            raise self.fail("loops have a kind and a positive extent", f"{stmt.kind} {stmt.extent}")
        if stmt.kind in APART and any(loop.kind in APART for loop in self.loops):
            raise self.fail(f"{stmt.kind} loops do not nest", f"`{name}` is inside another")
        if stmt.kind == BLOCK and any(loop.kind == THREAD for loop in self.loops):
            raise self.fail("blocks are made of threads", f"the block loop `{name}` is inside a thread loop")
        self.loops.append(stmt)
        self.extents[name] = stmt.extent
        self.visit(stmt.body, guards)
        del self.extents[name]
        self.loops.pop()

    def allocate(self, stmt: Allocate, guards: tuple[Expr, ...]) -> None:
        buffer = stmt.buffer
        if buffer.scope not in SCOPES:
            raise self.fail("buffers have a scope", f"`{buffer.name}` has scope {buffer.scope!r}")
        if buffer.scope == "global" and any(loop.kind in APART for loop in self.loops):
            raise self.fail("workspace is allocated outside parallel loops", f"`{buffer.name}` is inside one")
        self.declare(buffer)
        self.visit(stmt.body, guards)
        del self.buffers[buffer.name]

    def store(self, stmt: Store, guards: tuple[Expr, ...]) -> None:
        if stmt.buffer in self.nest.inputs:
            raise self.fail("inputs are not written", f"`{stmt.buffer.name}` is an input")
        self.access(stmt.buffer, stmt.indices, guards)
        self.expr(stmt.value, guards)
        if stmt.value.dtype != stmt.buffer.dtype:
            found = f"{stmt.value.dtype} into the {stmt.buffer.dtype} buffer `{stmt.buffer.name}`"
            raise self.fail("a store keeps the dtype", found)
        self.no_race(stmt, guards)

    def condition(self, expr: Expr, guards: tuple[Expr, ...]) -> None:
        self.expr(expr, guards)
        if expr.dtype != "bool":
            raise self.fail("conditions are bool", f"`{show(expr)}` is {expr.dtype}")

    def expr(self, expr: Expr, guards: tuple[Expr, ...]) -> None:
        if isinstance(expr, Var) and expr.name not in self.extents:
            raise self.fail("variables are used inside their loop", f"`{expr.name}` is not a loop around this")
        if isinstance(expr, Load):
            self.access(expr.buffer, expr.indices, guards)
        elif isinstance(expr, Select):
            self.condition(expr.condition, guards)
            opposite = negation(expr.condition)
            self.expr(expr.then, (*guards, *conjuncts(expr.condition)))
            self.expr(expr.otherwise, guards if opposite is None else (*guards, opposite))
            self.same_dtype(expr, expr.then, expr.otherwise)
        elif isinstance(expr, Binary) and expr.op in ("and", "or"):
            opposite = negation(expr.a)
            more = conjuncts(expr.a) if expr.op == "and" else () if opposite is None else (opposite,)
            self.condition(expr.a, guards)
            self.condition(expr.b, (*guards, *more))
        else:
            for child in children(expr):
                self.expr(child, guards)
            if isinstance(expr, Binary):
                self.same_dtype(expr, expr.a, expr.b)
            elif isinstance(expr, Call):
                self.same_dtype(expr, *expr.args)
            elif isinstance(expr, Cast) and expr.dtype not in DTYPES:
                raise self.fail("casts name a dtype", show(expr))

    def same_dtype(self, expr: Expr, *parts: Expr) -> None:
        if len({part.dtype for part in parts}) > 1:
            raise self.fail("operands share a dtype", f"`{show(expr)}` has {', '.join(part.dtype for part in parts)}")

    def access(self, buffer: Buffer, indices: tuple[Expr, ...], guards: tuple[Expr, ...]) -> None:
        if self.buffers.get(buffer.name) != buffer:
            raise self.fail("buffers exist", f"`{buffer.name}` is no argument and not allocated around this")
        if len(indices) != len(buffer.shape):
            raise self.fail("rank", f"`{buffer.name}` has {len(buffer.shape)} dimensions, got {len(indices)} indices")
        for axis, index in enumerate(indices):
            self.expr(index, guards)
            if index.dtype not in INDEX_DTYPES:
                raise self.fail("indices are integers", f"`{show(index)}` is {index.dtype}")
            low, high = interval(index, self.extents)
            if low < 0 or high >= buffer.shape[axis]:
                self.try_all(Load(buffer, indices), axis, guards)

    def try_all(self, access: Load, axis: int, guards: tuple[Expr, ...]) -> None:
        """Decide an index that intervals could not prove, by its values on every point where the guards hold."""
        index, extent = access.indices[axis], access.buffer.shape[axis]
        related = list(guards)
        grid = Grid.over(self.extents, [index, *related])
        if grid is None:  # leave out guards on other variables, or those read from memory
            known = [g for g in guards if not loads(g)]
            related = [g for g in known if not free_variables(g) or free_variables(g) & free_variables(index)]
            grid = Grid.over(self.extents, [index, *related])
        if grid is None:
            return
        values = grid.values(index)[grid.holds(related)]
        wrong = values[(values < 0) | (values >= extent)]
        if wrong.size:
            found = f"`{show(access)}` reaches {wrong[-1]} where dimension {axis} has extent {extent}"
            raise self.fail("index in bounds", found)

    def no_race(self, stmt: Store, guards: tuple[Expr, ...]) -> None:
        """Two parallel iterations may not store one element; decided where the grid is small enough."""
        shared = self.loops[self.outside[stmt.buffer.name] :]
        parallel = next((loop for loop in shared if loop.kind in APART), None)
        if parallel is None or parallel.extent == 1:
            return
        place = flat_index(stmt.indices, stmt.buffer.shape)
        grid = Grid.over(self.extents, [place, parallel.var, *guards], GRID_LIMIT)
        around = [loop.var for loop in self.loops[: self.loops.index(parallel)]]
        if grid is not None and grid.collides(place, parallel.var, around, guards):
            found = f"two iterations of `{parallel.var.name}` store the same element of `{stmt.buffer.name}`"
            raise self.fail(f"{parallel.kind} iterations are independent", found)
