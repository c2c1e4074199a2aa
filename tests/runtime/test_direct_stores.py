"""A workspace that is only copied on is not needed: its elements go to their last places at once."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.annotation import sample
from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
from ansor_mini.sketch import derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.workloads import parse_workload
from runtime.compile_c import run_nest
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse
from runtime.machine import detect
from runtime.passes.direct_stores import store_directly

COPY = """
def f(X: float32[3, 2, 5, {run}]) -> (C: float32[{rows}, 3, {run}]):
    with workspace(float32[3, 2, 5, {run}]) as T:
        for a in {kind}(3):
            for q in range(2):
                for i in range(5):
                    for c in range({run}):
                        T[a, q, i, c] = X[a, q, i, c] * 2.0
        for j in range({rows}):
            for ac in {kind}(3):
                for c in range({run}):
                    C[j, ac, c] = {value}
"""
INDEX = "T[ac, j % 2, j // 2, c]"


def _copy(value: str = INDEX, kind: str = "range", run: int = 4, rows: int = 10) -> str:
    nest = parse(COPY.format(value=value, kind=kind, run=run, rows=rows))
    after = store_directly(nest)
    x = np.random.default_rng(0).integers(-9, 9, (3, 2, 5, run)).astype(np.float32)
    np.testing.assert_array_equal(interpret(nest, x)[0], interpret(after, x)[0])
    return str(after)


def test_elements_are_stored_where_the_copy_would_put_them() -> None:
    text = _copy()
    assert "workspace" not in text
    assert "C[i * 2 + q, a, c] = X[a, q, i, c] * 2.0" in text


@pytest.mark.parametrize("value", [f"{INDEX} + 1.0", "T[ac, j // 5, j % 5, 0]", "T[0, j % 2, j // 2, c]"])
def test_what_is_more_or_less_than_a_copy_of_all_stays(value: str) -> None:
    assert "workspace" in _copy(value)


def test_part_of_a_workspace_is_copied_still() -> None:
    assert "workspace" in _copy(rows=8)


@pytest.mark.parametrize("index", ["i + j", "i * 9", "i * 4 + j"])
def test_a_copy_that_passes_by_some_elements_stays(index: str) -> None:
    nest = parse(f"""
def f(X: float32[10]) -> (C: float32[10]):
    for i in range(10):
        C[i] = 0.5
    with workspace(float32[10]) as T:
        for i in range(10):
            T[i] = X[i]
        for i in range(2):
            for j in range(5):
                C[{index}] = T[{index}]
""")
    assert "workspace" in str(store_directly(nest))


@pytest.mark.parametrize(("run", "kept"), [(4, True), (16, False)])
def test_threads_share_no_cache_line(run: int, kept: bool) -> None:
    assert ("workspace" in _copy(kind="parallel", run=run)) == kept


@pytest.mark.parametrize(("rows", "kept"), [("i", False), ("q", True)])
def test_threads_that_have_blocks_of_the_target_may_store_in_short_runs(rows: str, kept: bool) -> None:
    text = """
def f(X: float32[2, 5, 24]) -> (C: float32[10, 24]):
    with workspace(float32[2, 5, 24]) as T:
        for i in range(5):
            for q in range(2):
                for c in range(24):
                    T[q, i, c] = X[q, i, c]
        for j in range(10):
            for c in range(24):
                C[j, c] = T[j % 2, j // 2, c]
"""
    text = text.replace("24", "3" if kept else "12").replace(f"for {rows} in range", f"for {rows} in parallel")
    assert ("workspace" in str(store_directly(parse(text)))) == kept


@pytest.mark.cc
@pytest.mark.parametrize("text", ["T2D:3,3,2,16,4,2,1", "T2D:2,4,2,3,4,2,1", "T2D:3,3,2,4,3,2,1"])
def test_transposed_convolutions_need_no_copy(text: str) -> None:
    dag, rng = parse_workload(text), np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, tensor.shape).astype(np.float32) for tensor in dag.inputs]
    even = all(extent % 2 == 0 for extent in dag["conv"].shape[1:3])
    for sketch in derive(dag, (RESIDUE_CLASSES, *CPU_RULES), detect()):
        nest = sample(sketch, rng, detect()).lower()
        after = store_directly(nest)
        assert (" as conv_classes:" in str(after)) == (not even)
        np.testing.assert_array_equal(interpret(after, *arrays)[0], interpret(nest, *arrays)[0])
        np.testing.assert_array_equal(run_nest(nest, *arrays)[0], interpret(nest, *arrays)[0])
