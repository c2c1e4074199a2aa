"""The published rule files: what they hold, and what a damaged one is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taso_mini.published_rules import read_protobuf

DATA = Path(__file__).parents[1] / "data"
RELU, SPLIT, ADD, TRANSPOSE = 8, 13, 16, 15


def number(field, value):
    value %= 1 << 64
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([field << 3, *digits, value])


def nested(field, *parts):
    body = b"".join(parts)
    return number(field, len(body)).replace(bytes([field << 3]), bytes([field << 3 | 2]), 1) + body


def operator(code, *inputs, **params):
    return [
        number(1, code),
        *(nested(2, number(1, op), number(2, out)) for op, out in inputs),
        *(nested(3, number(1, int(key[1:])), number(2, value)) for key, value in params.items()),
    ]


def rule(source, target, outputs=((0, 0, 0, 0),)):
    maps = [nested(3, *(number(i + 1, value) for i, value in enumerate(output))) for output in outputs]
    return nested(1, *(nested(1, *op) for op in source), *(nested(2, *op) for op in target), *maps)


def read(tmp_path, data):
    path = tmp_path / "rules.pb"
    path.write_bytes(data)
    return read_protobuf(path)


def test_published_files_hold_what_the_repository_says():
    published = read_protobuf(DATA / "taso_published_133.pb")
    assert len(published) == 133 and sum(len(rule.source) for rule in published) == 146
    generated = read_protobuf(DATA / "taso_generated_3op_619.pb")
    assert len(generated) == 619 and sum(len(rule.source) for rule in generated) == 703
    assert str(published[0]) == "published-000: matmul(matmul(x1, x2), x3) => matmul(x1, matmul(x2, x3))"
    assert [i for i, rule in enumerate(published) if len(rule.source) == 2] == [
        9,
        63,
        65,
        70,
        77,
        79,
        81,
        95,
        116,
        118,
        120,
        127,
        129,
    ]


def test_parameters_and_kinds(tmp_path):
    conv = operator(3, (-1, 0), (-2, 0), k4=3, k5=3, k6=2, k7=2, k8=1, k9=2)
    flipped = operator(TRANSPOSE, (0, 0), k10=2, k12=2)
    rules = read(
        tmp_path,
        rule([conv], [conv])
        + rule([operator(RELU, (-1, 0)), flipped], [operator(RELU, (-1, 0)), flipped], [(1, 1, 0, 0)]),
    )
    assert str(rules[0].source[0]) == (
        "conv(x1, w1, activation=relu, dilations=(1, 1), padding=(0, 0, 0, 0), strides=(2, 2))"
    )
    assert str(rules[1].source[0]) == "transpose(relu(x1), perm=(1, 0))"
    assert [v.kind for r in rules for v in r.variables] == ["image", "kernel", "matrix"]


@pytest.mark.parametrize(
    ("source", "outputs", "told"),
    [
        ([operator(99, (-1, 0))], [(0, 0, 0, 0)], "rule 0: source operator 0: unknown operator type 99"),
        (
            [operator(RELU, (1, 0)), operator(RELU, (0, 0))],
            [(0, 0, 0, 0)],
            "source operators form a cycle: 0 -> 1 -> 0",
        ),
        ([operator(RELU, (0, 0))], [(0, 0, 0, 0)], "cycle: 0 -> 0"),
        ([operator(RELU, (3, 0))], [(0, 0, 0, 0)], "expected one of 1 source operators, got number 3"),
        ([operator(ADD, (-1, 0))], [(0, 0, 0, 0)], "expected 2 operands of add, got 1"),
        ([operator(SPLIT, (-1, 0), k11=0)], [(0, 0, 2, 0)], "split has 2 outputs, got number 2"),
        ([operator(SPLIT, (-1, 0), k11=9)], [(0, 0, 0, 0)], "expected axis to be one of 0, 1, 2, 3, got 9"),
        ([operator(6, (-1, 0), k4=3, k5=3, k6=1, k7=1, k8=5)], [(0, 0, 0, 0)], "expected pad to be one of 0, 1, got 5"),
        ([operator(6, (-1, 0), k4=3, k5=3, k6=0, k7=1, k8=0)], [(0, 0, 0, 0)], "a stride of two positive numbers"),
        ([operator(RELU, (-1, 0))], [], "at least one"),
        ([operator(RELU, (-2, 0))], [(0, 0, 0, 0)], "target alone uses"),
    ],
)
def test_a_bad_rule_is_one_clear_error(tmp_path, source, outputs, told):
    good = operator(RELU, (-1, 0))
    with pytest.raises(ValueError, match="rule") as error:
        read(tmp_path, rule(source, [good], outputs))
    assert told in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("data", [b"\x0a\x7f", b"\x0a", b"\xff" * 12, b"\x10\x01", b"\x0d\x00\x00\x00\x00", b"text"])
def test_a_malformed_file_is_one_clear_error(tmp_path, data):
    with pytest.raises(ValueError, match="not a rule file"):
        read(tmp_path, data)


@given(st.data())
def test_a_damaged_file_gives_rules_or_a_value_error(tmp_path_factory, data):
    whole = bytearray((DATA / "taso_published_133.pb").read_bytes()[:2000])
    at, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    whole[at] = byte
    try:
        read(tmp_path_factory.getbasetemp(), bytes(whole))
    except ValueError as error:
        assert "rules.pb" in str(error)
