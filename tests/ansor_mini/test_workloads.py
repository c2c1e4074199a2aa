"""Every workload of the paper's tables can be declared, and means what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.local_measurer import case_of
from ansor_mini.winograd import transform_weights
from ansor_mini.workloads import PAPER_MISPRINTS, PAPER_OPERATORS, PAPER_SUBGRAPHS, WORKLOADS, parse_workload
from tests.strategies.programs import SMALL_WORKLOADS


@pytest.mark.parametrize("name", WORKLOADS)
def test_paper_shapes_can_be_declared(name: str) -> None:
    for shape in WORKLOADS[name].shapes:
        for batch in (1, 16):
            assert WORKLOADS[name].dag(*shape, batch=batch).flops > 0


def test_matmul_counts_two_operations_per_product() -> None:
    assert parse_workload("GMM:512,32,256").flops == 2 * 512 * 32 * 256


def test_strided_convolution_equals_loops() -> None:
    dag = WORKLOADS["C2D"].dag(5, 6, 2, 3, 3, 2, 1)
    x, w = case_of(dag, np.random.default_rng(0)).inputs
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((1, 3, 3, 3), np.float32)
    for h, v in np.ndindex(3, 3):
        window = padded[0, 2 * h : 2 * h + 3, 2 * v : 2 * v + 3]
        expected[0, h, v] = np.tensordot(window, w, 3)
    np.testing.assert_array_equal(dag.evaluate(x, w)[0], expected)


def test_transposed_convolution_scatters_its_input() -> None:
    dag = WORKLOADS["T2D"].dag(3, 4, 2, 3, 4, 2, 1)
    x, w = case_of(dag, np.random.default_rng(0)).inputs
    scattered = np.zeros((2 * 2 + 4, 3 * 2 + 4, 3), np.float32)
    for h, v in np.ndindex(3, 4):
        scattered[2 * h : 2 * h + 4, 2 * v : 2 * v + 4] += np.einsum("c,ijcd->ijd", x[0, h, v], w)
    np.testing.assert_array_equal(dag.evaluate(x, w)[0][0], scattered[1:-1, 1:-1])


def test_groups_do_not_mix() -> None:
    dag = SMALL_WORKLOADS["grouped convolution"]()
    x, w = case_of(dag, np.random.default_rng(0)).inputs
    changed = x.copy()
    changed[..., :2] += 1  # the first group of channels
    difference = dag.evaluate(changed, w)[0] - dag.evaluate(x, w)[0]
    assert not difference[..., 1:].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv:1,2", "unknown workload"),
        ("matmul:1,2", "needs 3 numbers"),
        ("matmul:1,2,x", "expected integers"),
        ("matmul:0,1,1", "n must be positive"),
        ("GRP:4,4,6,4,3,1,1", "groups"),
    ],
)
def test_bad_workloads_say_what_would_fit(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_workload(text)


def test_the_paper_has_ten_operators_and_two_subgraphs_with_four_shapes_each() -> None:
    assert (len(PAPER_OPERATORS), len(PAPER_SUBGRAPHS)) == (10, 2)
    assert all(len(WORKLOADS[name].shapes) == 4 for name in (*PAPER_OPERATORS, *PAPER_SUBGRAPHS))
    assert all(WORKLOADS[name].dag(*shape).flops > 0 for name, shape in PAPER_MISPRINTS.items())


@pytest.mark.parametrize("name", WORKLOADS)
def test_constants_are_inputs_and_data_is_not_constant(name: str) -> None:
    workload = WORKLOADS[name]
    inputs = {tensor.name for tensor in workload.dag(*workload.shapes[-1]).inputs}
    assert set(workload.constants) <= inputs and "X" not in workload.constants
    assert inputs <= {*workload.constants, "X", "A", "B", "D", "Q", "K"}


@pytest.mark.parametrize("tile", [2, 4])
def test_winograd_is_the_convolution(tile: int) -> None:
    plain, fast = WORKLOADS["C2D"].dag(7, 6, 3, 4, 3, 1, 1), WORKLOADS["winograd"].dag(7, 6, 3, 4, 1, tile)
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, 7, 6, 3)).astype(np.float32)
    w = (24 * rng.integers(-2, 3, (3, 3, 3, 4))).astype(np.float32)  # 24ths then become integers
    by_name = {"X": x, "W": transform_weights(w.astype(np.float64), tile).astype(np.float32)}
    result = fast.evaluate(*(by_name[tensor.name] for tensor in fast.inputs))[0]
    np.testing.assert_allclose(result, plain.evaluate(x, w)[0], rtol=0, atol=0 if tile == 2 else 1e-2)


def test_a_border_is_never_the_largest() -> None:
    dag = WORKLOADS["maxpool"].dag(3, 3, 2, 2, 1, 1)
    assert (dag.evaluate(np.full((1, 3, 3, 2), -7, np.float32))[0] == -7).all()
