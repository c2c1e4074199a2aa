"""Nests of tensor loops are read as what a Tensor Core does, or refused with the reason."""

from __future__ import annotations

import pytest

from runtime.cuda_text.tensor_operations import (
    Fill,
    LoadTile,
    Multiply,
    StoreTile,
    TensorError,
    has_tensor_loops,
    operation,
    outermost_tensor_loops,
    roles,
)
from runtime.loop_nest_text import parse

HEAD = """def f(A: float16[64, 64]) -> (C: float32[64, 64]):
    with shared(float16[32, 32]) as S:
        with fragment(float16[2, 16, 16]) as a:
            with fragment(float16[16, 16]) as b:
                with fragment(float32[16, 16]) as c:
"""


def body(*lines: str):
    return parse(HEAD + "".join(f"{' ' * 20}{line}\n" for line in lines)).body


def only(*lines: str):
    (loop,) = outermost_tensor_loops(body(*lines))
    return operation(loop)


LOOPS = ("for x in tensor(16):", "    for y in tensor(16):")
MULTIPLY = "            c[x, y] = c[x, y] + cast(float32, a[1, x, z]) * cast(float32, b[z, y])"


def test_fill():
    found = only(*LOOPS, "        c[x, y] = 0.0")
    assert isinstance(found, Fill) and str(found.fragment) == "c[0, 0]"


@pytest.mark.parametrize(
    "source, transposed, origin",
    [("S[x, y]", False, "S[0, 0]"), ("S[16 + x, y + 8]", False, "S[16, 8]"), ("S[y, 16 + x]", True, "S[0, 16]")],
)
def test_load(source, transposed, origin):
    found = only(*LOOPS, f"        a[1, x, y] = {source}")
    assert isinstance(found, LoadTile)
    assert (found.transposed, str(found.source), str(found.fragment)) == (transposed, origin, "a[1, 0, 0]")


def test_multiply_with_the_factors_in_either_order():
    third = "        for z in tensor(16):"
    found = only(*LOOPS, third, MULTIPLY)
    swapped = MULTIPLY.replace("a[1, x, z]", "?").replace("b[z, y]", "a[1, x, z]").replace("?", "b[z, y]")
    assert isinstance(found, Multiply) and found == only(*LOOPS, third, swapped)
    assert [str(load) for load in (found.c, found.a, found.b)] == ["c[0, 0]", "a[1, 0, 0]", "b[0, 0]"]


def test_store_with_a_guard():
    found = only(*LOOPS, "        if x + 60 < 64:", "            C[x + 48, y] = max(c[x, y], 0.0)")
    assert isinstance(found, StoreTile) and (found.row.name, found.column.name) == ("x", "y")


def test_roles_follow_from_the_multiplications():
    stmt = body(*LOOPS, "        for z in tensor(16):", MULTIPLY)
    assert has_tensor_loops(stmt)
    assert roles(stmt) == {"a": "a", "b": "b", "c": "accumulator"}


@pytest.mark.parametrize(
    "lines, reason",
    [
        (("for x in tensor(8):", "    for y in tensor(16):", "        c[x, y] = 0.0"), "extent 16, got 8"),
        ((*LOOPS, "        a[1, x, y] = S[x, x + y]"), "no fill, load, multiply or store"),
        ((*LOOPS, "        a[1, x, y] = S[x * 2, y]"), "no fill, load, multiply or store"),
        ((*LOOPS, "        C[x, y] = 1.0"), "no fill, load, multiply or store"),
        ((*LOOPS, "        for z in tensor(16):", MULTIPLY.replace("b[z, y]", "b[y, z]")), "no fill, load"),
        ((*LOOPS, "        for z in tensor(16):", MULTIPLY.replace("+ cast", "- cast")), "no fill, load"),
    ],
)
def test_what_a_tensor_core_cannot_do_is_refused(lines, reason):
    with pytest.raises(TensorError, match=reason):
        only(*lines)


def test_one_fragment_in_two_roles_is_refused():
    lines = (*LOOPS, "        for z in tensor(16):", MULTIPLY.replace("b[z, y]", "a[1, z, y]"))
    with pytest.raises(TensorError, match="`a` is both a and b"):
        roles(body(*lines))
