"""The language of side conditions."""

import pytest

from taso_mini.conditions import applicable, holds
from taso_mini.rules_text import parse_rules
from taso_mini.shapes import Shape

SHAPES = {"x": Shape((2, 4, 5, 5)), "w": Shape((6, 2, 3, 3)), "m": Shape((3, 4)),
          "Iconv(kernel=(3, 3))": Shape((4, 1, 3, 3))}
CONV = "conv(x, Iconv(kernel=(3, 3)), activation=none, dilations=(1, 1), padding=same, strides=(1, 1))"


@pytest.mark.parametrize(("condition", "expected"), [
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
])
def test_conditions_are_read_as_written(condition, expected):
    assert holds(condition, SHAPES, {"a": 1}) is expected


@pytest.mark.parametrize("condition", [
    "x.shape[b] == 1", "x.shape[1] / 2 == 1", "x.shape[1] == 'two'", "1 ==", "x == 1"])
def test_what_cannot_be_read_is_an_error(condition):
    with pytest.raises(ValueError, match="condition"):
        holds(condition, SHAPES)


def test_a_rule_is_applicable_where_its_constants_fit():
    rule, = parse_rules("rule r\nvariables m: matrix\nsource matmul(m, Imatmul())\ntarget m")
    assert applicable(rule, {"m": Shape((2, 3)), "Imatmul()": Shape((3, 3))})
    assert not applicable(rule, {"m": Shape((2, 3)), "Imatmul()": Shape((2, 2))})
