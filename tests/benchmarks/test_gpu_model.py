"""The published ladder's nests are matrix products, and the benchmark's figures say what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.verify_nest import verify
from tests.benchmarks import sgemm_ladder as ladder
from tests.benchmarks.gpu_model import benchmark, measured, ranks, spearman

SMALL = {
    "naive": lambda: ladder.naive(8, 4),
    "coalesced": lambda: ladder.naive(8, 4, coalesced=True),
    "shared tile": lambda: ladder.shared_tile(8, 4),
    "column of 8": lambda: ladder.register_tile(8, 8, 8, 4, height=4, width=1),
    "tile of 8x8": lambda: ladder.register_tile(16, 8, 8, 4, height=4, width=4),
    "float4, A transposed": lambda: ladder.register_tile(16, 16, 16, 8, height=4, width=4, transposed=True),
    "tiles of warps": lambda: ladder.warp_tile(32, 32, 32, 8, 16, 32, column_steps=2, height=4, width=2),
}


@pytest.mark.parametrize("name", ladder.LADDER)
def test_every_rung_is_a_matrix_product(name: str) -> None:
    nest: LoopNest = SMALL[name]()
    verify(nest)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, buffer.shape).astype(np.float32) for buffer in nest.inputs)
    np.testing.assert_array_equal(interpret(nest, a, b)[0], a @ b)


def test_rank_correlation() -> None:
    assert ranks([5.0, 1.0, 1.0]) == [3.0, 1.5, 1.5]
    assert spearman([1.0, 2.0, 3.0, 4.0], [8.0, 6.0, 4.0, 2.0]) == -1.0


def test_figures_name_what_was_fitted_and_what_was_not(tmp_path) -> None:
    path = tmp_path / "results.json"
    path.write_text(
        '{"rows": [{"section": "s", "name": "a", "seconds": [2e-6, 1e-6, 3e-6], "facts": {"predicted seconds": 1e-6}},'
        ' {"section": "s", "name": "b", "seconds": [9e-6], "facts": {"predicted seconds": 9e-6}},'
        ' {"section": "s", "name": "failed", "seconds": [], "facts": {"predicted seconds": 1e-6}},'
        ' {"section": "s", "name": "not predicted", "seconds": [1e-6], "facts": {}}]}'
    )
    assert measured(path) == {"programs": 2, "spearman": 1.0, "mean_factor": 1.414}

    class Options:
        measured = None

    figures = benchmark(True, Options())
    assert figures["measured"] is None
    assert (figures["fitted"]["programs"], figures["held_out"]["programs"]) == (7, 8)
