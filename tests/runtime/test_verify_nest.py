"""Each rule of legal nests, broken once and met once."""

from __future__ import annotations

import pytest
from hypothesis import given

from runtime.expr import Buffer, Const, Var
from runtime.loop_nest import For, LoopNest, Store
from runtime.loop_nest_text import parse
from runtime.verify_nest import LoopNestError, verify
from tests.strategies.loop_nests import nests

HEADER = "def f(A: float32[4]) -> (B: float32[4]):\n"


@given(nests())
def test_drawn_nests_are_legal(nest: LoopNest) -> None:
    verify(nest)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("for i in range(4):\n    B[i] = A[i + 1]", "index in bounds.*reaches 4"),
        ("for i in range(4):\n    B[i] = A[i - 1]", "index in bounds.*reaches -1"),
        ("for i in range(8):\n    if i * 2 < 9:\n        B[i] = 0.0", "index in bounds.*reaches 4"),
        ("for i in range(4):\n    for i in range(2):\n        B[i] = 0.0", "names are not shadowed"),
        ("for A in range(4):\n    B[0] = 0.0", "names are not shadowed"),
        ("for i in range(4):\n    A[i] = 0.0", "inputs are not written"),
        ("for i in parallel(2):\n    for j in parallel(2):\n        B[i * 2 + j] = 0.0", "parallel loops do not nest"),
        (
            "for i in parallel(4):\n    with workspace(float32[1]) as T:\n        B[i] = 0.0",
            "workspace is allocated outside",
        ),
        ("for i in parallel(8):\n    B[i // 2] = 0.0", "parallel iterations are independent"),
        ("for i in range(0):\n    B[i] = 0.0", "positive extent"),
        ("B[0] = cast(float32, 1 // 0)", ""),
        ("for i in range(4):\n    B[i] = select(i > 0, A[i - 1], A[i + 1])", ""),
        ("for i in range(4):\n    if i >= 1 and A[i - 1] > 0.0:\n        B[i] = A[i - 1]", ""),
        (
            "for i in parallel(2):\n    for j in range(3):\n        if i * 3 + j < 4:\n            B[i * 3 + j] = 0.0",
            "",
        ),
        ("for i in range(8):\n    B[(i * 3 + 1) % 4] = A[i // 2]", ""),
    ],
)
def test_rules(body: str, rule: str) -> None:
    nest = parse(HEADER + "\n".join("    " + line for line in body.split("\n")))
    if rule:
        with pytest.raises(LoopNestError, match=rule):
            verify(nest)
    else:
        verify(nest)


def test_rules_that_text_cannot_break() -> None:
    a, b = Buffer("A", (4,)), Buffer("B", (4,))
    i, zero = Var("i"), Const(0.0, "float32")
    broken = {
        "buffers exist": Store(Buffer("X", (4,)), (Const(0),), zero),
        "rank": Store(b, (Const(0), Const(0)), zero),
        "variables are used inside their loop": Store(b, (i,), zero),
        "a store keeps the dtype": Store(b, (Const(0),), Const(0)),
        "loops have a kind": For(i, 4, "sideways", Store(b, (i,), zero)),
        "indices are integers": Store(b, (zero,), zero),
    }
    for rule, stmt in broken.items():
        with pytest.raises(LoopNestError, match=rule):
            verify(LoopNest("f", (a,), (b,), stmt))


def test_error_names_the_statement() -> None:
    with pytest.raises(LoopNestError, match=r"in `B\[i\] = A\[i \+ 1\]`"):
        verify(parse(HEADER + "    for i in range(4):\n        B[i] = A[i + 1]"))
