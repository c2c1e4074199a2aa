"""Operations on 16 x 16 fragments as calls of the prelude: `ldmatrix` and `mma.sync`.

A fragment is an array of registers in every lane: of an accumulator eight floats (two 16 x 8 halves of four), of an
operand of 16-bit elements four registers of two, of a tf32 operand eight (two halves of k). `tensor_cores` says which
lane holds which element. A store goes through a lane's eight elements one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtime.c_text.expressions import c_name
from runtime.cuda_text.tensor_expressions import CudaText
from runtime.cuda_text.tensor_operations import Fill, LoadTile, Multiply, Operation, StoreTile
from runtime.expr import Buffer, Const, Expr, Load, Var
from runtime.expr_tree import free_variables, substitute
from runtime.indices.index_forms import flat_index, fold, multiple_of, step
from runtime.loop_nest import If, Stmt, Store

Lines = list[str]
PRAGMA_UNROLL = "#pragma unroll"


class MmaFragments:
    """Prints declarations and operations; `roles` says what each fragment is."""

    ahead = False  # whether fragments are loaded before the multiplications of those before them

    def __init__(self, roles: Mapping[str, str], text: CudaText, done: Sequence[Operation], warps: int) -> None:
        self.roles, self.text = roles, text
        self.slots: dict[str, str] = {}  # which of two copies of a fragment's registers is meant, by its name
        loads = [one for one in done if isinstance(one, LoadTile)]
        self.text.swizzled = frozenset(one.source.buffer.name for one in loads)
        self.text.by_element = frozenset(
            one.source.buffer.name for one in loads if one.source.dtype == "float32" and not self.by_rows(one)
        )

    def shared(self) -> Lines:
        """What the kernel declares besides its buffers: nothing."""
        return []

    def declare(self, buffer: Buffer) -> Lines:
        """The registers of a fragment."""
        outer = "".join(f"[{extent}]" for extent in buffer.shape[:-2])
        outer = f"[2]{outer}" if buffer.name in self.slots else outer
        if self.roles.get(buffer.name) == "accumulator":
            return [f"float {c_name(buffer.name)}{outer}[8];"]
        return [f"unsigned {c_name(buffer.name)}{outer}[{8 if buffer.dtype == 'float32' else 4}];"]

    def name(self, fragment: Load) -> str:
        """The array of one tile."""
        indices = "".join(f"[{self.text.text(index)}]" for index in fragment.indices[:-2])
        return f"{c_name(fragment.buffer.name)}{self.slots.get(fragment.buffer.name, '')}{indices}"

    def print(self, done: Operation) -> Lines:
        """The text of one operation."""
        kinds: dict[type, Callable] = {Fill: self.fill, LoadTile: self.load, Multiply: self.multiply}
        kinds[StoreTile] = self.store
        return kinds[type(done)](done)

    def by_rows(self, done: LoadTile) -> bool:
        """Whether a lane's registers hold neighbours in a row of the buffer, as `ldmatrix` gives them untransposed.

        Registers of a run along its rows and those of b down its columns: along k, both of them.
        """
        return done.transposed == (self.roles[done.fragment.buffer.name] == "b")

    def fill(self, done: Fill) -> Lines:
        """All elements of a tile."""
        value = self.text.text(done.value)
        return [PRAGMA_UNROLL, "for (int e = 0; e < 8; ++e) {", f"    {self.name(done.fragment)}[e] = {value};", "}"]

    def load(self, done: LoadTile) -> Lines:
        """A tile of an operand from shared memory."""
        role, source = self.roles[done.fragment.buffer.name], done.source
        tile, by_rows = self.name(done.fragment), self.by_rows(done)
        if source.dtype == "float32":
            return self._load_tf32(tile, role, by_rows, source)
        row, chunk = ("lane % 8 + lane / 16 * 8", "lane / 8 % 2") if by_rows != (role == "a") else (
            "lane % 16", "lane / 16"
        )  # fmt: skip
        place = self.text.shared_offset(source.buffer, source.indices, row, chunk)
        call = "ldmatrix_x4" if by_rows else "ldmatrix_x4_trans"
        return [f"{call}({tile}, &{c_name(source.buffer.name)}[{place}]);"]

    def _load_tf32(self, tile: str, role: str, by_rows: bool, source: Load) -> Lines:
        """Two halves of k. `ldmatrix` moves rows of four floats; a transposed tile is read element by element."""
        name = c_name(source.buffer.name)
        lines: Lines = []
        if by_rows:
            row, chunk = ("lane % 16", "lane / 16") if role == "a" else ("lane % 8 + lane / 16 * 8", "lane / 8 % 2")
            for half in (0, 2):
                place = self.text.shared_offset(source.buffer, source.indices, row, f"{chunk} + {half}")
                lines.append(f"ldmatrix_x4(&{tile}[{half * 2}], &{name}[{place}]);")
            return [*lines, PRAGMA_UNROLL, "for (int e = 0; e < 8; ++e) {",
                    f"    {tile}[e] = to_tf32(__uint_as_float({tile}[e]));", "}"]  # fmt: skip
        # register 4h + i: a has rows 8 (i % 2) + g of k = 8h + 4 (i / 2) + t, b columns 8 (i / 2) + g of k = .. (i % 2)
        k_step, other = ("e / 2 % 2", "e % 2") if role == "a" else ("e % 2", "e / 2 % 2")
        names = {"k_": f"e / 4 * 8 + {k_step} * 4 + lane % 4", "m_": f"{other} * 8 + lane / 4"}
        indices = (*source.indices[:-2], source.indices[-2] + Var("k_"), source.indices[-1] + Var("m_"))
        self.text.extents = {**self.text.extents, "k_": 16, "m_": 16}
        element = self.text.element(source.buffer, indices)
        declare = [f"    const int {name} = {value};" for name, value in names.items()]
        return [PRAGMA_UNROLL, "for (int e = 0; e < 8; ++e) {", *declare, f"    {tile}[e] = to_tf32({element});", "}"]

    def multiply(self, done: Multiply) -> Lines:
        """One tile's products: two 16 x 8 halves, and of tf32 two halves of k."""
        a, b, c = self.name(done.a), self.name(done.b), self.name(done.c)
        if done.a.buffer.dtype == "float32":
            return [f"mma_tf32(&{c}[{n * 4}], &{a}[{k * 4}], {b}[{k * 4 + n * 2}], {b}[{k * 4 + n * 2 + 1}]);"
                    for k in (0, 1) for n in (0, 1)]  # fmt: skip
        call = f"mma_{done.a.buffer.dtype}"
        return [f"{call}(&{c}[{n * 4}], {a}, {b}[{n * 2}], {b}[{n * 2 + 1}]);" for n in (0, 1)]

    def store(self, done: StoreTile) -> Lines:
        """A lane's elements, two neighbours at a time: rows g and g + 8, columns 2t and 2t + 1 of either half."""
        row, column = c_name(done.row.name), c_name(done.column.name)
        tile = self.name(done.fragment)
        self.text.extents = {**self.text.extents, done.row.name: 16, done.column.name: 16}
        head = [PRAGMA_UNROLL, "for (int e = 0; e < 4; ++e) {", f"    const int {row} = e % 2 * 8 + lane / 4;"]
        pair = self._pair(done, tile)
        if pair:
            return [*head, f"    const int {column} = e / 2 * 8 + lane % 4 * 2;", *indent(pair), "}"]
        self.text.fragments[done.fragment.buffer.name] = f"{tile}[e / 2 * 4 + e % 2 * 2 + pair]"
        inner = ["for (int pair = 0; pair < 2; ++pair) {",
                 f"    const int {column} = e / 2 * 8 + lane % 4 * 2 + pair;",
                 *indent(plain(done.statement, self.text)), "}"]  # fmt: skip
        return [*head, f"    {PRAGMA_UNROLL}", *indent(inner), "}"]

    def _pair(self, done: StoreTile, tile: str) -> Lines | None:
        """One store of two neighbours, where they are neighbours in memory too and live under one guard."""
        guards: list[Expr] = []
        inner = done.statement
        while isinstance(inner, If):
            guards.append(inner.condition)
            inner = inner.body
        assert isinstance(inner, Store)
        if inner.buffer.dtype != "float32" or any(done.column.name in free_variables(guard) for guard in guards):
            return None
        even = substitute(flat_index(inner.indices, inner.buffer.shape), {done.column.name: Var("half") * 2 + Var("p")})
        start = fold(substitute(even, {"p": Const(0)}))
        if step(even, "p", 2) != 1 or multiple_of(start) % 2:
            return None
        values = []
        for pair in (0, 1):
            self.text.fragments[done.fragment.buffer.name] = f"{tile}[e / 2 * 4 + e % 2 * 2 + {pair}]"
            value = substitute(inner.value, {done.column.name: fold(done.column + pair)})
            values.append(self.text.text(value))
        target = self.text.element(inner.buffer, inner.indices)
        lines = [f"*(float2*)&{target} = make_float2({values[0]}, {values[1]});"]
        for guard in guards[::-1]:
            lines = [f"if ({self.text.text(guard)}) {{", *indent(lines), "}"]
        return lines


class MmaAheadFragments(MmaFragments):
    """The same, with twice the registers for operands: the next ones are loaded before the present are multiplied."""

    ahead = True


def plain(stmt: Stmt, text: CudaText) -> Lines:
    """A store of one element, with its guards."""
    if isinstance(stmt, If):
        return [f"if ({text.text(stmt.condition)}) {{", *indent(plain(stmt.body, text)), "}"]
    assert isinstance(stmt, Store)
    return [f"{text.element(stmt.buffer, stmt.indices)} = {text.text(stmt.value)};"]


def indent(lines: Lines) -> Lines:
    """One level further in; pragmas stay at the margin."""
    return [line if line.startswith("#") else f"    {line}" for line in lines]
