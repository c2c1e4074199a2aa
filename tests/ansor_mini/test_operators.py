"""Every graph operator's tensor expression computes what its NumPy reference computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ansor_mini.operators import DEFINITIONS, UndeclaredOperator, declare
from ansor_mini.partition import MOVEMENT, VIEWS
from runtime.graph import GraphBuilder
from runtime.operators import OPERATORS

FIRST, LAST = {"layout": "NCHW"}, {"layout": "NHWC"}
IMAGE = {"NCHW": (2, 6, 7, 8), "NHWC": (2, 7, 8, 6)}

CASES: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    ("conv", [(1, 3, 9), (4, 3, 3)], {"strides": (2,), "padding": (1, 1), "dilations": (1,)}),
    (
        "conv",
        [(1, 3, 4, 5, 6), (4, 3, 3, 2, 2)],
        {"strides": (1, 1, 1), "padding": (1, 1, 0, 0, 0, 0), "dilations": (1, 1, 1)},
    ),
    ("matmul", [(4, 5), (5, 6)], {}),
    ("matmul", [(2, 3, 4, 5), (3, 5, 6)], {}),
    ("softmax", [(3, 7)], {"axis": -1}),
    ("softmax", [(3, 7, 2)], {"axis": 1}),
    ("transpose", [(2, 3, 4)], {"perm": (2, 0, 1)}),
    ("pad", [(2, 3)], {"pads": (1, 0, 2, 1), "value": 2.0}),
    ("slice", [(6, 7)], {"starts": (1, 0), "stops": (6, 7), "steps": (2, 3)}),
    ("clip", [(2, 3)], {"min": -1.0, "max": 2.0}),
]
CASES += [("winograd_input", [(2, 7, 9, 3)], {"tile": tile, "padding": (1, 0, 1, 2)}) for tile in (2, 4)]
CASES += [("winograd_input", [(1, 5, 5, 3)], {"tile": 2})]
CASES += [("winograd_input", [(2, 4, 5, 6, 3)], {"tile": 2, "padding": (1, 1, 0, 1, 0, 1)})]
CASES += [("winograd_output", [(4, 4, 2 * 3 * 2 * 3, 5)], {"tile": 2, "shape": (2, 3, 4, 5)})]
CASES += [("winograd_output", [(4, 4, 2 * 3 * 4, 5)], {"tile": 2, "shape": (2, 6, 7)})]
CASES += [("winograd_output", [(6, 6, 2 * 2, 5)], {"tile": 4, "shape": (1, 7, 8)})]
CASES += [(name, [(2, 3, 4), (3, 1)], {}) for name in ("add", "sub", "mul", "div")]
CASES += [(name, [(2, 3, 4)], {}) for name in ("relu", "sigmoid", "tanh", "exp", "sqrt", "erf")]
for reduction in ("reduce_sum", "reduce_mean", "reduce_max"):
    for axes in ((2, 3), (1,)):
        CASES += [(reduction, [(2, 3, 4, 5)], {"axes": axes, "keepdims": keep}) for keep in (False, True)]
for layout, image in IMAGE.items():
    for groups in (1, 2, 3, 6):
        weight = (12, 6 // groups, 3, 3) if layout == "NCHW" else (3, 3, 6 // groups, 12)
        strided = {"strides": (2, 1), "padding": (1, 0, 2, 1), "activation": "relu", "groups": groups, "layout": layout}
        CASES.append(("conv", [image, weight, (12,)], strided))
        CASES.append(("conv", [image, weight], {"dilations": (2, 2), "groups": groups, "layout": layout}))
    weight = (6, 5, 4, 3) if layout == "NCHW" else (4, 3, 6, 5)
    spread = {"strides": (2, 3), "padding": (1, 0, 2, 1), "output_padding": (1, 2), "layout": layout}
    CASES.append(("conv_transpose", [image, weight, (5,)], spread))
    CASES.append(("conv_transpose", [image, weight], {"padding": (3, 2, 0, 1), "layout": layout}))
    depthwise = (6, 1, 3, 3) if layout == "NCHW" else (3, 3, 1, 6)
    CASES.append(("conv", [image, depthwise], {"groups": 6, "layout": layout}))
    window = {"kernel": (3, 3), "strides": (2, 2), "padding": (1, 1, 1, 1), "layout": layout}
    CASES += [("max_pool", [image], window), ("avg_pool", [image], window)]
    CASES.append(("avg_pool", [image], {**window, "count_include_pad": True}))
    CASES.append(("lrn", [image], {"size": 5, "alpha": 0.1, "beta": 0.75, "bias": 1.0, "layout": layout}))


@pytest.mark.parametrize(("operator", "shapes", "params"), CASES, ids=lambda value: str(value))
def test_expression_equals_reference(operator: str, shapes: list[tuple[int, ...]], params: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("one")
    feeds = {f"x{i}": rng.integers(-3, 4, shape).astype(np.float32) for i, shape in enumerate(shapes)}
    if operator == "sqrt":
        feeds = {name: np.abs(array) for name, array in feeds.items()}
    if operator == "div":
        feeds["x1"] = np.abs(feeds["x1"]) + 1
    operands = [build.input(name, array.shape) for name, array in feeds.items()]
    graph = build.finish(build.add(operator, *operands, **params))
    (wanted,) = graph.evaluate(feeds).values()
    dag = declare(graph)
    (found,) = dag.evaluate(*feeds.values())
    if dag.exact:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_every_operator_has_a_kernel() -> None:
    assert set(OPERATORS) == set(DEFINITIONS) | MOVEMENT | VIEWS
    assert {operator for operator, _, _ in CASES} >= set(DEFINITIONS)


def test_an_operator_without_expression_is_named() -> None:
    build = GraphBuilder("moved")
    graph = build.finish(build.add("concat", build.input("a", (2, 3)), build.input("b", (2, 3)), axis=1))
    with pytest.raises(UndeclaredOperator, match="concat"):
        declare(graph)
