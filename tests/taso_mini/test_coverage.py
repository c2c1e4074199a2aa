"""How our rules cover the published ones."""

from pathlib import Path

import pytest

from taso_mini.coverage import cover, missing
from taso_mini.derivation import check
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import parse_rules

DATA = Path(__file__).parents[1] / "data"
OURS = parse_rules("""
rule associates
  variables x: matrix, y: matrix, z: matrix
  source    matmul(matmul(x, y), z)
  target    matmul(x, matmul(y, z))

rule conv-relu
  variables x: image, w: kernel
  source    relu(conv(x, w, activation=none, dilations=d, padding=p, strides=s))
  target    conv(x, w, activation=relu, dilations=d, padding=p, strides=s)
""")


def theirs(*sides):
    kinds = "x: tensor, y: tensor, z: tensor"
    return parse_rules(
        "\n".join(f"rule r{i}\n variables {kinds}\n source {a}\n target {b}" for i, (a, b) in enumerate(sides))
    )


@pytest.mark.parametrize(
    ("source", "target", "how"),
    [
        ("matmul(x, matmul(z, y))", "matmul(matmul(x, z), y)", "same"),
        ("matmul(matmul(x, relu(y)), x)", "matmul(x, matmul(relu(y), x))", "instance"),
        ("matmul(matmul(x, y), matmul(x, y))", "matmul(matmul(x, matmul(y, x)), y)", "derived"),
        ("matmul(x, y)", "matmul(y, x)", "missing"),
        (
            "conv(x, y, activation=relu, dilations=(1, 1), padding=same, strides=(1, 1))",
            "relu(conv(x, y, activation=none, dilations=(1, 1), padding=same, strides=(1, 1)))",
            "instance",
        ),
        (
            "conv(x, y, activation=relu, dilations=(1, 1), padding=same, strides=(1, 1))",
            "relu(conv(x, y, activation=none, dilations=(1, 1), padding=same, strides=(2, 2)))",
            "missing",
        ),
    ],
)
def test_how_a_rule_is_covered(source, target, how):
    rule = theirs((source, target))
    (found,) = cover(rule, OURS)
    assert found.how == how and found.rule is rule[0]
    assert (found.chain is not None and check(found.chain)) is (how == "derived")
    assert missing(rule, OURS) == (rule if how == "missing" else ())


def test_published_rules_cover_themselves_literally():
    published = read_protobuf(DATA / "taso_published_133.pb")
    assert {found.how for found in cover(published, published)} == {"same"}


def test_without_a_rule_what_needs_it_is_missing():
    published = [
        rule
        for rule in read_protobuf(DATA / "taso_published_133.pb")[:22]
        if {root.operator for root in rule.source} == {"matmul"}
    ]
    without, with_it = (
        {found.rule.name for found in cover(published, ours) if found.how == "missing"} for ours in (OURS[1:], OURS)
    )
    assert len(without) >= 15 and with_it < without
