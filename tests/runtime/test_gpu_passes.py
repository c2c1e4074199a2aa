"""The passes on GPU nests: what each keeps, and where barriers go."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.emit_cuda import prepare_kernels
from runtime.interpreter import interpret
from runtime.loop_nest import UNROLL, VTHREAD, Allocate, For, LoopNest, walk_stmts
from runtime.loop_nest_text import parse
from runtime.passes.gpu_as_serial import as_serial
from runtime.passes.gpu_barriers import barriers
from runtime.passes.gpu_kernels import KernelError, split_kernels, unique_names
from runtime.passes.gpu_simplify import simplify_nest
from runtime.passes.gpu_tiles import reductions_outside
from runtime.passes.gpu_vthreads import expand_vthreads
from tests.strategies.gpu_nests import Tiling, product

SMALL = product(Tiling(5, 6, 4, (2, 2, 1), (2, 2, 1), 2, 2, True, 1, False))


def results(nest: LoopNest) -> np.ndarray:
    """What a nest computes from small whole numbers."""
    rng = np.random.default_rng(0)
    return interpret(nest, *(rng.integers(-3, 4, b.shape).astype(b.dtype) for b in nest.inputs))[0]


@pytest.mark.parametrize("change", [simplify_nest, expand_vthreads, as_serial, unique_names])
def test_a_pass_keeps_the_meaning(change) -> None:
    changed = change(SMALL)
    assert changed != SMALL or change is unique_names
    np.testing.assert_array_equal(results(changed), results(SMALL))


def test_virtual_threads_share_the_copies_and_split_the_sums() -> None:
    loops = [node for node in walk_stmts(expand_vthreads(SMALL).body) if isinstance(node, For)]
    assert not any(loop.kind == VTHREAD for loop in loops)
    assert {loop.extent for loop in loops if loop.kind == UNROLL and loop.var.name.startswith("v")} == {4, 2}
    shapes = {node.buffer.name: node.buffer.shape for node in walk_stmts(expand_vthreads(SMALL).body)
              if isinstance(node, Allocate)}  # fmt: skip
    original = {node.buffer.name: node.buffer.shape for node in walk_stmts(SMALL.body) if isinstance(node, Allocate)}
    assert shapes["acc"] == (4, *original["acc"])
    assert (shapes["As"], shapes["Bs"]) == (original["As"], original["Bs"])


def test_reductions_leave_the_tile_in_the_order_of_each_sum() -> None:
    nest = parse(
        "def f(A: float32[3, 4, 5]) -> (C: float32[3, 5]):\n  with local(float32[3, 5]) as T:\n"
        "    for i in range(3):\n      for j in range(5):\n        T[i, j] = 0.0\n"
        "    for i in range(3):\n      for k in range(4):\n        for j in range(5):\n"
        "          T[i, j] = T[i, j] + A[i, k, j]\n"
        "    for i in range(3):\n      for j in range(5):\n        C[i, j] = T[i, j]"
    )
    changed = LoopNest(nest.name, nest.inputs, nest.outputs, reductions_outside(nest.body))
    assert "for k in range(4):\n            for i in range(3):" in str(changed)
    np.testing.assert_array_equal(results(changed), results(nest))


def count_barriers(first: str, second: str, steps: int = 1, rows: int = 1) -> int:
    """Barriers of a kernel whose threads store to `first` of shared memory and then load from `second`."""
    text = (
        f"def f(A: float32[{steps}, 64]) -> (C: float32[{steps}, 64]):\n  for b in block(1):\n"
        f"    with shared(float32[{rows}, 64]) as S:\n      for k in range({steps}):\n"
        f"        for t in thread(64):\n          S[{first}] = A[k, t]\n"
        f"        for t in thread(64):\n          C[k, t] = S[{second}]"
    )
    (kernel,), _ = prepare_kernels(parse(text))
    return len(barriers(kernel.body))


@pytest.mark.parametrize(
    ("first", "second", "steps", "rows", "wanted"),
    [
        ("0, t", "0, t", 1, 1, 0),  # each thread reads what it has stored
        ("0, t", "0, 63 - t", 1, 1, 1),
        ("0, t", "0, 63 - t", 4, 1, 2),  # and the next iteration stores what is being read
        ("k % 2, t", "k % 2, 63 - t", 4, 2, 1),  # two tiles in turn: one meeting an iteration is enough
        ("k, t", "k, 63 - t", 4, 4, 1),  # no tile is used twice
    ],
)
def test_barriers_stand_where_threads_meet(first: str, second: str, steps: int, rows: int, wanted: int) -> None:
    assert count_barriers(first, second, steps, rows) == wanted


def test_block_loops_inside_others_are_refused() -> None:
    nest = parse("def f() -> (C: float32[4]):\n  for i in range(2):\n    for b in block(2):\n      C[i * 2 + b] = 0.0")
    with pytest.raises(KernelError, match="block loops stand at the root"):
        split_kernels(nest)
