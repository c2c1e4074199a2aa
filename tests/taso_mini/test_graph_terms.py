"""Reading graph nodes as terms and writing terms as graph nodes are inverse, and neither guesses."""

from __future__ import annotations

import pytest
from hypothesis import given

from runtime.graph import Graph, Node, Params, TensorType
from runtime.operators import OPERATORS, infer
from taso_mini import operator_set
from taso_mini.graph_terms import BUILDERS, TABLE, Recipe, Reshaped, build, read_node
from tests.strategies import graphs, rewritable


def test_the_table_names_existing_operators():
    for row in TABLE:
        assert row.graph in OPERATORS, row
    of_rules_only = {"enlarge", "Cpool", "Iconv", "Imatmul", "Iewmul"}
    assert set(operator_set.OPERATORS) - of_rules_only <= set(BUILDERS)


def check_round_trip(graph: Graph) -> int:
    """What every node that can be read is read as builds the same node again."""
    read = 0
    for node in graph.nodes:
        types = tuple(graph.types[value] for value in node.inputs)
        for output, application in enumerate(read_node(node, types)):
            if application is None:
                continue
            read += 1
            params = dict(application.params)
            if node.operator == "split":
                params["cut"] = node["sizes"][0]
            args = tuple(a.value if isinstance(a, Reshaped) else a for a in application.args)
            seen = tuple(
                TensorType(a.shape, t.dtype) if isinstance(a, Reshaped) else t
                for a, t in zip(application.args, (graph.types[value] for value in args), strict=True)
            )
            recipe = build(application.operator, params, args, seen)
            assert recipe is not None and (recipe.operator, recipe.output) == (node.operator, output)
            assert same_node(graph, recipe, node), f"{application} became {recipe}"
    return read


def same_node(graph: Graph, recipe: Recipe, node: Node) -> bool:
    """Whether a recipe makes the node, up to the order of factors and to what cannot matter."""
    inputs = [argument.value if isinstance(argument, Reshaped) else argument for argument in recipe.inputs]
    full = infer(node.operator, tuple(graph.types[value] for value in node.inputs), Params(**recipe.params))[0]
    params, expected = dict(full), dict(node.params)
    if node.operator == "avg_pool" and not any(node["padding"]):
        params["count_include_pad"] = expected["count_include_pad"]
    if "axis" in expected:
        rank = graph.types[node.inputs[0]].rank
        params["axis"], expected["axis"] = params["axis"] % rank, expected["axis"] % rank
    return sorted(inputs) == sorted(node.inputs) and params == expected


@given(graphs.graphs(max_nodes=8))
def test_round_trip_on_any_graph(graph):
    check_round_trip(graph)


@given(rewritable.networks())
def test_round_trip_on_networks(graph):
    check_round_trip(graph)


ONE_DIMENSION = {"strides": (1,), "padding": (0, 0), "dilations": (1,)}
IMAGE, KERNEL, VECTOR = TensorType((2, 4, 5, 5)), TensorType((6, 4, 3, 3)), TensorType((6,))


@pytest.mark.parametrize(
    ("operator", "types", "params", "term"),
    [
        ("conv", (IMAGE, KERNEL), {}, "conv"),
        ("conv", (IMAGE, KERNEL, VECTOR), {}, "conv_bias"),
        ("conv", (TensorType((2, 5, 5, 4)), TensorType((3, 3, 4, 6))), {"layout": "NHWC"}, None),
        ("conv", (TensorType((2, 4, 5)), TensorType((6, 4, 3))), ONE_DIMENSION, None),
        ("matmul", (TensorType((3, 4)), TensorType((4, 5))), {}, "matmul"),
        ("matmul", (TensorType((2, 3, 4)), TensorType((4, 5))), {}, None),
        ("add", (IMAGE, IMAGE), {}, "add"),
        ("add", (IMAGE, TensorType((1, 4, 1, 1))), {}, "bias"),
        ("add", (TensorType((4, 1, 1)), IMAGE), {}, "bias"),
        ("add", (IMAGE, TensorType((5,))), {}, None),
        ("add", (IMAGE, TensorType(())), {}, None),
        ("mul", (IMAGE, TensorType((1, 4, 1, 1))), {}, "scale"),
        ("mul", (IMAGE, TensorType(())), {}, "smul"),
        ("mul", (IMAGE, TensorType((2, 4, 1, 1))), {}, None),
        ("mul", (TensorType((4,), "int64"), TensorType((4,), "int64")), {}, None),
        ("concat", (IMAGE, IMAGE), {"axis": -3}, "concat"),
        ("concat", (IMAGE, IMAGE, IMAGE), {"axis": 1}, None),
        ("avg_pool", (IMAGE,), {"kernel": (3, 3), "padding": (1, 1, 1, 1)}, None),
        ("avg_pool", (IMAGE,), {"kernel": (3, 3), "padding": (1, 1, 1, 1), "count_include_pad": True}, "avg_pool"),
        ("max_pool", (IMAGE,), {"kernel": (2, 2), "padding": (1, 1, 0, 0)}, "max_pool"),
        ("softmax", (IMAGE,), {}, None),
    ],
)
def test_only_exact_meanings_are_read(operator, types, params, term):
    inputs = tuple(f"x{i}" for i in range(len(types)))
    full, outputs = infer(operator, types, Params(**params))
    (found,) = read_node(Node(operator, inputs, ("y",), full), types)
    assert (found.operator if found else None) == term


def test_a_split_is_read_as_its_halves():
    node = Node("split", ("x",), ("a", "b"), Params(axis=-1, sizes=(2, 3)))
    assert [str(found) for found in read_node(node, (IMAGE,))] == ["split0(x, axis=3)", "split1(x, axis=3)"]
    three = Node("split", ("x",), ("a", "b", "c"), Params(axis=3, sizes=(1, 1, 3)))
    assert read_node(three, (IMAGE,)) == (None, None, None)


def test_same_padding_depends_on_the_window():
    params = {"strides": (1, 1), "padding": "same", "dilations": (2, 1), "activation": "none"}
    recipe = build("conv", params, ("x", "w"), (IMAGE, KERNEL))
    assert recipe is not None and recipe.params["padding"] == (2, 1, 2, 1) and recipe.params["groups"] == 1
    assert build("conv", params, ("x", "w"), (IMAGE, TensorType((6, 4, 2, 2)))) is None


def test_groups_follow_from_the_shapes():
    params = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilations": (1, 1), "activation": "none"}
    recipe = build("conv", params, ("x", "w"), (IMAGE, TensorType((6, 2, 3, 3))))
    assert recipe is not None and recipe.params["groups"] == 2
