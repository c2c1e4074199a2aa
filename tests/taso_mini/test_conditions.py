"""The language of side conditions."""

import pytest

from runtime.graph import GraphBuilder
from taso_mini.conditions import applicable, holds
from taso_mini.costs import FlopCost
from taso_mini.matching import Matcher
from taso_mini.rewriting import all_rewrites
from taso_mini.rules_text import parse_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.shapes import Shape

SHAPES = {
    "x": Shape((2, 4, 5, 5)),
    "w": Shape((6, 2, 3, 3)),
    "m": Shape((3, 4)),
    "Iconv(kernel=(3, 3))": Shape((4, 1, 3, 3)),
}
CONV = "conv(x, Iconv(kernel=(3, 3)), activation=none, dilations=(1, 1), padding=same, strides=(1, 1))"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("groups(x, w) == 2", True),
        ("groups(w, x) == 1", False),  # 2 channels are no multiple of 4
        ("x.shape[1] == w.shape[1] * 2", True),
        ("w.shape[0] + m.shape[1] - 1 == 9", True),
        ("(w.shape[1] - 1) * (w.shape[1] - w.shape[0]) == 0", False),
        ("w.shape[2] % 2 == 1", True),
        ("x.shape == x.shape", True),
        ("x.shape[2:] == w.shape[2:]", False),
        ("x.shape[a] == m.shape[a]", True),
        ("m.shape[3] == 1", False),  # there is no such axis
        ("transpose(m, perm=(1, 0)).shape[0] == 4", True),
        ("matmul(m, m).shape[0] == 3", False),  # not defined
        ("defined(matmul(m, m)) == 0", True),
        (f"defined({CONV}) == 1", True),
        ("Iconv(kernel=(3, 3)).shape[0] == x.shape[1]", True),
        ("k[0] == 3", True),
        ("k[0] == k[1]", False),
        ("w.shape[2] == k[0] + s[1] - 1", True),
        ("x.shape[k[1]] == 4", True),
        ("k[2] == 1", False),  # there is no third number
        ("p[0] == 1", False),  # `same` is not written as numbers
        ("w.shape[3] == (3, 1)[0]", True),
    ],
)
def test_conditions_are_read_as_written(condition, expected):
    assert holds(condition, SHAPES, {"a": 1, "k": (3, 1), "s": (2, 1), "p": "same"}) is expected


@pytest.mark.parametrize(
    "condition",
    ["x.shape[b] == 1", "x.shape[1] / 2 == 1", "x.shape[1] == 'two'", "1 ==", "x == 1", "k[0] == 1", "k[1:] == 1"],
)
def test_what_cannot_be_read_is_an_error(condition):
    with pytest.raises(ValueError, match="condition"):
        holds(condition, SHAPES)


def test_a_rule_is_applicable_where_its_constants_fit():
    (rule,) = parse_rules("rule r\nvariables m: matrix\nsource matmul(m, Imatmul())\ntarget m")
    assert applicable(rule, {"m": Shape((2, 3)), "Imatmul()": Shape((3, 3))})
    assert not applicable(rule, {"m": Shape((2, 3)), "Imatmul()": Shape((2, 2))})


def test_a_condition_on_a_parameter_is_checked_at_the_match():
    (rule,) = parse_rules("""
rule square-pool
  variables x: image
  source    avg_pool(x, kernel=k, padding=p, strides=s)
  target    conv(x, Cpool(kernel=k), activation=none, dilations=(1, 1), padding=p, strides=s)
  when      k[0] == k[1]
""")
    shapes = {"x": Shape((1, 2, 5, 5)), "Cpool(kernel=k)": Shape((2, 1, 3, 3))}
    assert holds(rule.conditions[0], shapes, {"k": (3, 3)}) and not holds(rule.conditions[0], shapes, {"k": (3, 1)})
    build = GraphBuilder("pools")
    image = build.input("x", (1, 2, 5, 5))
    for kernel in ((3, 3), (3, 1)):
        build.add(
            "avg_pool",
            image,
            kernel=kernel,
            strides=(1, 1),
            padding=(0, 0, 0, 0),
            count_include_pad=True,
            layout="NCHW",
            name=f"y{kernel[1]}",
        )
    graph = SearchGraph.of(build.finish(["y3", "y1"]), FlopCost())
    assert [rewrite.match.roots for rewrite in all_rewrites(graph, Matcher([rule])).values()] == [("y3",)]
