"""What is far is asked for before it is needed, each line of it once or little more, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.c_text.prelude import prelude
from runtime.compile_c import build_library, load_kernel
from runtime.emit_c import emit_kernel
from runtime.expr import Binary, Const, Expr, Var
from runtime.indices.index_forms import flat_index
from runtime.interpreter import interpret
from runtime.loop_nest import Allocate, Block, For, If, LoopNest, Prefetch, Stmt, block, change_parts, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes import prefetches
from runtime.passes.prefetches import USES, prefetch_far
from runtime.verify_nest import verify

BLOCKS, REUSE, STEPS, VECTORS = 4, 5, 8, 2
FAR = 256  # bytes


def blocks(reuse: int = REUSE, vectors: int = VECTORS, steps: int = STEPS) -> LoopNest:
    """Each block of W is used by all iterations of `i` before the next one."""
    width = vectors * 16
    x, w = f"X: float32[{reuse}, {BLOCKS}, {steps}]", f"W: float32[{BLOCKS}, {steps}, {width}]"
    return parse(f"""def f({x}, {w}) -> (C: float32[{reuse}, {width}]):
    for i in range({reuse}):
        for c in vectorize({width}):
            C[i, c] = 0.0
    for b in range({BLOCKS}):
        for i in range({reuse}):
            for k in range({steps}):
                for v in unroll({vectors}):
                    for c in vectorize(16):
                        C[i, v * 16 + c] = C[i, v * 16 + c] + X[i, b, k] * W[b, k, v * 16 + c]""")


def stream(rows: int = 4) -> LoopNest:
    """Each element of W is read once, for all rows."""
    return parse(f"""def f(X: float32[{rows}, 8, 64], W: float32[8, 64, 16]) -> (C: float32[{rows}, 16]):
    for r in range({rows}):
        for c in vectorize(16):
            C[r, c] = 0.0
    for i in range(8):
        for k in range(64):
            for r in unroll({rows}):
                for c in vectorize(16):
                    C[r, c] = C[r, c] + X[r, i, k] * W[i, k, c]""")


def requests(nest: LoopNest) -> list[Prefetch]:
    """All requests of a nest."""
    return [stmt for stmt in walk_stmts(nest.body) if isinstance(stmt, Prefetch)]


def asked(stmt: Stmt, values: dict[str, int]) -> Iterator[tuple[dict[str, int], int]]:
    """Every request that a program makes, with the loops' variables and the line of the element."""
    if isinstance(stmt, Prefetch):
        yield dict(values), number(flat_index(stmt.indices, stmt.buffer.shape), values) // 16
    elif isinstance(stmt, For):
        for value in range(stmt.extent):
            yield from asked(stmt.body, {**values, stmt.var.name: value})
    elif isinstance(stmt, Block):
        for part in stmt.stmts:
            yield from asked(part, values)
    elif isinstance(stmt, Allocate) or (isinstance(stmt, If) and number(stmt.condition, values)):
        yield from asked(stmt.body, values)


def number(expr: Expr, values: dict[str, int]) -> int:
    """The value of an integer expression."""
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, Var):
        return values[expr.name]
    assert isinstance(expr, Binary)
    a, b = number(expr.a, values), number(expr.b, values)
    return {"+": a + b, "-": a - b, "*": a * b, ">=": a >= b, "<": a < b, "and": a and b}[expr.op]


def without(stmt: Stmt) -> Stmt:
    """A statement without its requests."""
    if isinstance(stmt, Prefetch):
        return Block(())
    if isinstance(stmt, If) and without(stmt.body) == Block(()):
        return Block(())
    stmt = change_parts(stmt, without)
    return block(*stmt.stmts) if isinstance(stmt, Block) else stmt


def test_a_stream_asks_for_the_lines_of_later_iterations() -> None:
    nest = prefetch_far(stream(), FAR)
    assert "            prefetch1(W[i, k + 16, 0])\n" in str(nest)
    lines = [(values["i"] * 64 + values["k"] + 16, line) for values, line in asked(nest.body, {})]
    assert len(lines) == 8 * 64 and all(wanted == line for wanted, line in lines)


@pytest.mark.parametrize("vectors", [1, 2, 3, 7])
@pytest.mark.parametrize("reuse", [2, 3, 5, 30])
def test_every_line_of_the_next_block_is_asked_for_while_this_one_is_used(reuse: int, vectors: int) -> None:
    nest = prefetch_far(blocks(reuse, vectors), FAR)
    assert {request.level for request in requests(nest)} == {2}
    found = Counter((values["b"], line) for values, line in asked(nest.body, {}))
    lines = STEPS * vectors  # of a block
    for b in range(BLOCKS):
        assert all(found[b, (b + 1) * lines + line] >= 1 for line in range(lines))
    assert sum(found.values()) <= BLOCKS * lines * 4


def test_the_only_block_is_near_after_its_first_use() -> None:
    used_again = str(stream()).replace("W[i, k, c]", "W[3, k, c]")
    assert not requests(prefetch_far(parse(used_again), FAR))


def test_blocks_of_rows_far_apart_are_left_alone() -> None:
    apart = str(blocks()).replace(f"{STEPS}, {16 * VECTORS}]", f"{STEPS}, {32 * VECTORS}]")
    assert apart != str(blocks()) and not requests(prefetch_far(parse(apart), FAR))


def test_few_passes_of_many_make_the_requests() -> None:
    nest = prefetch_far(blocks(reuse=30), FAR)
    passes = {values["i"] for values, _ in asked(nest.body, {})}
    assert passes == {14, 15}  # two lines of each iteration; neither the first pass nor the last


def test_what_is_near_written_or_read_one_by_one_is_not_asked_for() -> None:
    scalar = str(stream()).replace("W[i, k, c]", "W[i, k, 0]")
    in_place = str(stream()).replace("C[r, c] = C[r, c] + X[r, i, k] * W[i, k, c]", "W[i, k, c] = W[i, k, c] + 1.0")
    for text in (scalar, in_place):
        assert not requests(prefetch_far(parse(text), FAR))
    assert prefetch_far(stream()) == stream()


def test_a_loop_that_waits_for_bytes_alone_asks_for_nothing() -> None:
    assert [bool(requests(prefetch_far(stream(rows), FAR))) for rows in (2, USES - 1, USES)] == [False, False, True]


def test_a_block_that_would_leave_no_room_for_the_next_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    again = parse(str(stream()).replace("for i in range(8)", "for t in range(3):\n     for i in range(8)"))
    assert not requests(prefetch_far(again, FAR))  # all of W is one block
    monkeypatch.setattr(prefetches, "BLOCK", 1024)
    assert {request.level for request in requests(prefetch_far(again, FAR))} == {1}


@given(reuse=st.integers(1, 7), vectors=st.integers(1, 3), steps=st.integers(1, 9))
def test_nothing_but_requests_is_added(reuse: int, vectors: int, steps: int) -> None:
    nest = blocks(reuse, vectors, steps)
    done = prefetch_far(nest, FAR)
    verify(done)
    assert parse(str(done)) == done
    assert without(done.body) == nest.body
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs]
    np.testing.assert_array_equal(interpret(done, *inputs)[0], interpret(nest, *inputs)[0])


@pytest.mark.cc
@pytest.mark.parametrize("nest", [blocks(), stream(8)], ids=["blocks", "stream"])
def test_requests_beyond_the_end_do_no_harm(nest: LoopNest) -> None:
    text = emit_kernel(nest, far=FAR)
    assert "__builtin_prefetch" in text and "__builtin_prefetch" not in emit_kernel(nest)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs]
    out = np.empty(nest.outputs[0].shape, np.float32)
    kernel = load_kernel(build_library(prelude(text) + text), nest)
    kernel.run(kernel.pointers(*inputs, out))
    np.testing.assert_array_equal(out, interpret(nest, *inputs)[0])
