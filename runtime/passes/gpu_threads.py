"""From nested thread loops to phases: what the threads of a block do between two points where they may meet.

A kernel's body becomes loops, guards and allocations that all threads of the block pass together, around phases. A
phase is a `thread` loop without another inside; extent 1 is thread 0 alone. Serially, `for t: {X; for t2: Y; Z}`
repeats Y for every t. Y does not know t, so that one run of it by all threads gives the same:

    for t in thread(4):                     for k in range(2):
        for k in range(2):                      for t2 in thread(4): S[t2] = A[k, t2]
            for t2 in thread(4):        ->      for t in thread(4): C[t] = C[t] + S[3 - t]
                S[t2] = A[k, t2]
            C[t] = C[t] + S[3 - t]

A local buffer is then each thread's own, wherever it is allocated. What the threads of a loop inside its allocation
store in parts becomes shared.
"""

from __future__ import annotations

from runtime.expr import Buffer, Expr, Var
from runtime.expr_tree import free_variables, loads
from runtime.indices.index_forms import interval
from runtime.loop_nest import (
    THREAD,
    Allocate,
    Block,
    For,
    If,
    Stmt,
    Store,
    block,
    change_parts,
    expressions,
    walk_stmts,
)
from runtime.passes.replace_buffers import replace_buffers
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import accesses, conjuncts


class ThreadError(ValueError):
    """Threads of a block cannot run a nest as it is written."""


def has_threads(stmt: Stmt) -> bool:
    """Whether there is a thread loop at or below a statement."""
    return any(isinstance(node, For) and node.kind == THREAD for node in walk_stmts(stmt))


def share_buffers(stmt: Stmt) -> Stmt:
    """Make a local buffer shared when thread loops inside its allocation store to it."""
    if isinstance(stmt, Allocate) and stmt.buffer.scope == "local":
        if any(
            access.is_store
            and access.buffer.name == stmt.buffer.name
            and any(loop.kind == THREAD for loop in access.loops)
            for access in accesses(stmt.body)
        ):
            old = stmt.buffer
            new = Buffer(old.name, old.shape, old.dtype, "shared")
            stmt = Allocate(new, replace_buffers(stmt.body, {old.name: new}))
    return change_parts(stmt, share_buffers)


def spread(body: Stmt, threads: int, thread: Var) -> Stmt:
    """The body of a kernel as phases, each over (part of) the variable `thread` of extent `threads`.

    Raises: ThreadError: an inner thread loop depends on an outer one's variable or on what a thread holds alone.
    """
    return _Spread(threads, thread).uniform(body, {})


class _Spread:
    """Turns thread loops into phases; `extents` are those of the loops around that all threads pass together."""

    def __init__(self, threads: int, thread: Var) -> None:
        self.threads, self.thread = threads, thread

    def uniform(self, stmt: Stmt, extents: dict[str, int]) -> Stmt:
        """A statement outside thread loops."""
        if isinstance(stmt, Block):
            return self.together(stmt, extents)
        if not has_threads(stmt):
            return self.alone(stmt)
        if isinstance(stmt, For) and stmt.kind == THREAD:
            return self.inside(stmt.body, stmt, (), extents)
        if isinstance(stmt, For):
            extents = {**extents, stmt.var.name: stmt.extent}
        return change_parts(stmt, lambda part: self.uniform(part, extents))

    def together(self, stmt: Block, extents: dict[str, int]) -> Stmt:
        return block(*(self.uniform(part, extents) for part in stmt.stmts))

    def alone(self, stmt: Stmt) -> Stmt:
        """Statements without thread loops: every thread computes its locals, thread 0 stores what all see."""
        kinds = {node.buffer.scope in ("local", "register") for node in walk_stmts(stmt) if isinstance(node, Store)}
        if len(kinds) > 1:
            if isinstance(stmt, Allocate):  # a private intermediate of thread 0
                outside = {node.buffer.name for node in walk_stmts(stmt) if isinstance(node, Store)} - {
                    node.buffer.name for node in walk_stmts(stmt) if isinstance(node, Allocate)
                }
                scopes = {a.buffer.scope for a in accesses(stmt) if a.is_store and a.buffer.name in outside}
                if not scopes & {"local", "register"}:
                    return For(self.thread, 1, THREAD, stmt)
            return change_parts(stmt, self.alone)
        return For(self.thread, self.threads if kinds == {True} else 1, THREAD, stmt)

    def inside(self, stmt: Stmt, loop: For, guards: tuple[Expr, ...], extents: dict[str, int]) -> Stmt:
        """A statement in a thread loop, under guards that depend on the thread."""
        if not has_threads(stmt) and not self.mixed(stmt, loop):
            if self.once(stmt, loop):
                self.check_unguarded(stmt, guards, extents)
                return For(self.thread, 1, THREAD, stmt)
            for guard in reversed(guards):
                stmt = If(guard, stmt)
            body = substitute_stmt(stmt, {loop.var.name: self.thread})
            return For(self.thread, loop.extent, THREAD, body)
        if isinstance(stmt, For) and stmt.kind == THREAD:
            self.check_same(stmt, loop)
            self.check_unguarded(stmt, guards, extents)
            return self.inside(stmt.body, stmt, (), extents)
        if isinstance(stmt, If):
            return self.guard(stmt, loop, guards, extents)
        if isinstance(stmt, For):
            extents = {**extents, stmt.var.name: stmt.extent}
        if isinstance(stmt, Block):
            return block(*(self.inside(part, loop, guards, extents) for part in self.grouped(stmt, loop)))
        return change_parts(stmt, lambda part: self.inside(part, loop, guards, extents))

    def grouped(self, stmt: Block, loop: For) -> list[Stmt]:
        """The parts of a block, neighbours that one phase may hold joined; those that need several stay alone."""
        parts: list[Stmt] = []
        kinds: list[str] = []
        for part in stmt.stmts:
            several = has_threads(part) or self.mixed(part, loop)
            kind = "several" if several else "once" if self.once(part, loop) else "own"
            if parts and kind == kinds[-1] != "several":
                parts[-1] = block(parts[-1], part)
            else:
                parts.append(part)
                kinds.append(kind)
        return parts

    def mixed(self, stmt: Stmt, loop: For) -> bool:
        """Whether some of the statements below are for one thread and others for all."""
        if isinstance(stmt, (Block, For, If, Allocate)):
            parts = [self.once(node, loop) for node in walk_stmts(stmt) if isinstance(node, Store)]
            return any(parts) and not self.once(stmt, loop)
        return False

    def once(self, stmt: Stmt, loop: For) -> bool:
        """Whether a statement in a thread loop only stores what the block shares, the same for every thread."""
        below = [node for node in walk_stmts(stmt) if isinstance(node, Store)]
        used = [expr for node in walk_stmts(stmt) for expr in expressions(node)]
        return (
            bool(below)
            and all(store.buffer.scope == "shared" for store in below)
            and not any(loop.var.name in free_variables(expr) for expr in used)
            and not any(load.buffer.scope in ("local", "register") for expr in used for load in loads(expr))
        )

    def guard(self, stmt: If, loop: For, guards: tuple[Expr, ...], extents: dict[str, int]) -> Stmt:
        """What all threads decide alike stays around the phases; what each decides goes inside them."""
        alike: list[Expr] = []
        own = list(guards)
        for part in conjuncts(stmt.condition):
            private = loop.var.name in free_variables(part) or any(
                load.buffer.scope != "global" for load in loads(part)
            )
            (own if private else alike).append(part)
        body = self.inside(stmt.body, loop, tuple(own), extents)
        for part in reversed(alike):
            body = If(part, body)
        return body

    def check_same(self, inner: For, outer: For) -> None:
        """An inner thread loop must be the same for all outer threads."""
        for node in walk_stmts(inner.body):
            for expr in expressions(node):
                if outer.var.name in free_variables(expr):
                    used = f"uses the variable of `{outer.var.name}` around it in `{expr}`"
                    raise ThreadError(f"the thread loop `{inner.var.name}` {used}")

    def check_unguarded(self, stmt: Stmt, guards: tuple[Expr, ...], extents: dict[str, int]) -> None:
        """What threads do together runs also for those that a guard leaves out, so it may not need that guard."""
        for access in accesses(stmt) if guards else ():
            known = {**extents, **{loop.var.name: loop.extent for loop in access.loops}}
            for index, extent in zip(access.indices, access.buffer.shape):
                low, high = interval(index, known)
                if (low < 0 or high >= extent) and not access.guards:
                    element = f"{access.buffer.name}[{', '.join(map(str, access.indices))}]"
                    raise ThreadError(f"`{element}` is touched by all threads, yet guarded by `{guards[0]}`")


def block_size(body: Stmt) -> int:
    """The largest extent of a kernel's thread loops."""
    return max((node.extent for node in walk_stmts(body) if isinstance(node, For) and node.kind == THREAD), default=1)
