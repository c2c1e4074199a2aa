"""Tables of constants vanish where the loops that index them are unrolled, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.local_measurer import case_of
from ansor_mini.sketch import derive
from ansor_mini.workloads import WORKLOADS
from runtime.expr import Const, Select
from runtime.expr_tree import walk
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest, expressions, stores, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.constant_tables import fold_tables
from runtime.verify_nest import verify

TABLE = """
def f(X: float32[4]) -> (Y: float32[2]):
    for i in {outer}(2):
        Y[i] = 0.0
        for a in {inner}(4):
            Y[i] = Y[i] + X[a] * select(a == i, 1.0, select(a == 2, -3.0, 0.0))
"""


def _selects(nest: LoopNest) -> int:
    tops = (top for stmt in walk_stmts(nest.body) for top in expressions(stmt))
    return sum(isinstance(node, Select) for top in tops for node in walk(top))


@pytest.mark.parametrize(("outer", "inner", "left"), [("unroll", "unroll", 0), ("range", "unroll", 2)])
def test_a_table_vanishes_when_all_its_indices_are_unrolled(outer: str, inner: str, left: int) -> None:
    nest = parse(TABLE.format(outer=outer, inner=inner))
    folded = fold_tables(nest)
    verify(folded)
    assert _selects(folded) == left
    assert (folded is nest) is (left > 0)
    x = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_array_equal(interpret(folded, x)[0], [1 - 9, 2 - 9])


def test_a_branch_on_data_is_no_table() -> None:
    nest = parse("""
def f(X: float32[4]) -> (Y: float32[4]):
    for i in unroll(4):
        Y[i] = select(X[i] < 0.0, 1.0, 2.0)
""")
    assert fold_tables(nest) is nest


def test_winograds_transforms_keep_the_products_with_their_nonzero_elements() -> None:
    dag = WORKLOADS["winograd"].dag(4, 4, 2, 2, 1, 2)
    sketch = derive(dag)[0]
    quiet = {hole.name: hole.choices[0] if hole.choices else hole.values[0] for hole in sketch.holes}
    nest = sketch.program({name: 0 if "." in name and "unroll" in name else v for name, v in quiet.items()}).lower()
    folded = fold_tables(nest)
    updates = {str(s) for s in stores(folded.body) if s.buffer.name == "data_pack" and s.value != Const(0.0, "float32")}
    assert len(updates) == 8 * 8  # each of the four rows of the matrix has two elements that are not 0
    case = case_of(dag, np.random.default_rng(0))
    np.testing.assert_array_equal(interpret(folded, *case.inputs)[0], case.expected[0])
