"""Statements as C text: one kernel from one prepared nest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime.c_text.across_lanes import joined_lines
from runtime.c_text.expressions import C_TYPES, SHORT, ScalarText, VectorText, c_name
from runtime.c_text.lane_helpers import TURN
from runtime.c_text.places import fixed_parts, with_fixed_part
from runtime.expr import ITEM_SIZE, Binary, Buffer, Expr, Load, Select, Var
from runtime.indices.index_forms import flat_index
from runtime.loop_nest import (
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Prefetch,
    Stmt,
    Store,
    block,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.turned_copies import turned_block
from runtime.passes.visits import accesses, vector_layout

WORKSPACE_ALIGNMENT = 64
LOCAL_LIMIT = 512 * 1024  # bytes of local buffers alive at once in one thread


def unused(names: Sequence[str], lines: Sequence[str]) -> list[str]:
    """A line that tells the compiler which parameters the lines of a function leave alone on purpose.

    >>> unused(["x", "y"], ["    y[0] = 1.0f;"]), unused(["y"], ["    y[0] = 1.0f;"])
    (['    (void)x;'], [])
    """
    used = set(re.findall(r"\w+", "\n".join(lines)))
    idle = [name for name in names if name not in used]
    return [f"    {', '.join(f'(void){name}' for name in idle)};"] if idle else []


class EmitError(ValueError):
    """A nest that the emitter refuses, with the reason."""


class KernelText:
    """Prints one nest; `text` is the only entry.

    lane: the vectorised loop around the statement being printed.  one_lane: whether its lanes run one after the other.
    outer, fixed: the variables of the loops around the register tile being printed, and what `places` made of them.
    """

    def __init__(self, nest: LoopNest, threads: int) -> None:
        self.nest = nest
        self.threads = threads
        self.functions: list[str] = []
        self.lines: list[str] = []
        self.extents: dict[str, int] = {}
        self.lanes: dict[str, int] = {}
        self.alive: dict[str, Buffer] = {buffer.name: buffer for buffer in (*nest.inputs, *nest.outputs)}
        self.loops: tuple[For, ...] = ()
        self.lane: For | None = None
        self.one_lane = False
        self.outer: frozenset[str] = frozenset()
        self.fixed: dict[Expr, Var] = {}
        self.names = Names.of(nest)

    def text(self) -> str:
        """The functions of the kernel, its entry point last."""
        parameters = [self.parameter(buffer, buffer in self.nest.inputs) for buffer in self.alive.values()]
        head = f"void {c_name(self.nest.name)}({', '.join([*parameters, 'void *restrict workspace'])})"
        names = [*(c_name(name) for name in self.alive), "workspace"]
        self.stmt(self.nest.body, 1, 0, 0)
        entry = "\n".join((head, "{", *unused(names, self.lines), *self.lines, "}", ""))
        return "\n".join((*self.functions, entry))

    def parameter(self, buffer: Buffer, constant: bool) -> str:
        """A buffer as a parameter of a function."""
        return f"{'const ' if constant else ''}{C_TYPES[buffer.dtype]} *restrict {c_name(buffer.name)}"

    def line(self, depth: int, text: str) -> None:
        """Print one line."""
        self.lines.append("    " * depth + text)

    def scalars(self) -> ScalarText:
        """The printer of expressions outside vectors, or in one lane of them."""
        return ScalarText(self.extents, self.lanes, self.lane if self.one_lane else None, self.place)

    def vectors(self) -> VectorText:
        """The printer of expressions for all lanes at once."""
        assert self.lane is not None
        return VectorText(self.extents, self.lanes, self.lane, self.place)

    def place(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
        """The position of an element in memory, written with what was computed before the register tile."""
        if not self.fixed:
            return flat_index(indices, buffer.shape)
        return with_fixed_part(buffer, indices, self.outer, self.fixed)

    def stmt(self, stmt: Stmt, depth: int, workspace: int, stack: int) -> None:
        """Print a statement; `workspace` and `stack` are the bytes in use around it."""
        if isinstance(stmt, Block):
            for part in stmt.stmts:
                self.stmt(part, depth, workspace, stack)
        elif isinstance(stmt, Store):
            self.store(stmt, depth)
        elif isinstance(stmt, If):
            self.guard(stmt, depth, workspace, stack)
        elif isinstance(stmt, Allocate):
            self.allocate(stmt, depth, workspace, stack)
        elif isinstance(stmt, Prefetch):
            line = self.scalars().element(stmt.buffer, stmt.indices)
            self.line(depth, f"__builtin_prefetch(&{line}, 0, {4 - stmt.level});")
        elif isinstance(stmt, For):
            self.extents[stmt.var.name] = stmt.extent
            self.loops = (*self.loops, stmt)
            self.loop(stmt, depth, workspace, stack)
            self.loops = self.loops[:-1]

    def loop(self, stmt: For, depth: int, workspace: int, stack: int) -> None:
        """Print a loop; a vectorised one is its body, printed for all lanes."""
        if stmt.kind == VECTORIZE:
            self.lane = stmt
            self.stmt(stmt.body, depth, workspace, stack)
            self.lane = None
            return
        if self.lane is None and self.join_lanes(stmt, depth):
            return
        if stmt.kind == UNROLL:
            self.line(depth, f"UNROLL({stmt.extent})")
        elif stmt.kind == SERIAL and self.holds_vectors(stmt.body):
            self.line(depth, "UNROLL(1)")
        outlined = stmt.kind == PARALLEL and self.threads > 1
        if outlined:
            # A compiler that is not told of OpenMP would warn of the pragma, and loops alone are right as well.
            self.lines.append("#ifdef _OPENMP")
            self.line(depth, f"#pragma omp parallel for num_threads({self.threads}) schedule(static)")
            self.lines.append("#endif")
        name = c_name(stmt.var.name)
        end, hidden = str(stmt.extent), ""
        if stmt.kind == SERIAL and stmt.extent == 2 and any(isinstance(part, For) for part in walk_stmts(stmt.body)):
            # gcc writes such a loop out twice, whatever the pragma says, and a nest of n of them 2ⁿ times.
            end, hidden = f"{name}_i2", f", {name}_i2 = opaque_i32(2)"
        self.line(depth, f"for (int32_t {name} = 0{hidden}; {name} < {end}; {name}++) {{")
        if outlined:
            self.line(depth + 1, self.outline(stmt))
        else:
            self.stmt(stmt.body, depth + 1, workspace, stack)
        self.line(depth, "}")

    def join_lanes(self, loop: For, depth: int) -> bool:
        """Print a loop that joins the lanes of vectors; False when it does something else."""
        lines = joined_lines(loop, self.scalars(), lambda lane: VectorText(self.extents, self.lanes, lane))
        self.lines += ["    " * depth + line for line in lines]
        return bool(lines)

    def holds_vectors(self, stmt: Stmt) -> bool:
        """Whether a loop body would suffer from unrolling behind our back."""
        return self.lane is not None or any(isinstance(s, For) and s.kind == VECTORIZE for s in walk_stmts(stmt))

    def outline(self, loop: For) -> str:
        """Make a function of a parallel loop's body, and return the call of it."""
        touched = accesses(loop.body)
        used = {access.buffer.name for access in touched}
        written = {access.buffer.name for access in touched if access.is_store}
        buffers = [buffer for name, buffer in self.alive.items() if name in used]
        variables = [c_name(outer.var.name) for outer in self.loops]
        parameters = [f"int32_t {name}" for name in variables]
        parameters += [self.parameter(buffer, buffer.name not in written) for buffer in buffers]
        name = f"{self.nest.name}_part{len(self.functions)}"
        outer_lines, self.lines = self.lines, []
        self.stmt(loop.body, 1, 0, 0)
        names = [*variables, *(c_name(buffer.name) for buffer in buffers)]
        head = f"static void {name}({', '.join(parameters)})"
        self.functions.append("\n".join((head, "{", *unused(names, self.lines), *self.lines, "}", "")))
        self.lines = outer_lines
        return f"{name}({', '.join([*variables, *(c_name(buffer.name) for buffer in buffers)])});"

    def guard(self, stmt: If, depth: int, workspace: int, stack: int) -> None:
        """Print a guard; one that differs between lanes becomes a select, or is tested lane by lane."""
        if self.lane is None or self.one_lane or self.vectors().is_uniform(stmt.condition):
            self.line(depth, f"if ({self.scalars().text(stmt.condition)}) {{")
            self.stmt(stmt.body, depth + 1, workspace, stack)
            self.line(depth, "}")
            return
        if isinstance(stmt.body, Store) and stmt.body.buffer.name in self.lanes:
            kept = Select(stmt.condition, stmt.body.value, Load(stmt.body.buffer, stmt.body.indices))
            self.store(Store(stmt.body.buffer, stmt.body.indices, kept), depth)
            return
        # All lanes at once where the guard holds for all of them, else those for which it does, one after the other.
        count, condition = self.lane.extent, self.vectors().one_lane.text(stmt.condition, 2)
        self.line(depth, f"{{ _Bool all_lanes = 1; EACH_LANE({count}) all_lanes &= {condition};")
        self.line(depth, "if (all_lanes) {")
        self.stmt(stmt.body, depth + 1, workspace, stack)
        self.line(depth, f"}} else for (int32_t lane = 0; lane < {count}; lane++) if ({condition}) {{")
        self.one_lane = True
        self.stmt(stmt.body, depth + 1, workspace, stack)
        self.one_lane = False
        self.line(depth, "} }")

    def store(self, stmt: Store, depth: int) -> None:
        """Print a store: to a register, to a vector in memory, or lane by lane where lanes are not neighbours."""
        if self.lane is None or self.one_lane:
            text = self.scalars()
            self.assign(depth, stmt, text.element(stmt.buffer, stmt.indices), lambda e: text.text(e))
            return
        vectors = self.vectors()
        place = Load(stmt.buffer, stmt.indices)
        if stmt.buffer.name in self.lanes:
            target = vectors.scalar.register(stmt.buffer, stmt.indices, self.lane)
        elif stmt.buffer.dtype != "bool" and vectors.stride(place) == 1:
            target = f"*({vectors.vector_type(stmt.buffer.dtype)}u *)&{vectors.first(place)}"
        else:
            element = vectors.one_lane.element(stmt.buffer, stmt.indices)
            value = vectors.one_lane.text(stmt.value)
            self.line(depth, f"EACH_LANE({self.lane.extent}) {element} = {value};")
            return
        self.assign(depth, stmt, target, vectors.value)
        if isinstance(stmt.value, Load) and stmt.buffer.scope == "register" and stmt.value.buffer.scope != "register":
            width = ITEM_SIZE[stmt.buffer.dtype] * self.lane.extent
            if width in (16, 32, 64):
                self.line(depth, f"KEEP{width}({target});")

    def assign(self, depth: int, stmt: Store, target: str, text: object) -> None:
        """`target += more` where the value is the target plus something, else `target = value`."""
        assert callable(text)
        value = stmt.value
        if isinstance(value, Binary) and value.op == "+" and value.a == Load(stmt.buffer, stmt.indices):
            self.line(depth, f"{target} += {text(value.b)};")
        else:
            self.line(depth, f"{target} = {text(value)};")

    def allocate(self, stmt: Allocate, depth: int, workspace: int, stack: int) -> None:
        """Print an allocation: a piece of the workspace, or a variable on the stack."""
        buffer = stmt.buffer
        kind, name = C_TYPES[buffer.dtype], c_name(buffer.name)
        turned = turned_block(stmt) if self.lane is None else None
        if turned is not None:
            stmt = Allocate(buffer, block(*turned))
        self.line(depth, "{")
        if buffer.scope == "global":
            self.line(depth + 1, f"{kind} *restrict {name} = ({kind} *)((char *)workspace + {workspace});")
            workspace += -(-buffer.nbytes // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
        else:
            stack += self.declare(stmt, depth + 1, stack)
        self.alive[buffer.name] = buffer
        starts_tile = buffer.scope == "register" and not self.fixed and self.lane is None
        if starts_tile:
            self.fix_places(stmt.body, depth + 1)
        if turned is not None:
            self.stmt(turned[0], depth + 1, workspace, stack)
            self.line(depth + 1, f"{TURN}_{SHORT[buffer.dtype]}x{self.lanes[buffer.name]}({name});")
            self.stmt(turned[1], depth + 1, workspace, stack)
        else:
            self.stmt(stmt.body, depth + 1, workspace, stack)
        if starts_tile:
            self.fixed = {}
        del self.alive[buffer.name]
        self.lanes.pop(buffer.name, None)
        self.line(depth, "}")

    def fix_places(self, tile: Stmt, depth: int) -> None:
        """Print what the loops around a register tile fix of the places that it touches, see `places`."""
        outer = frozenset(loop.var.name for loop in self.loops)
        fixed = fixed_parts(tile, outer, self.names)
        for part, variable in fixed.items():
            self.line(depth, f"int32_t {c_name(variable.name)} = opaque_i32({self.scalars().text(part)});")
        self.outer, self.fixed = outer, fixed

    def declare(self, stmt: Allocate, depth: int, stack: int) -> int:
        """Declare a thread's own buffer and return its bytes: an array of vectors, or plain memory."""
        buffer = stmt.buffer
        kind, name, size = C_TYPES[buffer.dtype], c_name(buffer.name), max(1, buffer.size)
        lanes = vector_layout(stmt, self.loops) if buffer.scope == "register" or self.lane is not None else 1
        if lanes is not None and lanes > 1:
            self.lanes[buffer.name] = lanes
            items = size if self.lane is not None else size // lanes
            self.line(depth, f"{SHORT[buffer.dtype]}x{lanes} {name}[{items}];")
            size = items * lanes
        else:
            alignment = "" if buffer.scope == "register" else f" __attribute__((aligned({WORKSPACE_ALIGNMENT})))"
            self.line(depth, f"{kind} {name}[{size}]{alignment};")
        used = size * (buffer.nbytes // max(1, buffer.size))
        if stack + used > LOCAL_LIMIT:
            raise EmitError(
                f"{self.nest.name}: with `{buffer.name}` the local buffers of a thread take {stack + used} bytes, "
                f"more than {LOCAL_LIMIT}; attach their stage further inside"
            )
        return used
