"""Transforms by constant matrices: each tile of Winograd's in registers, by the default schedule and every sketch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.bounds import infer
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.constant_transforms import tile_transforms
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.default_schedule import default_steps
from ansor_mini.definitions.winograd import row_of
from ansor_mini.local_measurer import case_of
from ansor_mini.lowering import lower
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph, partition
from ansor_mini.schedule import ScheduleError, replay
from ansor_mini.sketch import derive
from ansor_mini.sketch_hints import SIMPLIFY_CONST_INDICES
from ansor_mini.steps import ComputeAt, Reorder, Split, Step
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.winograd_graph import with_winograd
from runtime.emit_c import prepare
from runtime.expr import Expr
from runtime.graph import Graph, GraphBuilder
from runtime.interpreter import interpret
from runtime.layout import to_channels_last
from runtime.loop_nest import LoopNest
from runtime.verify_nest import verify
from tests.strategies.programs import SMALL_MACHINE

FOLLOWERS = ("nothing", "bias", "relu", "bias and relu", "sum and relu", "bias and sigmoid")


def convolution(size: tuple[int, int], channels: int, follower: str, batch: int = 1) -> Graph:
    """One 3 x 3 layer, and what follows it."""
    build = GraphBuilder("layer")
    x = build.input("x", (batch, 3, *size))
    y = build.add("conv", x, build.weight("w", np.ones((channels, 3, 3, 3), np.float32)), name="conv", padding=(1,) * 4)
    if "bias" in follower:
        y = build.add("add", y, build.weight("b", np.ones((1, channels, 1, 1), np.float32)))
    if "sum" in follower:
        y = build.add("add", y, build.input("other", (batch, channels, *size)))
    if "relu" in follower or "sigmoid" in follower:
        y = build.add(follower.split()[-1], y)
    return to_channels_last(build.finish(y))


def transforms(graph: Graph, tile: int) -> list[Subgraph]:
    parts = partition(with_winograd(graph, tile))
    return [part for part in parts if part.anchor.operator.startswith("winograd")]


def check(nest: LoopNest, dag: ComputeDAG) -> None:
    case, form = case_of(dag, np.random.default_rng(0)), prepare(nest, vector_bytes=16)
    verify(form)
    for actual, expected in zip(interpret(form, *case.inputs), case.expected, strict=True):
        if case.exact:
            np.testing.assert_array_equal(actual, expected)
        else:
            np.testing.assert_allclose(actual, expected, rtol=1e-5)


@given(
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
    st.sampled_from((1, 4, 5, 8)),
    st.sampled_from(FOLLOWERS),
    st.sampled_from((2, 4)),
    st.sampled_from((1, 2)),
    st.integers(0, 2**32 - 1),
)
def test_every_program_computes_the_transform(size, channels, follower, tile, threads, seed):
    for part in transforms(convolution(size, channels, follower, batch=threads), tile):
        dag = declare(part.fragment)
        check(lower(replay(dag, default_steps(dag, SMALL_MACHINE, threads))), dag)
        for sketch in derive(dag, extended_rules(), SMALL_MACHINE):
            assert sketch.rules[0] == "tile-transforms"
            program = sample(sketch, np.random.default_rng(seed), SMALL_MACHINE, threads=threads)
            # Padding may stand in a loop that is to run in parallel.
            may_fail = threads > 1 and part.anchor.operator == "winograd_input"
            with contextlib.suppress(ScheduleError) if may_fail else contextlib.nullcontext():
                check(program.lower(), dag)


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_a_tile_is_all_that_is_held(follower):
    """Whatever follows is computed in the tile as well, and both transforms are as large as one tile of one vector."""
    for part in transforms(convolution((9, 7), 8, follower), 4):
        dag = declare(part.fragment)
        [found] = tile_transforms(dag)
        assert found.root == dag.outputs[0].name
        bounds = infer(replay(dag, default_steps(dag, SMALL_MACHINE)))
        for name in found.transforms:
            shape = [span.extent for span in bounds[name].region.values()]
            lanes = 3 if part.anchor.operator == "winograd_input" else 4
            assert np.prod(shape) <= 6 * 6 * lanes, (name, shape)


def two_transforms(*lengths: int) -> tuple[Tensor, Tensor]:
    """The rows of tiles of 2 x 2 transformed, then the columns; lengths: of the axes besides those two."""
    x, matrix = placeholder((2, 2, *lengths), "X"), ((1, 1), (1, -1))

    def transform(name: str, element: Callable[..., Expr]) -> Tensor:
        hint = {SIMPLIFY_CONST_INDICES: ("e", "v")}
        return compute(x.shape, element, name, axes=("e", "v", "p", "c")[: len(x.shape)], attributes=hint)

    rows = transform("rows", lambda e, v, *rest: row_of(matrix, e, lambda i: x[(i, v, *rest)]))
    return rows, transform("both", lambda e, v, *rest: row_of(matrix, v, lambda j: rows[(e, j, *rest)]))


def with_product(element: Callable[..., Expr]) -> Tensor:
    """A matrix product and an element of those tiles, added up."""
    a, w, k = placeholder((12, 2, 5), "A"), placeholder((5, 8), "W"), reduce_axis(5, "k")
    product = compute((12, 2, 8), lambda h, x, c: reduce_sum(a[h, x, k] * w[k, c], k), "product")
    return compute(product.shape, lambda h, x, c: element(h, x, c) + product[h, x, c], "Y")


# Outputs that read transforms in ways that Winograd's do not.
READERS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, ...]]] = {
    "one stays": lambda rows, both: (rows, both),
    "tiles along one axis": lambda _, both: (compute((11, 2, 8), lambda h, x, c: both[h % 2, x, h // 2, c], "Y"),),
    "another remainder": lambda _, both: (compute((6, 2, 32), lambda p, e, c: both[e, p % 2, p, c % 8], "Y"),),
    "another divisor": lambda _, both: (compute((6, 2, 8), lambda h, x, c: both[x, h % 2, h % 3, c], "Y"),),
    "tiles along vectors": lambda _, both: (compute((6, 8, 4), lambda p, c, h: both[h % 2, h // 2, p, c], "Y"),),
    "an unknown divisor": lambda _, both: (compute((6, 2, 8), lambda h, x, c: both[x, h % (x + 1), h, c], "Y"),),
    "two readers": lambda _, both: tuple(
        compute((12, 2, 8), lambda h, x, c: both[h % 2, x, h // 2, c], name) for name in "YZ"
    ),
    "a sum with a product": lambda _, both: (with_product(lambda h, x, c: both[h % 2, x, h // 2, c]),),
}


@pytest.mark.parametrize("reader", READERS)
def test_transforms_may_be_read_in_any_way(reader):
    check_programs(ComputeDAG(READERS[reader](*two_transforms(6, 8))))


def test_transforms_of_a_single_tile_have_no_vectors():
    dag = ComputeDAG([two_transforms()[1]])
    assert not list(tile_transforms(dag))
    check_programs(dag)


def check_programs(dag: ComputeDAG) -> None:
    """The default schedule, and a program of each sketch."""
    check(lower(replay(dag, default_steps(dag, SMALL_MACHINE))), dag)
    for sketch in derive(dag, extended_rules(), SMALL_MACHINE):
        with contextlib.suppress(ScheduleError):
            check(sample(sketch, np.random.default_rng(0), SMALL_MACHINE, threads=1).lower(), dag)


def quotient(first: int) -> tuple[ComputeDAG, list[Step]]:
    """Y[i] = X[i // 4] with Y's loop in tiles that start at multiples of `first`."""
    x = placeholder((8,), "X")
    copy = compute((8,), lambda i: x[i] + 1.0, "copy")
    y = compute((32,), lambda i: copy[i // 4], "Y")
    steps: list[Step] = [Split("Y", "i", (first,)), Reorder("Y", ("i.0", "i.1")), ComputeAt("copy", "Y", "i.0")]
    return ComputeDAG([y]), steps


@pytest.mark.parametrize("length, extent", [(4, 1), (8, 2), (16, 4), (2, 8), (6, 8)])
def test_a_quotient_needs_what_a_tile_reads_when_tiles_start_at_multiples(length, extent):
    dag, steps = quotient(length)
    assert infer(replay(dag, steps))["copy"].region["i"].extent == extent
    check(lower(replay(dag, steps)), dag)
