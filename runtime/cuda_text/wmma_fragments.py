"""Operations on 16 x 16 fragments through the WMMA interface of <mma.h>: the portable, slower alternative.

Which lane holds which element is the compiler's secret, so a tile that needs more than a plain store (a guard, a value
computed from it) goes through 16 x 16 floats of shared memory of its warp. Rows of shared tiles are padded by 16 bytes
instead of being permuted, since `load_matrix_sync` wants equal distances between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.c_text.expressions import c_name
from runtime.cuda_text.tensor_expressions import CudaText, chunk_elements
from runtime.cuda_text.tensor_fragments import PRAGMA_UNROLL, Lines, indent, plain
from runtime.cuda_text.tensor_operations import Fill, LoadTile, Multiply, Operation, StoreTile
from runtime.expr import Buffer, Const, Expr, Load
from runtime.expr_tree import substitute
from runtime.indices.index_forms import flat_index, fold, multiple_of, step
from runtime.loop_nest import Store

WMMA = "nvcuda::wmma::"
ELEMENTS = {"float16": "half", "bfloat16": "__nv_bfloat16", "float32": f"{WMMA}precision::tf32"}
SCRATCH = "tile_of_warp"


class WmmaFragments:
    """Prints declarations and operations; `roles` says what each fragment is, `done` is all that is asked of them."""

    ahead = False

    def __init__(self, roles: Mapping[str, str], text: CudaText, done: Sequence[Operation], warps: int) -> None:
        self.roles, self.text, self.warps = roles, text, warps
        loads = [one for one in done if isinstance(one, LoadTile)]
        self.columns_first = {one.fragment.buffer.name for one in loads if one.transposed}
        # An accumulator of tf32 products is one of 16 x 16 x 8 operations.
        self.depth = 8 if any(one.source.dtype == "float32" for one in loads) else 16
        self.slots: dict[str, str] = {}
        self.scratch = False
        self.text.padded |= {one.source.buffer.name: chunk_elements(one.source.dtype) for one in loads}

    def shared(self) -> Lines:
        """What the kernel declares besides its buffers."""
        return [f"__shared__ __align__(128) float {SCRATCH}[{self.warps}][256];"] if self.scratch else []

    def declare(self, buffer: Buffer) -> Lines:
        """The fragments of a buffer; a tf32 operand is two, each with eight of k."""
        outer = "".join(f"[{extent}]" for extent in buffer.shape[:-2])
        role = self.roles.get(buffer.name, "accumulator")
        if role == "accumulator":
            return [f"{WMMA}fragment<{WMMA}accumulator, 16, 16, {self.depth}, float> {c_name(buffer.name)}{outer};"]
        order = "col_major" if buffer.name in self.columns_first else "row_major"
        halves = "[2]" if buffer.dtype == "float32" else ""
        kind = f"{WMMA}fragment<{WMMA}matrix_{role}, 16, 16, {self.depth}, {ELEMENTS[buffer.dtype]}, {WMMA}{order}>"
        return [f"{kind} {c_name(buffer.name)}{outer}{halves};"]

    def name(self, fragment: Load) -> str:
        """The fragment of one tile."""
        indices = "".join(f"[{self.text.text(index)}]" for index in fragment.indices[:-2])
        return f"{c_name(fragment.buffer.name)}{indices}"

    def print(self, done: Operation) -> Lines:
        """The text of one operation."""
        if isinstance(done, Fill):
            return [f"{WMMA}fill_fragment({self.name(done.fragment)}, {self.text.text(done.value)});"]
        if isinstance(done, LoadTile):
            return self.load(done)
        if isinstance(done, Multiply):
            a, b, c = self.name(done.a), self.name(done.b), self.name(done.c)
            halves = ("[0]", "[1]") if done.a.buffer.dtype == "float32" else ("",)
            return [f"{WMMA}mma_sync({c}, {a}{half}, {b}{half}, {c});" for half in halves]
        return self.store(done)

    def load(self, done: LoadTile) -> Lines:
        """A tile of an operand from shared memory."""
        source, tile = done.source, self.name(done.fragment)
        name, pitch = c_name(source.buffer.name), self.text.pitch(source.buffer)
        if source.dtype != "float32":
            pointer = f"&{name}[{self.text.shared_offset(source.buffer, source.indices)}]"
            if source.dtype == "bfloat16":
                pointer = f"(const __nv_bfloat16*){pointer}"
            return [f"{WMMA}load_matrix_sync({tile}, {pointer}, {pitch});"]
        lines: Lines = []
        # k runs along the buffer's columns for rows of a, and for a b whose columns are rows of the buffer
        along = -1 if done.transposed == (self.roles[done.fragment.buffer.name] == "b") else -2
        for half in (0, 1):
            indices = list(source.indices)
            indices[along] = fold(indices[along] + 8 * half)
            place = self.text.shared_offset(source.buffer, tuple(indices))
            lines += [
                f"{WMMA}load_matrix_sync({tile}[{half}], &{name}[{place}], {pitch});",
                PRAGMA_UNROLL,
                f"for (int e = 0; e < {tile}[{half}].num_elements; ++e) {{",
                f"    {tile}[{half}].x[e] = {WMMA}__float_to_tf32({tile}[{half}].x[e]);",
                "}",
            ]
        return lines

    def store(self, done: StoreTile) -> Lines:
        """A tile to memory: at once where it is a plain matrix there, else element by element through shared memory."""
        tile = self.name(done.fragment)
        pitch = self._plain_pitch(done)
        if pitch:
            assert isinstance(done.statement, Store)
            first: dict[str, Expr] = {done.row.name: Const(0), done.column.name: Const(0)}
            indices = tuple(fold(substitute(index, first)) for index in done.statement.indices)
            place = f"&{self.text.element(done.statement.buffer, indices)}"
            return [f"{WMMA}store_matrix_sync({place}, {tile}, {pitch}, {WMMA}mem_row_major);"]
        self.scratch = True
        row, column = c_name(done.row.name), c_name(done.column.name)
        self.text.extents = {**self.text.extents, done.row.name: 16, done.column.name: 16}
        warp = "threadIdx.x / 32"
        self.text.fragments[done.fragment.buffer.name] = f"{SCRATCH}[{warp}][{row} * 16 + {column}]"
        each = [f"const int {row} = e * 2 + lane / 16, {column} = lane % 16;", *plain(done.statement, self.text)]
        return [
            f"{WMMA}store_matrix_sync({SCRATCH}[{warp}], {tile}, 16, {WMMA}mem_row_major);",
            "__syncwarp();",
            PRAGMA_UNROLL,
            "for (int e = 0; e < 8; ++e) {",
            *indent(each),
            "}",
            "__syncwarp();",
        ]

    def _plain_pitch(self, done: StoreTile) -> int:
        """The distance of rows where a tile is stored as it is, at an address that WMMA takes; else 0."""
        store = done.statement
        if not (isinstance(store, Store) and isinstance(store.value, Load) and store.buffer.dtype == "float32"):
            return 0
        place = flat_index(store.indices, store.buffer.shape)
        pitch = step(place, done.row.name, 16)
        first = fold(substitute(place, {done.row.name: Const(0), done.column.name: Const(0)}))
        if step(place, done.column.name, 16) != 1 or not pitch or pitch % 4 or multiple_of(first) % 8:
            return 0
        return pitch
